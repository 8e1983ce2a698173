"""quality.reconciliation: what was found, day by day; nothing is ever overwritten."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from include.common.names import Pg
from include.orchestration.reconcile.day import EXPIRED
from include.orchestration.reconcile.model import Comparison, Day, Outcome, Verdict

_COLUMNS = (
    "run_id", "dt", "verdict", "reason", "generation", "ledger_position", "location", "events_read", "took_seconds",
    "rows_equal", "rows_differing", "only_published", "only_recomputed", "rows_doubled", "late_events_checked",
    "late_events_wrong", "genre_unknown_then", "differing_by_column", "samples",
)  # fmt: skip


def record(connection: psycopg.Connection, run_id: str, outcome: Outcome) -> None:
    """Add a day's outcome."""
    values = (
        run_id, outcome.day.value, outcome.verdict.value, outcome.reason, outcome.generation, outcome.ledger_position,
        outcome.location, outcome.events_read, outcome.seconds, *_found(outcome.comparison),
    )  # fmt: skip
    slots = ", ".join(["%s"] * len(_COLUMNS))
    connection.execute(
        f"INSERT INTO {Pg.RECONCILIATION} ({', '.join(_COLUMNS)}) VALUES ({slots})".encode(),  # noqa: S608  constants
        values,
    )


def _found(it: Comparison | None) -> tuple[Any, ...]:
    if it is None:
        return (None,) * 10
    return (
        it.rows_equal, it.differing, it.only_published, it.only_recomputed, it.doubled, it.late_checked,
        Jsonb(dict(it.late_faults)), it.genre_unknown_then, Jsonb(dict(it.by_column)), Jsonb(list(it.samples)),
    )  # fmt: skip


@dataclass(frozen=True)
class Last:
    """What the newest reconciliation of a day found."""

    verdict: Verdict
    reason: str | None
    location: str | None


def last_of_each_day(connection: psycopg.Connection) -> dict[Day, Last]:
    """The newest entry of every day."""
    rows = connection.execute(
        f"SELECT DISTINCT ON (dt) dt, verdict, reason, location FROM {Pg.RECONCILIATION}"  # noqa: S608  a constant
        " ORDER BY dt, reconciliation_id DESC"
    ).fetchall()
    return {Day(row[0]): Last(Verdict(row[1]), row[2], row[3]) for row in rows}


def due_days(days: Iterable[Day], locations: Mapping[str, object], last: Mapping[Day, Last]) -> list[Day]:
    """Of `days` those whose rows were published since they were found equal, or were never; oldest first.

    A day whose events are gone stays unchecked, and is not looked at again unless it is published anew.
    """

    def is_due(day: Day) -> bool:
        known = last.get(day)
        if known is None:
            return True
        location = locations.get(day.dt)
        if known.location != (None if location is None else str(location)):
            return True
        is_settled = known.verdict is Verdict.EQUAL or (known.reason or "").startswith(EXPIRED)
        return not is_settled

    return sorted(filter(is_due, days), key=lambda day: day.value)


def history(connection: psycopg.Connection, entries: int) -> list[dict[str, Any]]:
    """The newest `entries`, newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(
            f"SELECT * FROM {Pg.RECONCILIATION} ORDER BY reconciliation_id DESC LIMIT %s".encode(),  # noqa: S608  a constant
            (entries,),
        )
        return cursor.fetchall()


def days_between(first: date, last: date) -> list[Day]:
    """Both included."""
    return [Day(date.fromordinal(number)) for number in range(first.toordinal(), last.toordinal() + 1)]
