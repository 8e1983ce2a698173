"""Deadlines: a run that has not ended some time after it was queued tells Slack, from the triggerer."""

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from include.common.names import Conn, Pg, Var
from include.orchestration import alert_text as text

if TYPE_CHECKING:
    from airflow.sdk.definitions.deadline import DeadlineAlert

log = logging.getLogger(__name__)

CALLBACK = "deadline_callbacks.tell_missed_deadline"
"""Dotted path, in plugins/: the triggerer imports it, and cannot import what a DAG file defines."""


def deadline_alert(after: timedelta) -> "DeadlineAlert":
    """Alert where a run still goes on `after` it was queued; asset-triggered runs have no logical date."""
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=after,
        callback=AsyncCallback(CALLBACK, kwargs={"allowed_s": after.total_seconds()}),
    )


def deadline_message(
    dag_run: dict[str, Any], allowed: timedelta, now: datetime, base_url: str, runbook_prefix: str
) -> str | None:
    """The message, or None for a run that has ended: its failure was told, and a late success is one."""
    if dag_run.get("state") in ("success", "failed"):
        return None
    dag_id, run_id = str(dag_run["dag_id"]), str(dag_run["dag_run_id"])
    queued = dag_run.get("queued_at") or dag_run.get("run_after")
    going = f" ({text.duration(now - datetime.fromisoformat(queued))} ago)" if queued else ""
    lines = [
        f"Since: queued {text.moment(queued)}{going}; it has {text.duration(allowed)}",
        f"State: {text.escape(str(dag_run.get('state')))}",
        text.link(text.run_url(base_url, dag_id, run_id), "Open the run in Airflow"),
        text.runbook_line(runbook_prefix, text.runbook_of(dag_id)),
    ]
    return text.message(f"{dag_id}: deadline missed", lines)


async def tell_missed_deadline(allowed_s: float, context: dict[str, Any]) -> str:
    """Run by the triggerer; its context has `dag_run` (as the REST API shows it) and `deadline` only."""
    import asyncio

    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
    from airflow.sdk import Variable, conf

    # a synchronous look-up would block the triggerer's event loop
    prefix = await asyncio.to_thread(Variable.get, Var.RUNBOOK_URL, default="docs/runbooks/")
    content = deadline_message(
        context["dag_run"],
        timedelta(seconds=allowed_s),
        datetime.now(UTC),
        str(conf.get("api", "base_url", fallback="http://localhost:8080")),
        str(prefix),
    )
    if content is None:
        return "the run has ended: nothing to tell"
    await asyncio.to_thread(record_miss, context["dag_run"], allowed_s)
    await SlackWebhookHook(slack_webhook_conn_id=Conn.SLACK, timeout=10).async_send(text=content)
    return content.splitlines()[0]


def record_miss(dag_run: dict[str, Any], allowed_s: float) -> None:
    """Keep the miss in ops.deadline_misses, for the daily report; a database that is away is logged: telling comes first."""
    import psycopg  # every DAG file imports this module: not at parse

    from include.common.postgres import PostgresUnreachableError, connect
    from include.orchestration.job_environment import features_dsn

    try:
        with connect(features_dsn(), application_name="deadline_callback") as connection:
            connection.execute(
                f"INSERT INTO {Pg.DEADLINE_MISSES} (dag_id, run_id, state, queued_at, allowed_s, missed_at)"  # noqa: S608  a constant
                " VALUES (%s, %s, %s, %s, %s, clock_timestamp()) ON CONFLICT DO NOTHING",
                (
                    dag_run["dag_id"],
                    dag_run["dag_run_id"],
                    str(dag_run.get("state")),
                    dag_run.get("queued_at") or dag_run.get("run_after"),
                    allowed_s,
                ),
            )
    except (PostgresUnreachableError, psycopg.Error):
        log.exception("the missed deadline of %s was not recorded", dag_run["dag_id"])
