"""One day's verdict: can it be checked, and if so, is it equal?

Closed: all sessions with readings of that day are final and published, and the archive has come past them. A day of which
that is not so is not checked and says why; it is never called equal.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.backfills import Backfill
from include.common.erasure.erasures import ErasedReaders
from include.common.hive.files import data_files
from include.common.hive.tables import SESSION_FEATURES
from include.orchestration.reconcile.comparison import compare
from include.orchestration.reconcile.duck import one, rows_of_files
from include.orchestration.reconcile.engine import Source, pieces, recompute
from include.orchestration.reconcile.model import (
    Comparison,
    Coverage,
    Day,
    Outcome,
    Published,
    Span,
    Verdict,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

EXPIRED = "raw_events_expired"
"""Start of the reason that waiting does not mend."""
REVISED = "revised_with_late_events"
"""Start of the reason why some rows of a day were not compared."""

_FOUND = {
    "recomputed": "SELECT * EXCLUDE (is_final, run_start_ms, lowest_clock_ms) FROM readings WHERE is_final",
    "late_found": "SELECT * FROM late_checked",
}
"""Of each generation's recomputation: what is kept beside that of the others."""


@dataclass(frozen=True)
class Inputs:
    """What the verdict on any day rests on. `locations`: folders that session_features' partitions point at, by dt.
    Readings of `erased` readers are not compared: the stores lose them one after the other.

    `episodes`: columns episode_id, genre, episode_rating, valid_from_us, valid_to_us (epoch microseconds) of reference.
    `backfills`: the newest of each day that features__backfill has rebuilt, by dt.
    """

    source: Source
    published: Published
    locations: Mapping[str, Path]
    episodes: "pa.Table"
    backfills: Mapping[str, Backfill] = field(default_factory=dict)
    erased: ErasedReaders = field(default_factory=ErasedReaders)


@dataclass(frozen=True)
class Look:
    """One look at a day. `reason`: why its rows are not known for good, None where they are; `coverages`: what the
    recomputation of each generation rested on."""

    reason: str | None
    coverages: Sequence[tuple[Span, Coverage]]


def look_at(connection: "duckdb.DuckDBPyConnection", inputs: Inputs, day: Day) -> Look:
    """Recompute the day, and say whether it is closed. DuckDB's temporary tables stay behind."""
    _open_partition(connection, inputs.locations.get(day.dt))
    connection.register("episodes", inputs.episodes)
    coverages = _recompute(connection, inputs, day)
    _leave_out_erased(connection, inputs.erased)
    reason = _not_published(connection, inputs.published) or _not_closed(
        connection, inputs.source, day, coverages
    )
    return Look(reason, coverages)


def judge(connection: "duckdb.DuckDBPyConnection", inputs: Inputs, day: Day) -> Outcome:
    """Recompute the day and compare. DuckDB's temporary tables stay behind for a look at them."""
    began = time.monotonic()
    published, location = inputs.published, inputs.locations.get(day.dt)
    look = look_at(connection, inputs, day)
    reason, coverages = look.reason, look.coverages
    comparison: Comparison | None = None
    verdict = Verdict.NOT_CHECKED
    if reason is None:
        reason = _leave_out_revised(connection, inputs, day, coverages)
        comparison = compare(connection)
        verdict = Verdict.DIFFERENT if comparison.different else Verdict.EQUAL
    return Outcome(
        day,
        verdict,
        reason,
        published.generation,
        published.ledger_position,
        None if location is None else str(location),
        comparison,
        sum(coverage.events for _, coverage in coverages),
        time.monotonic() - began,
    )


def _open_partition(connection: "duckdb.DuckDBPyConnection", location: Path | None) -> None:
    files = [] if location is None else [str(file) for file in data_files(location)]
    rows_of_files(connection, SESSION_FEATURES, files).create_view("partition_stored", replace=True)
    connection.execute("CREATE OR REPLACE TEMPORARY VIEW partition_rows AS FROM partition_stored")


def _leave_out_erased(connection: "duckdb.DuckDBPyConnection", erased: ErasedReaders) -> None:
    if not erased:
        return
    users = connection.execute(
        "SELECT user_id FROM recomputed UNION SELECT user_id FROM partition_stored"
        " UNION SELECT user_id FROM late_found"
    ).fetchall()
    gone = sorted(erased.among(user for (user,) in users if user is not None))
    connection.execute(
        "CREATE OR REPLACE TEMPORARY TABLE gone AS SELECT unnest(?::VARCHAR[]) AS user_id", [gone]
    )
    connection.execute("DELETE FROM recomputed WHERE user_id IN (SELECT user_id FROM gone)")
    # the list of late events loses the reader before the archive does
    connection.execute("DELETE FROM late_found WHERE user_id IN (SELECT user_id FROM gone)")
    connection.execute(
        "CREATE OR REPLACE TEMPORARY VIEW partition_rows AS FROM partition_stored ANTI JOIN gone USING (user_id)"
    )


def spans_of_day(published: Published, day: Day) -> list[Span]:
    """Generations that sessions with readings of the day may be of."""
    return [
        span
        for span in published.spans
        if span.from_ms < day.to_ms and span.to_ms > day.from_ms - span.rules.max_length_ms
    ]


def _recompute(
    connection: "duckdb.DuckDBPyConnection", inputs: Inputs, day: Day
) -> list[tuple[Span, Coverage]]:
    """Fill `recomputed` and `late_found`, from every generation that sessions with readings of the day may be of."""
    coverages: list[tuple[Span, Coverage]] = []
    for span in spans_of_day(inputs.published, day):
        for piece in pieces(connection, inputs.source, span, day):
            coverage = recompute(connection, inputs.source, piece, day)
            for table, rows in _FOUND.items():
                how = f"INSERT INTO {table}" if coverages else f"CREATE OR REPLACE TEMPORARY TABLE {table} AS"
                connection.execute(f"{how} {rows}")
            coverages.append((span, coverage))
    return coverages


def _leave_out_revised(
    connection: "duckdb.DuckDBPyConnection",
    inputs: Inputs,
    day: Day,
    coverages: Sequence[tuple[Span, Coverage]],
) -> str | None:
    """Where the day's rows are the late-corrected revision, compare without the session_ids that have late events.

    A generation that was rolled out since has published its own rows again.
    """
    backfill = inputs.backfills.get(day.dt)
    if backfill is None or not backfill.with_late_events:
        return None
    revised = [(span, coverage) for span, coverage in coverages if span.generation in backfill.positions]
    connection.execute("CREATE OR REPLACE TEMPORARY TABLE left_out (session_id VARCHAR)")
    for span, coverage in revised:
        from_ms, to_ms = coverage.window_from_ms, coverage.window_to_ms
        connection.register("late", inputs.source.late(span.generation, from_ms, to_ms, day))
        connection.execute("INSERT INTO left_out SELECT session_id FROM late")
    connection.execute("DELETE FROM recomputed WHERE session_id IN (FROM left_out)")
    connection.execute(
        "CREATE OR REPLACE TEMPORARY TABLE compared_rows AS FROM partition_rows WHERE session_id NOT IN (FROM left_out)"
    )
    connection.execute("CREATE OR REPLACE TEMPORARY VIEW partition_rows AS FROM compared_rows")
    (sessions,) = one(connection, "SELECT count(DISTINCT session_id) FROM left_out")
    return f"{REVISED}: {sessions} session_ids with late events are not compared" if revised else None


def _not_published(connection: "duckdb.DuckDBPyConnection", published: Published) -> str | None:
    """Does the partition hold rows of a publication that is not recorded yet?"""
    if published.next_generation != published.generation:
        return f"publication_in_flight: generation {published.next_generation} is published in marts, not yet in Hive"
    (ahead,) = one(
        connection,
        "SELECT count(*) FROM partition_rows WHERE generation = ? AND ledger_position > ?",
        [published.generation, published.ledger_position],
    )
    if ahead:
        return f"publication_in_flight: {ahead} rows are of a later ledger position than {published.ledger_position}"
    return None


def _not_closed(
    connection: "duckdb.DuckDBPyConnection",
    source: Source,
    day: Day,
    coverages: Sequence[tuple[Span, Coverage]],
) -> str | None:
    (rows,) = one(
        connection, "SELECT (SELECT count(*) FROM recomputed) + (SELECT count(*) FROM partition_rows)"
    )
    every = [coverage for _, coverage in coverages]
    if not source.is_whole and (source.first_ms >= day.from_ms or any(it.needs_earlier for it in every)):
        return f"{EXPIRED}: events of that day, or of those before that it takes, are no longer archived"
    gaps = [gap for it in every for gap in it.gaps_on_day]
    if gaps:
        return (
            f"not_archived: {len(gaps)} ranges of offsets that may hold events of that day; the first is"
            f" {gaps[0].from_offset} to {gaps[0].to_offset - 1} of partition {gaps[0].partition}"
        )
    # what was open when an older generation was retired stays as it is
    current = [(span, coverage) for span, coverage in coverages if span.is_current]
    clocks = [(span, it.newest_clock_ms) for span, it in current if it.newest_clock_ms is not None]
    if clocks and rows and all(clock < _over_ms(span, day) for span, clock in clocks):
        return "day_not_over: no bucket's clock is past the day by gap and lateness"
    open_sessions = sum(coverage.open_sessions for _, coverage in current)
    if open_sessions:
        return f"sessions_open: {open_sessions} sessions with readings of that day are not final"
    if not rows:
        return "nothing_to_compare: neither final readings nor published rows"
    return None


def _over_ms(span: Span, day: Day) -> int:
    return day.to_ms + span.rules.gap_ms + span.rules.lateness_ms
