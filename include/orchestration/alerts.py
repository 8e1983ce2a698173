"""Alerts: what a failed task, run or gate tells Slack, through connection slack_default and nothing else.

Sensible repetition: a gate's own message stands for its task's failure; a task that failed in the scheduled
run before, too, is told once an hour; restarts of the stream in a loop at 1, 2, 4, 8 and every eighth; a run's failure
is told by its task, or by the DAG where no task was at fault. An alert that cannot be delivered is logged with its text
and changes nothing else: it must not fail the work that it tells of.

Of a task that was ended from outside (its worker killed, out of memory, no heartbeat, stuck in the queue) Airflow's DAG
processor tells: the context has no exception then, and the task instance no `start_date`.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from include.common.names import Conn, Var
from include.orchestration import alert_text as text

log = logging.getLogger(__name__)

SLACK_TIMEOUT_S = 10
_told: set[str] = set()
"""Task instances whose failure was told by this process already (a gate tells more than its failure can)."""


def send_alert(
    title: str, lines: Sequence[str], runbook: str, *, links: Sequence[tuple[str, str]] = ()
) -> bool:
    """Send one message; False (and the text in the log) where Slack could not be reached.

    `lines` are plain text, one fact each; `links` are (address, label). `runbook` is the file's name in docs/runbooks
    without `.md`.
    """
    linked = [text.link(address, label) for address, label in links]
    return _deliver(text.message(title, [*map(text.escape, lines), *linked, _runbook_line(runbook)]))


def failure_callback(context: Mapping[str, Any]) -> None:
    """`on_failure_callback` of every task: which task, why, since when, whose, the run, the runbook."""
    ti = context["ti"]
    if str(ti.id) in _told:
        return
    now = datetime.now(UTC)
    dag_run = context.get("dag_run")
    last_success, previous_failure = _history(ti, dag_run)
    if previous_failure is not None and not text.is_reminder_due(last_success, previous_failure, now):
        log.info("this task failed in the run before, too, and Slack knows: no message")
        return
    exception = context.get("exception")
    lines = [
        f"Why: {text.escape(text.why(exception))}" if exception else "Why: see the task's log",
        text.since_line(last_success, now) if _is_dated(dag_run) else text.SINCE_UNKNOWN,
        f"Try {ti.try_number} of {ti.max_tries + 1}",
        *_owner_lines(ti),
        _task_line(ti),
        _runbook_line(text.runbook_of(ti.dag_id), getattr(ti.task, "runbook_section", None)),
    ]
    _deliver(text.message(f"{ti.dag_id}: task {ti.task_id} failed", lines))


def restart_callback(context: Mapping[str, Any]) -> None:
    """`on_retry_callback` of the stream: told at restarts 1, 2, 4, 8 and every eighth, so a loop is seen and not
    repeated; always where it is not known how long the stream ran.
    """
    ti = context["ti"]
    started = _start_date(ti)
    ran = None if started is None else datetime.now(UTC) - started
    if ran is not None and not text.is_restart_told(ti.try_number, ran):
        return
    after = "a time that is not known" if ran is None else text.duration(ran)
    exception = context.get("exception")
    lines = [
        f"Why: {text.escape(text.why(exception))}" if exception else "Why: see the task's log",
        f"Restart {ti.try_number} of this run, after {after}; in a loop, 1, 2, 4, 8 and every eighth are told",
        _task_line(ti),
        _runbook_line(text.runbook_of(ti.dag_id)),
    ]
    _deliver(text.message(f"{ti.dag_id}: {ti.task_id} is being restarted", lines))


def dag_failure_callback(context: Mapping[str, Any]) -> None:
    """`on_failure_callback` of every DAG: only where no task told it (a deadlock, a time-out of the run)."""
    reason = str(context.get("reason") or "")
    if reason == "task_failure":
        return
    dag_id, run_id = str(context["dag"].dag_id), str(context["run_id"])
    lines = [
        f"Why: {text.escape(reason.replace('_', ' ') or 'unknown')}",
        text.link(text.run_url(_base_url(), dag_id, run_id), "Open the run in Airflow"),
        _runbook_line(text.runbook_of(dag_id)),
    ]
    _deliver(text.message(f"{dag_id}: the run failed", lines))


def gate_failure_alert(
    *,
    gate: str,
    outcomes: Sequence[text.Outcome],
    context: Mapping[str, Any],
    runbook: str,
    blocked: bool,
    data_docs: str | None = None,
) -> bool:
    """Tell which expectations failed, how many rows, samples (outcomes hold no personal ids), owner, run, runbook.

    `data_docs` is the address of the page that shows all of it. Of a gate that `blocked`, the task's failure sends no second message.
    """
    ti = context["ti"]
    if blocked:
        _told.add(str(ti.id))
    title = f"{ti.dag_id}: gate {gate} {'blocks' if blocked else 'warns'}"
    effect = "nothing of this run was published" if blocked else "none, the run goes on"
    lines = [
        f"Effect: {effect}",
        *_owner_lines(ti),
        *([text.link(data_docs, "Data Docs: every expectation")] if data_docs else []),
        *text.gate_lines(outcomes),
        _task_line(ti),
        _runbook_line(runbook),
    ]
    return _deliver(text.message(title, lines))


def _deliver(content: str) -> bool:
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
    from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError
    from slack_sdk.errors import SlackClientError

    hook = SlackWebhookHook(slack_webhook_conn_id=Conn.SLACK, timeout=SLACK_TIMEOUT_S)
    try:
        hook.send(text=content, unfurl_links=False)
    except (AirflowException, AirflowRuntimeError, SlackClientError, OSError) as error:
        log.error("Slack was not reached (connection %s): %s\nThe alert:\n%s", Conn.SLACK, error, content)  # noqa: TRY400  the alert matters, not the trace
        return False
    log.info("told Slack: %s", content.splitlines()[0])
    return True


def _history(ti: Any, dag_run: Any) -> tuple[datetime | None, datetime | None]:
    """(last success, time of the failure in the run before or None) of this task, among scheduled runs.

    A task's `well_states` say what counts as success where that is another state.
    """
    if not _is_dated(dag_run):
        return None, None
    states = getattr(ti.task, "well_states", ("success",))
    well = [found.end_date for found in (ti.get_previous_ti(state=state) for state in states) if found]
    last_success = max((ended for ended in well if ended), default=None)
    previous = ti.get_previous_ti()
    failed_before = previous is not None and str(previous.state) == "failed"
    return last_success, (previous.end_date or previous.start_date) if failed_before else None


def _is_dated(dag_run: Any) -> bool:
    """Without a logical date Airflow cannot say which run was before this one."""
    return dag_run is not None and dag_run.logical_date is not None


def _owner_lines(ti: Any) -> list[str]:
    """Whose task it is: who acts, or knows who does."""
    owner = getattr(getattr(ti, "task", None), "owner", None)
    return [f"Owner: {text.escape(str(owner))}"] if owner else []


def _start_date(ti: Any) -> datetime | None:
    """None where the DAG processor tells of the task: its task instance lacks the attribute."""
    started: datetime | None = getattr(ti, "start_date", None)
    return started


def _task_line(ti: Any) -> str:
    started = _start_date(ti)
    when = "at a time that is not known" if started is None else text.moment(started)
    return f"Task started {when}: {text.link(str(ti.log_url), 'open its log in Airflow')}"


def _runbook_line(runbook: str, section: str | None = None) -> str:
    from airflow.sdk import Variable

    return text.runbook_line(str(Variable.get(Var.RUNBOOK_URL, default="docs/runbooks/")), runbook, section)


def _base_url() -> str:
    from airflow.sdk import conf

    return str(conf.get("api", "base_url", fallback="http://localhost:8080"))
