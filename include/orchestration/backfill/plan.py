"""Which days can be rebuilt: asked of the reconciliation, which must know the same of a day before it compares it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from include.common.names import Dag
from include.orchestration.reconcile.day import Inputs, look_at, spans_of_day
from include.orchestration.reconcile.model import Coverage, Day, Published, Span

if TYPE_CHECKING:
    import duckdb

NOTHING: Final = "nothing_to_compare"
"""Start of the reason of a day without events and rows: nothing to do, and no hindrance."""
_MENDS: Final = {
    "day_not_over": "wait until events move the clocks past the day",
    "sessions_open": "wait until these sessions are final; a bucket without traffic keeps its last session open",
    "not_archived": f"let {Dag.ARCHIVE} come past the day, or mend the slice that failed",
    "publication_in_flight": f"wait for {Dag.PUBLISH_BATCH} to end",
    "raw_events_expired": "raw events of that day are no longer kept: leave the day out",
}
"""Start of a reason -> what to do."""


@dataclass(frozen=True)
class PlannedDay:
    """A day of the run. `reason`: why it cannot be rebuilt, None where it can. `windows`: generation -> event times
    [from, to) that its recomputation rests on; `events` in them."""

    dt: str
    reason: str | None
    windows: Mapping[int, tuple[int, int]]
    events: int

    @property
    def is_refused(self) -> bool:
        """A person must do something first."""
        return self.reason is not None and not self.reason.startswith(NOTHING)

    def describe(self) -> str:
        """One line, with the mend."""
        if self.reason is None:
            return f"{self.dt}: can be rebuilt, {self.events} events"
        mend = next((text for start, text in _MENDS.items() if self.reason.startswith(start)), None)
        return f"{self.dt}: {self.reason}{f' ({mend})' if mend else ''}"


def plan_day(connection: "duckdb.DuckDBPyConnection", inputs: Inputs, day: Day) -> PlannedDay:
    """Look at a day as the reconciliation does, and keep how far it had to read."""
    look = look_at(connection, inputs, day)
    return PlannedDay(
        day.dt, look.reason, windows_of(look.coverages), sum(it.events for _, it in look.coverages)
    )


def windows_of(coverages: Sequence[tuple[Span, Coverage]]) -> dict[int, tuple[int, int]]:
    """By generation, the widest of its pieces."""
    windows: dict[int, tuple[int, int]] = {}
    for span, it in coverages:
        from_ms, to_ms = windows.get(span.generation, (it.window_from_ms, it.window_to_ms))
        windows[span.generation] = min(from_ms, it.window_from_ms), max(to_ms, it.window_to_ms)
    return windows


def settled_positions(connection: psycopg.Connection, published: Published, day: Day) -> dict[int, int]:
    """Generation -> ledger position up to which its readings of the day are settled, of each that the day may be of."""
    spans = spans_of_day(published, day)
    newest: dict[int, int] = dict(
        connection.execute(
            "SELECT generation, max(position) FROM ops.stream_batches WHERE generation = ANY(%s) GROUP BY generation",
            ([span.generation for span in spans],),
        ).fetchall()
    )
    return {
        span.generation: published.ledger_position if span.is_current else newest.get(span.generation, 0)
        for span in spans
    }
