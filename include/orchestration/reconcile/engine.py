"""One day of one generation, recomputed from archived events in DuckDB.

The window of event time that is read grows until it is enough: back, until no session of the day can go on before it and
no event of one can be the repeat of an older one; forward, until what closes the day's sessions is in it, or nothing
more is archived. Whole days before the window cannot change a clock within it: an accepted event lies at most `lateness`
behind its clock, so the record that set a clock of the window is in the window.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from include.common.erasure.records import ERASED
from include.common.hive.tables import DEAD_LETTERS, RAW_EVENTS
from include.orchestration.reconcile.archive import Archive
from include.orchestration.reconcile.duck import one, row_count, rows_of_files, run_file, sql_text
from include.orchestration.reconcile.model import DAY_MS, FUTURE_MS, Coverage, Day, Gap, ReconcileError, Span

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SLACK_MS = 6 * 3_600_000
"""Read beyond what must be read, so that the window seldom has to grow: most sessions last minutes."""
_GROWTH = 4
MOST_ROWS = 20_000_000
"""Some 5 GB as temporary tables."""

Late = Callable[[int, int, int, Day], "pa.Table"]
"""(generation, window_from_ms, window_to_ms, day) -> its late list: kafka_partition, kafka_offset, session_id, event_id,
event_time_ms, bucket_clock_ms of events that happened in the window, or whose clock was reached on the day."""


@dataclass(frozen=True)
class Source:
    """What a recomputation reads. `is_whole`: every record that was ever archived still is. `kept_from_ms`: raw events of
    earlier days may have been dropped, whatever stragglers are there.

    `most_rows`: about as many are read at once, where the topic has partitions enough.
    """

    topic: str
    archive: Archive
    late: Late
    is_whole: bool = True
    most_rows: int = MOST_ROWS
    kept_from_ms: int = 0

    @property
    def first_ms(self) -> int:
        """No event is older, or not all of those that were are archived."""
        return self.archive.first_ms if self.is_whole else max(self.archive.first_ms, self.kept_from_ms)


def pieces(connection: "duckdb.DuckDBPyConnection", source: Source, span: Span, day: Day) -> list[Span]:
    """The span, some Kafka partitions at a time: buckets nest in them, so nothing that is computed crosses one."""
    near = source.archive.files(day.from_ms - span.rules.memory_ms - SLACK_MS, day.to_ms + SLACK_MS)
    count = max(1, min(len(span.end), -(-row_count(connection, near) // source.most_rows)))
    partitions = sorted(span.end)
    groups = [partitions[number::count] for number in range(count)]
    return [
        replace(
            span,
            end={number: span.end[number] for number in group},
            gaps=tuple(gap for gap in span.gaps if gap.partition in group),
        )
        for group in groups
    ]


def recompute(connection: "duckdb.DuckDBPyConnection", source: Source, span: Span, day: Day) -> Coverage:
    """Fill temporary tables `readings` (and `clocks`, `decided`, `late_checked`) for the day.

    `readings` also holds those that are not final: `is_final` says so.
    """
    rules, archive = span.rules, source.archive
    from_ms = day.from_ms - rules.memory_ms - SLACK_MS
    to_ms = day.to_ms + SLACK_MS
    back_ms = forward_ms = DAY_MS
    while True:
        _load(connection, source, span, day, from_ms, to_ms)
        needs_earlier, needs_later = one(connection, sql_text("7_reach.sql"))
        grows_back = needs_earlier and from_ms > source.first_ms
        grows_forward = needs_later and to_ms < archive.end_ms
        if not grows_back and not grows_forward:
            break
        if grows_back:
            from_ms, back_ms = max(source.first_ms, from_ms - back_ms), back_ms * _GROWTH
        if grows_forward:
            to_ms, forward_ms = min(archive.end_ms, to_ms + forward_ms), forward_ms * _GROWTH
    _find_erased(connection, source)
    run_file(connection, "8_late.sql")
    events, open_sessions, newest = one(
        connection,
        "SELECT (SELECT count(*) FROM events),"
        " (SELECT count(DISTINCT (session_id, session_start_ms)) FROM readings WHERE NOT is_final),"
        " (SELECT max(timestamp_ms) FROM clocks WHERE is_accepted)",
    )
    on_day = tuple(gap for gap in span.gaps if _touches(connection, gap, span, day))
    return Coverage(from_ms, to_ms, events, open_sessions, newest, needs_earlier, on_day)


def _load(
    connection: "duckdb.DuckDBPyConnection", source: Source, span: Span, day: Day, from_ms: int, to_ms: int
) -> None:
    """Read the window, decide what repeats are, cut sessions, compute readings."""
    _settle_rules(connection, source, span, day, from_ms, to_ms)
    files = source.archive.files(from_ms, to_ms)
    rows_of_files(connection, RAW_EVENTS, files).create_view("archived", replace=True)
    connection.register("late", source.late(span.generation, from_ms, to_ms, day))
    run_file(connection, "1_events.sql")
    run_file(connection, "2_clocks.sql")
    _decide_repeats(connection)
    for step in ("5_lines.sql", "cut_lines.sql", "6_readings.sql"):
        run_file(connection, step)


def _find_erased(connection: "duckdb.DuckDBPyConnection", source: Source) -> None:
    """Where records of erased readers were, and the newest Kafka time of them up to there: clocks that they set are not
    known any more."""
    rows_of_files(connection, DEAD_LETTERS, source.archive.letters).create_view("letters", replace=True)
    connection.execute(
        "CREATE OR REPLACE TEMPORARY TABLE erased AS SELECT kafka_partition, kafka_offset,"
        " max(epoch_ms(kafka_timestamp)) OVER (PARTITION BY kafka_partition ORDER BY kafka_offset) AS newest_kafka_ms"
        " FROM letters CROSS JOIN rules WHERE reason = ? AND letters.topic = rules.topic",
        [ERASED],
    )


def _settle_rules(
    connection: "duckdb.DuckDBPyConnection", source: Source, span: Span, day: Day, from_ms: int, to_ms: int
) -> None:
    rules = span.rules
    values = {
        "topic": source.topic, "generation": span.generation, "is_whole": source.is_whole,
        "gap_ms": rules.gap_ms, "max_length_ms": rules.max_length_ms, "lateness_ms": rules.lateness_ms,
        "dwell_cap_ms": rules.dwell_cap_ms, "buckets_per_partition": rules.buckets_per_partition,
        "span_from_ms": span.from_ms, "span_to_ms": span.to_ms, "day_from_ms": day.from_ms, "day_to_ms": day.to_ms,
        "window_from_ms": from_ms, "window_to_ms": to_ms,
        "future_ms": FUTURE_MS,
    }  # fmt: skip
    types = {str: "VARCHAR", bool: "BOOLEAN", int: "BIGINT"}
    columns = ", ".join(f"${name}::{types[type(value)]} AS {name}" for name, value in values.items())
    connection.execute(f"CREATE OR REPLACE TEMPORARY TABLE rules AS SELECT {columns}", values)
    connection.execute(
        "CREATE OR REPLACE TEMPORARY TABLE offsets (kafka_partition INTEGER, from_offset BIGINT, to_offset BIGINT)"
    )
    connection.execute(
        "CREATE OR REPLACE TEMPORARY TABLE gaps (kafka_partition INTEGER, from_offset BIGINT, to_offset BIGINT)"
    )
    if span.gaps:
        missing = [(gap.partition, gap.from_offset, gap.to_offset) for gap in span.gaps]
        connection.executemany("INSERT INTO gaps VALUES (?, ?, ?)", missing)
    ranges = [(number, span.start.get(number, 0), end) for number, end in span.end.items()]
    if ranges:
        connection.executemany("INSERT INTO offsets VALUES (?, ?, ?)", ranges)


def _decide_repeats(connection: "duckdb.DuckDBPyConnection") -> None:
    """Until nothing changes. A decision rests on records before it only, so there is one answer, and each round brings
    at least the next record of a bucket to it; where no id is used again after its session there is one round."""
    (most,) = one(connection, "SELECT count(*) + 1 FROM again")
    for _ in range(most):
        for step in ("3_repeats.sql", "cut_lines.sql", "4_decide.sql"):
            run_file(connection, step)
        (changed,) = one(
            connection,
            "SELECT count(*) FROM ((FROM repeats EXCEPT FROM repeats_before) UNION ALL"
            " (FROM repeats_before EXCEPT FROM repeats))",
        )
        if not changed:
            return
        run_file(connection, "2_clocks.sql")
    raise ReconcileError(f"repeats were not settled in {most} rounds: a fault of {__name__}")


def _touches(connection: "duckdb.DuckDBPyConnection", gap: Gap, span: Span, day: Day) -> bool:
    """May a record of the gap belong to a session with readings that began on the day?

    It is accepted only if it is not more than `lateness` behind its bucket's clock, and claims at most FUTURE_MS more than
    its Kafka time. A bucket of which nothing is known may be anywhere.
    """
    rules = span.rules
    if gap.newest_ms is not None and gap.newest_ms + FUTURE_MS + rules.max_length_ms < day.from_ms:
        return False
    lowest, known = one(
        connection,
        f"SELECT min(clock_ms), count(*) FROM (SELECT max(timestamp_ms) AS clock_ms FROM clocks"  # noqa: S608  integers
        f" WHERE is_accepted AND kafka_partition = {gap.partition} AND kafka_offset < {gap.from_offset} GROUP BY bucket)",
    )
    return bool(known < rules.buckets_per_partition or lowest - rules.lateness_ms < day.to_ms)
