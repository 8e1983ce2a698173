"""One look at PostgreSQL: what is published, of which generations, and what the archive does not hold of what they read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg

from include.common.hive.tables import SESSION_FEATURES
from include.common.names import Dag, Pg
from include.orchestration.reconcile.model import (
    Day,
    Gap,
    Offsets,
    Published,
    ReconcileError,
    Rules,
    Span,
)

if TYPE_CHECKING:
    import pyarrow as pa

Range = tuple[int, int]
_SPANS: LiteralString = """
WITH RECURSIVE followed AS (
    SELECT
        generation, rules, 0 AS place, (rules ->> 'publish_from_ms')::bigint AS from_ms,
        (rules ->> 'follows')::integer AS follows, 4611686018427387904 AS to_ms
    FROM ops.stream_generations
    WHERE generation = %(generation)s
    UNION ALL
    SELECT
        before.generation, before.rules, followed.place + 1, (before.rules ->> 'publish_from_ms')::bigint,
        (before.rules ->> 'follows')::integer, least(followed.to_ms, followed.from_ms)
    FROM followed
    INNER JOIN ops.stream_generations AS before ON followed.follows = before.generation
    WHERE followed.from_ms IS NOT NULL
)

SELECT
    followed.generation, followed.rules,
    CASE WHEN followed.follows IS NULL THEN -4611686018427387904
        ELSE coalesce(followed.from_ms, -4611686018427387904) END AS from_ms,
    followed.to_ms,
    (
        SELECT batch.end_offsets FROM ops.stream_batches AS batch
        WHERE
            batch.generation = followed.generation
            AND (followed.place > 0 OR batch.position <= %(ledger_position)s)
        ORDER BY batch.position DESC LIMIT 1
    ) AS end_offsets,
    followed.place = 0 AS is_current
FROM followed
ORDER BY followed.place
"""
"""The published generation and those that it follows, newest first. A generation publishes the sessions that began at
its point or later, up to the earliest point of the generations after it."""
_LATE = ("kafka_partition", "kafka_offset", "session_id", "event_id", "event_time_ms", "bucket_clock_ms")
_VERSIONS = ("episode_id", "genre", "episode_rating", "valid_from_us", "valid_to_us")


def find_published(connection: psycopg.Connection, topic: str) -> Published | None:
    """The newest publication of session_features; None before the first one. Raises ReconcileError for a generation
    whose settings are not recorded."""
    row = connection.execute(
        "SELECT cut.generation, max(cut.ledger_position), ("
        "   SELECT generation FROM ops.model_cuts WHERE published_at IS NOT NULL ORDER BY published_at DESC LIMIT 1)"
        " FROM ops.model_cuts AS cut"
        " INNER JOIN ops.publications AS publication ON cut.cut_id = publication.cut_id"
        " WHERE publication.hive_table = %(table)s AND cut.generation = ("
        "   SELECT newest.generation FROM ops.model_cuts AS newest"
        "   INNER JOIN ops.publications AS publication ON newest.cut_id = publication.cut_id"
        "   WHERE publication.hive_table = %(table)s ORDER BY publication.published_at DESC LIMIT 1)"
        " GROUP BY cut.generation",
        {"table": SESSION_FEATURES.name},
    ).fetchone()
    if row is None:
        return None
    generation, position, next_generation = row
    archived = _archived(connection, topic)
    spans = connection.execute(_SPANS, {"generation": generation, "ledger_position": position}).fetchall()
    return Published(
        generation,
        position,
        tuple(_span(connection, archived, *found) for found in spans if found[2] < found[3]),
        next_generation,
    )


def _span(
    connection: psycopg.Connection,
    archived: Mapping[int, list[Range]],
    generation: int,
    stored: Mapping[str, Any],
    from_ms: int,
    to_ms: int,
    end_offsets: Mapping[str, int] | None,
    is_current: bool,
) -> Span:
    try:
        rules = Rules(buckets_per_partition=stored["buckets_per_partition"], **stored["rules"])
        start = _offsets(stored["start_offsets"])
    except (KeyError, TypeError) as error:
        raise ReconcileError(
            f"generation {generation} in {Pg.STREAM_GENERATIONS} does not say with what rules it computes ({error}): "
            f"roll out a new generation (DAG {Dag.ROLL_OUT}), which records them"
        ) from error
    end = _offsets(end_offsets or {})
    gaps = tuple(
        Gap(partition, first, last, _newest_ms(connection, generation, partition, first, last))
        for partition in end
        for first, last in gaps_in(archived.get(partition, []), start.get(partition, 0), end[partition])
    )
    return Span(generation, rules, from_ms, to_ms, start, end, is_current, gaps)


def _offsets(stored: Mapping[str, int]) -> Offsets:
    return {int(partition): int(offset) for partition, offset in stored.items()}


def gaps_in(archived: Iterable[Range], start: int, end: int) -> list[Range]:
    """What of [start, end) none of the ranges `archived` covers."""
    missing, reached = [], start
    for first, last in sorted(archived):
        if first > reached:
            missing.append((reached, min(first, end)))
        reached = max(reached, last)
        if reached >= end:
            break
    if reached < end:
        missing.append((reached, end))
    return [(first, last) for first, last in missing if first < last]


def _archived(connection: psycopg.Connection, topic: str) -> dict[int, list[Range]]:
    """Ranges of offsets by partition whose events are in raw_events or quarantined_events (a discarded slice's, too)."""
    ranges: dict[int, list[Range]] = {}
    slices = connection.execute(
        "SELECT start_offsets, end_offsets FROM ops.archive_slices"
        " WHERE topic = %s AND status IN ('published', 'quarantined', 'discarded')",
        (topic,),
    ).fetchall()
    for start, end in slices:
        for partition, last in end.items():
            ranges.setdefault(int(partition), []).append((start[partition], last))
    return ranges


def _newest_ms(
    connection: psycopg.Connection, generation: int, partition: int, first: int, last: int
) -> int | None:
    row = connection.execute(
        "SELECT (extract(epoch FROM max(max_kafka_at)) * 1000)::bigint FROM ops.stream_batches"
        " WHERE generation = %(generation)s AND (end_offsets ->> %(partition)s)::bigint > %(first)s"
        " AND coalesce((start_offsets ->> %(partition)s)::bigint, 0) < %(last)s",
        {"generation": generation, "partition": str(partition), "first": first, "last": last},
    ).fetchone()
    return None if row is None else row[0]


def archived_rows(connection: psycopg.Connection) -> int:
    """Rows that all slices of all topics brought to raw_events and quarantined_events."""
    row = connection.execute(
        "SELECT coalesce(sum(coalesce(archived, 0) + coalesce(quarantined, 0)), 0)::bigint FROM ops.archive_slices"
        " WHERE status IN ('published', 'quarantined', 'discarded')"
    ).fetchone()
    return int(row[0]) if row else 0


def late_events(
    connection: psycopg.Connection, topic: str, generation: int, from_ms: int, to_ms: int, day: Day
) -> "pa.Table":
    """The generation's late list: events that happened in [from_ms, to_ms), or whose clock was reached on the day."""
    import pyarrow as pa

    rows = connection.execute(
        f"SELECT {', '.join(_LATE)} FROM {Pg.LATE_EVENTS} WHERE generation = %s AND topic = %s"  # noqa: S608  constants
        " AND ((event_time_ms >= %s AND event_time_ms < %s) OR (bucket_clock_ms >= %s AND bucket_clock_ms < %s))",
        (generation, topic, from_ms, to_ms, day.from_ms, day.to_ms),
    ).fetchall()
    types = (pa.int32(), pa.int64(), pa.string(), pa.string(), pa.int64(), pa.int64())
    return _arrow(rows, pa.schema(list(zip(_LATE, types, strict=True))))


def episode_versions(connection: psycopg.Connection) -> "pa.Table":
    """Genres and ratings of reference, valid in [valid_from_us, valid_to_us), epoch microseconds."""
    import pyarrow as pa

    bound = (
        "CASE WHEN isfinite({0}) THEN (extract(epoch FROM {0}) * 1000000)::bigint"
        " WHEN {0} > now() THEN 9223372036854775807 ELSE -9223372036854775808 END"
    )
    rows = connection.execute(
        f"SELECT episode_id, genre, rating::double precision, {bound.format('valid_from')}, {bound.format('valid_to')}"  # noqa: S608  constants
        f" FROM {Pg.EPISODE_METADATA}"
    ).fetchall()
    types = (pa.string(), pa.string(), pa.float64(), pa.int64(), pa.int64())
    return _arrow(rows, pa.schema(list(zip(_VERSIONS, types, strict=True))))


def _arrow(rows: Sequence[tuple[Any, ...]], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )
