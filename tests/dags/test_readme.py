"""README.md and dags/README.md name every DAG once, the latter with the schedule and the deadline that it has."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Asset

from include.common.names import Dag
from include.orchestration.alert_text import runbook_of
from tests.dags.conftest import ids
from tests.dags.test_policy import callbacks, is_continuous

CRON = {"* * * * *": 1, "*/5 * * * *": 5, "*/10 * * * *": 10}
"""Minutes between runs."""
DAILY = {"0 3 * * *": "03:00", "15 3 * * *": "03:15", "30 3 * * *": "03:30", "30 4 * * *": "04:30"}
"""Time of the day, UTC."""


def schedule_of(dag: DAG) -> str:
    """What the table says in column Schedule."""
    schedule: Any = dag.schedule
    if schedule is None:
        return "by hand"
    if is_continuous(dag):
        return "always"
    if isinstance(schedule, list):
        return ", ".join(f"asset `{asset.name}`" for asset in schedule if isinstance(asset, Asset))
    if schedule in DAILY:
        return f"daily at {DAILY[schedule]}"
    minutes = schedule / timedelta(minutes=1) if isinstance(schedule, timedelta) else CRON[str(schedule)]
    return f"every {minutes:.0f} min"


def deadline_of(dag: DAG) -> str:
    """What the table says in column Deadline."""
    found = [deadline for deadline in callbacks(dag.deadline) if deadline is not None]
    return f"{found[0].interval / timedelta(minutes=1):.0f} min" if found else "none"


@pytest.fixture(scope="module")
def table(project_root: Path) -> dict[str, dict[str, str]]:
    """First cell of a row -> its cells by column."""
    lines = [
        line for line in (project_root / "dags" / "README.md").read_text().splitlines() if line[:1] == "|"
    ]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rows = {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}
    assert len(rows) == len(cells) - 2, "a DAG stands twice"
    return rows


def test_every_dag_and_no_other(table: dict[str, dict[str, str]]) -> None:
    assert sorted(table) == sorted(f"[`{dag_id}`]({runbook_of(dag_id)}.py)" for dag_id in ids(Dag))


def test_the_first_page_names_them_too(project_root: Path) -> None:
    rows = re.findall(r"^\| `(\w+__\w+)` \|", (project_root / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(ids(Dag))


def test_schedule_and_deadline(dag: DAG, table: dict[str, dict[str, str]]) -> None:
    row = table[f"[`{dag.dag_id}`]({runbook_of(dag.dag_id)}.py)"]
    assert (row["Schedule"], row["Deadline"]) == (schedule_of(dag), deadline_of(dag))


def test_every_row_says_whether_to_clear_or_to_trigger_anew_and_whether_twice_is_safe(
    table: dict[str, dict[str, str]],
) -> None:
    silent = [
        name
        for name, row in table.items()
        if not re.search(r"\b(clear|trigger)", row["After a failure"]) or not row["Twice"]
    ]
    assert silent == []
