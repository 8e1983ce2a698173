"""A day in words and numbers: the parts of its page, the message, and the line of the index. Pure functions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from include.orchestration.daily_report.day import Day, Operations, Row, change

MINUS, NONE = "−", "–"


@dataclass(frozen=True)
class Report:
    """A day, the same day of the week before, and how it went; `titles` by episode id."""

    day: Day
    before: Day
    operations: Operations
    titles: Mapping[str, str]


@dataclass(frozen=True)
class Delta:
    """A change as text; `tone` is good, bad or empty."""

    text: str
    tone: str = ""


def count(value: int) -> str:
    """`1,204,331`."""
    return f"{value:,}"


def percent(value: float) -> str:
    """`61.2 %`."""
    return f"{value * 100:.1f} %"


def short(value: float) -> str:
    """`12 k`, `1.5 M`, for axes."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def relative(now: float, before: float) -> Delta:
    """Change of a number that is good when it grows."""
    changed = change(now, before)
    if changed is None:
        return Delta("new" if now else NONE)
    return Delta(_signed(changed * 100, " %"), _tone(changed, 0.0005))


def points(row: Row, name: str, *, more_is_better: bool) -> Delta:
    """Change of a rate in percentage points; none where one of the days has no reading."""
    if not row.now.readings or not row.before.readings:
        return Delta(NONE)
    changed = (getattr(row.now, name) - getattr(row.before, name)) * 100
    return Delta(_signed(changed, " pt"), _tone(changed if more_is_better else -changed, 0.05))


def _signed(value: float, unit: str) -> str:
    shown = f"{abs(value):.1f}"
    sign = "±" if shown == "0.0" else ("+" if value > 0 else MINUS)
    return f"{sign}{shown}{unit}"


def _tone(value: float, least: float) -> str:
    if abs(value) < least:
        return ""
    return "good" if value > 0 else "bad"


def findings(report: Report) -> list[str]:
    """What a person should look at, one line each; empty for a good day."""
    operations = report.operations
    found = [
        f"gate {gate.gate} blocked {gate.blocked} of {gate.runs} runs"
        for gate in operations.gates
        if gate.blocked
    ]
    if operations.quarantine:
        rows = sum(piece.rows for piece in operations.quarantine)
        found.append(f"{_many(len(operations.quarantine), 'slice')} ({count(rows)} events) put in quarantine")
    late = [name for name, rows in operations.freshness.items() if any(row.met is False for _, row in rows)]
    if late:
        shown = ", ".join(late[:3]) + (f" and {len(late) - 3} more" if len(late) > 3 else "")
        found.append(f"freshness SLO missed by {_many(len(late), 'table')}: {shown}")
    if operations.deadline_misses:
        dags = sorted({miss.dag_id for miss in operations.deadline_misses})
        found.append(f"{_many(len(operations.deadline_misses), 'deadline')} missed: {', '.join(dags)}")
    if not report.day.total.readings:
        found.append(f"no reading of {report.day.dt} is published")
    return found


def message_lines(report: Report) -> list[str]:
    """The day in a few lines, for Slack."""
    day, before = report.day, report.before
    total = Row("", day.total, before.total)
    events, readings = (
        f"{count(now)} {noun} ({relative(now, then).text})"
        for noun, now, then in (
            ("events", day.events, before.events),
            ("readings", day.total.readings, before.total.readings),
        )
    )
    lines_ = [f"{events}, {readings}" + (f", against {before.dt}" if is_known(before) else "")]
    if day.total.readings:
        lines_.append(
            f"completion {percent(day.total.completion_rate)} "
            f"({points(total, 'completion_rate', more_is_better=True).text}), "
            f"exit {percent(day.total.exit_rate)} ({points(total, 'exit_rate', more_is_better=False).text})"
        )
    found = findings(report)
    return [*lines_, *(f"• {line}" for line in found)] if found else [*lines_, "nothing to look at"]


def summary(report: Report) -> str:
    """The day's figures as JSON, for the index."""
    day = report.day
    figures = {
        "dt": day.dt.isoformat(),
        "events": day.events,
        "readings": day.total.readings,
        "completion_rate": day.total.completion_rate,
        "exit_rate": day.total.exit_rate,
        "findings": len(findings(report)),
    }
    return json.dumps(figures, sort_keys=True) + "\n"


def is_known(day: Day) -> bool:
    """Has the day anything to compare with?"""
    return bool(day.total.readings or day.events)


def _many(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
