"""Texts of alerts, as pure functions: what happened, since when, where to look, what to do.

Slack's mrkdwn: `&`, `<`, `>` of what comes from outside are escaped, so that a sample value can neither
break a link nor call a channel (`<!channel>`). No Airflow import.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import quote

MAX_LINE = 500
MAX_LINES = 14
REMIND_EVERY = timedelta(hours=1)
LOOP_WITHIN = timedelta(minutes=10)
"""A restart after less than this is one of a loop."""
LOOP_TOLD_EVERY = 8
"""Of a loop's restarts, beside the powers of two: a loop may begin at a high number."""
SINCE_UNKNOWN = "Since: not known; this run has no logical date (by hand, or by an asset)"
_PASSWORD_IN_URI = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]+(?=@)")

_DETAIL = re.compile(r"\n(?:DETAIL|CONTEXT):.*", re.DOTALL)


class Outcome(Protocol):
    """What a gate's finding tells: include.gx.results.ExpectationOutcome."""

    def describe(self) -> str:
        """One line: which expectation, how many rows, samples without personal ids."""
        ...


def hide_passwords(text: str) -> str:
    """`text` without the passwords of URIs (`scheme://user:***@host`)."""
    return _PASSWORD_IN_URI.sub(r"\1:***", text)


def escape(text: str) -> str:
    """`text` fit for Slack: control characters escaped, passwords in URIs hidden, one line, at most MAX_LINE."""
    shown = hide_passwords(" ".join(text.split()))
    if len(shown) > MAX_LINE:
        shown = shown[: MAX_LINE - 1] + "…"
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def why(error: object) -> str:
    """What an exception says, without what PostgreSQL quotes of rows below its message: personal ids may be in it."""
    return _DETAIL.sub("", str(error))


def link(url: str, label: str) -> str:
    """A Slack link."""
    return f"<{url}|{escape(label)}>"


def runbook_url(prefix: str, runbook: str) -> str:
    """Address of a runbook: `prefix` (variable webtoon_runbook_url) and the file's name without `.md`."""
    return f"{prefix}{'' if not prefix or prefix.endswith('/') else '/'}{runbook}.md"


def runbook_line(prefix: str, runbook: str, section: str | None = None) -> str:
    """The line with the runbook, and the section of it that helps; a link where `prefix` is an address."""
    address, name = runbook_url(prefix, runbook), runbook
    if section is not None:
        address, name = f"{address}#{section}", f"{runbook}, section {section}"
    return f"Runbook: {link(address, name) if '://' in prefix else escape(address)}"


def runbook_of(dag_id: str) -> str:
    """The runbook of a DAG: `events__archive` -> `events_archive`."""
    return dag_id.replace("__", "_")


def run_url(base_url: str, dag_id: str, run_id: str, task_id: str | None = None) -> str:
    """Address of a run, or of a task in it, in Airflow's user interface."""
    address = f"{base_url.rstrip('/')}/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}"
    return address if task_id is None else f"{address}/tasks/{quote(task_id)}"


def moment(value: datetime | str | None) -> str:
    """A time for a person, in UTC to the second; `-` for none."""
    if value is None:
        return "-"
    when = datetime.fromisoformat(value) if isinstance(value, str) else value
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def duration(value: timedelta) -> str:
    """`3 h 5 min`, `4 min`, `12 s`."""
    seconds = max(0, round(value.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def message(title: str, lines: Iterable[str]) -> str:
    """The whole message; `lines` are escaped already (links stand in them). Lines over MAX_LINES are counted."""
    listed = list(lines)
    if len(listed) > MAX_LINES:
        hidden = len(listed) - MAX_LINES
        # the last two are the links
        listed = [*listed[: MAX_LINES - 2], f"… and {hidden} more lines", *listed[-2:]]
    return "\n".join((f"*{escape(title)}*", *listed))


def since_line(last_success: datetime | None, now: datetime) -> str:
    """Since when it has been failing, by the last time that it succeeded."""
    if last_success is None:
        return "Since: it has not succeeded yet"
    return f"Since: no success after {moment(last_success)} ({duration(now - last_success)})"


def is_reminder_due(last_success: datetime | None, previous_failure: datetime, now: datetime) -> bool:
    """Speak again of a task that failed in the run before, too: once in each REMIND_EVERY of the outage."""
    start = last_success or datetime(1970, 1, 1, tzinfo=UTC)
    return (now - start) // REMIND_EVERY > (previous_failure - start) // REMIND_EVERY


def is_restart_told(try_number: int, ran: timedelta) -> bool:
    """Of restarts number 1, 2, 4, 8 and every eighth an alert is sent, and of one after LOOP_WITHIN without any.

    So a restart loop is told soon, whatever number it begins at, and not repeated; and the twentieth restart in a
    year is not taken for one.
    """
    return ran >= LOOP_WITHIN or (
        try_number >= 1 and (try_number % LOOP_TOLD_EVERY == 0 or try_number & (try_number - 1) == 0)
    )


def gate_lines(outcomes: Sequence[Outcome]) -> list[str]:
    """One line an expectation that failed."""
    return [f"• {escape(outcome.describe())}" for outcome in outcomes]
