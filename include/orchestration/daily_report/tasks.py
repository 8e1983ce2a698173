"""Tasks of report__daily: read the day and the week before, write the page, tell Slack."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.common.hive.metastore import Metastore, open_metastore
from include.common.names import Dag
from include.common.postgres import connect
from include.common.settings import docs_root
from include.orchestration.alert_text import runbook_of
from include.orchestration.alerts import send_alert
from include.orchestration.daily_report.day import Day, falling, top
from include.orchestration.daily_report.operations import read_cut, read_operations, read_titles
from include.orchestration.daily_report.page import render, render_index
from include.orchestration.daily_report.readings import files_of, read_day
from include.orchestration.daily_report.texts import Report, message_lines, summary
from include.orchestration.job_environment import docs_url, features_dsn, metastore_uri

log = logging.getLogger(__name__)

FOLDER = "reports"
WEEK = timedelta(days=7)
PARAMS: Final = {
    "date": Param(
        None, type=["null", "string"], format="date", title="Day",
        description="A day in UTC that is over. Empty: the day before the run.",
    ),
}  # fmt: skip
"""The trigger form."""


def build_report() -> dict[str, Any]:
    """Write the page of the run's day and the index; returns the day and the message's lines.

    Skips where there is no docs folder. Raises AirflowFailException for a day that is not over.
    """
    context = get_current_context()
    dt = day_of(context["params"], context["dag_run"].run_after, datetime.now(UTC))
    root = docs_root()
    if root is None:
        raise AirflowSkipException("no docs folder (WEBTOON_DOCS_DIR): nowhere to write a page")
    with (
        connect(features_dsn(), application_name=Dag.REPORT_DAILY, autocommit=True) as connection,
        open_metastore(metastore_uri()) as metastore,
    ):
        report = read_report(connection, metastore, dt)
    page = write_pages(root / FOLDER, report)
    log.info("wrote %s", page)
    return {"dt": dt.isoformat(), "lines": message_lines(report)}


def send_summary(*, report: Mapping[str, Any]) -> None:
    """Tell Slack the day in a few lines, with the page's address."""
    dt = report["dt"]
    send_alert(
        f"Daily report {dt}",
        report["lines"],
        runbook_of(Dag.REPORT_DAILY),
        links=[(f"{docs_url()}{FOLDER}/{dt}.html", "Open the report")],
    )


def day_of(params: Mapping[str, Any], run_after: datetime, now: datetime) -> date:
    """The day that a run reports of; raises AirflowFailException for one that is not over, or is no date."""
    given = params.get("date")
    if not given:
        return run_after.astimezone(UTC).date() - timedelta(days=1)
    try:
        dt = date.fromisoformat(given)
    except ValueError:
        raise AirflowFailException(f"{given!r} is no date: give a day as 2026-11-25") from None
    if dt >= now.astimezone(UTC).date():
        raise AirflowFailException(
            f"{dt} is not over (UTC): give a day before {now.astimezone(UTC):%Y-%m-%d}"
        )
    return dt


def read_report(connection: psycopg.Connection, metastore: Metastore, dt: date) -> Report:
    """The day and the same day of the week before, as published now."""

    def read(day: date) -> Day:
        return read_day(day, files_of(metastore, day), read_cut(connection, day))

    day, before = read(dt), read(dt - WEEK)
    episodes = {row.name for row in (*top(day, before), *falling(day, before))}
    titles = read_titles(connection, sorted(episodes), dt)
    return Report(day, before, read_operations(connection, dt), titles)


def write_pages(folder: Path, report: Report) -> Path:
    """Write the day's page and its figures, then the index of all days; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = report.day.dt.isoformat()
    _write(folder / f"{name}.html", render(report))
    _write(folder / f"{name}.json", summary(report))
    summaries = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    _write(folder / "index.html", render_index(summaries))
    return folder / f"{name}.html"


def _write(path: Path, content: str) -> None:
    """Whole or not at all: somebody may be reading."""
    hidden = path.with_name(f".{path.name}.tmp")
    hidden.write_text(content, encoding="utf-8")
    hidden.replace(path)
