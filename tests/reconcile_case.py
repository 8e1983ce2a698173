"""Files as the archive and the publisher write them, from records of a topic and rows worked out elsewhere."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from include.common.hive.tables import QUARANTINED_EVENTS, RAW_EVENTS, SESSION_FEATURES
from include.contract.bucket import BucketState, LateEvent, Record, bucket_of
from include.contract.event import ContractError, accept_record
from include.contract.rules import SessionRules
from include.contract.sessions import Reading, ReadingKey
from include.orchestration.reconcile.archive import HOUR_MS, Archive, Folder
from include.orchestration.reconcile.day import Inputs, judge
from include.orchestration.reconcile.engine import MOST_ROWS, Source
from include.orchestration.reconcile.model import (
    ALWAYS_MS,
    NEVER_MS,
    Day,
    Gap,
    Offsets,
    Outcome,
    Published,
    Rules,
    Span,
)
from include.spark_jobs.archive_events.transform import decode_batch
from tests.vectors import BUCKETS_PER_PARTITION, VectorRecord

TOPIC = "t"
GENERATION = 1
POSITION = 7
LATE_SCHEMA = pa.schema(
    [
        ("kafka_partition", pa.int32()), ("kafka_offset", pa.int64()), ("session_id", pa.string()),
        ("event_id", pa.string()), ("event_time_ms", pa.int64()), ("bucket_clock_ms", pa.int64()),
    ]
)  # fmt: skip
EPISODES_SCHEMA = pa.schema(
    [
        ("episode_id", pa.string()), ("genre", pa.string()), ("episode_rating", pa.float64()),
        ("valid_from_us", pa.int64()), ("valid_to_us", pa.int64()),
    ]
)  # fmt: skip
FIRST_US, LAST_US = -(2**63), 2**63 - 1


def rules_of(rules: SessionRules, buckets: int = BUCKETS_PER_PARTITION) -> Rules:
    return Rules(rules.gap_ms, rules.max_length_ms, rules.lateness_ms, rules.dwell_cap_ms, buckets)


def write_archive(
    root: Path, records: Sequence[VectorRecord], topic: str = TOPIC, quarantined: Iterable[int] = ()
) -> Archive:
    """raw_events of what the contract accepts, a folder an hour, through the archive's own decoder; records with an
    index in `quarantined` in quarantined_events."""
    apart = set(quarantined)
    folders: dict[tuple[str, str, int | None], list[dict[str, Any]]] = {}
    for row, index in zip(decoded(records, topic), range(len(records)), strict=True):
        if row["reason"] is None:
            where = (
                (QUARANTINED_EVENTS.name, row["dt"], None)
                if index in apart
                else (RAW_EVENTS.name, row["dt"], row["hour"])
            )
            folders.setdefault(where, []).append(row)
    return Archive(tuple(_write_partition(root, *where, rows) for where, rows in folders.items()))


def decoded(records: Sequence[VectorRecord], topic: str) -> list[dict[str, Any]]:
    batch = pa.record_batch(
        {
            "topic": pa.array([topic] * len(records), pa.string()),
            "kafka_partition": pa.array([it.partition for it in records], pa.int32()),
            "kafka_offset": pa.array([it.offset for it in records], pa.int64()),
            "kafka_timestamp": pa.array([it.kafka_ms * 1000 for it in records], pa.timestamp("us", tz="UTC")),
            "key": pa.array([it.key for it in records], pa.binary()),
            "value": pa.array([it.value for it in records], pa.binary()),
        }
    )
    return list(decode_batch(batch).to_pylist())


def _write_partition(root: Path, table: str, dt: str, hour: int | None, rows: list[dict[str, Any]]) -> Folder:
    path = root / table / f"dt={dt}" / ("" if hour is None else f"hour={hour}")
    path.mkdir(parents=True, exist_ok=True)
    schema = RAW_EVENTS.arrow_schema()
    named = [{name: row.get(name) for name in schema.names} | {"slice_id": "s"} for row in rows]
    pq.write_table(pa.Table.from_pylist(named, schema=schema), path / "slice-s-00.parquet")
    day = Day(datetime.fromisoformat(dt).date())
    from_ms = day.from_ms + (hour or 0) * HOUR_MS
    return Folder(from_ms, day.to_ms if hour is None else from_ms + HOUR_MS, path)


@dataclass
class Streamed:
    """What a stream makes of the records: rows as they stand, and late events. `clocks` by bucket."""

    rows: dict[ReadingKey, Reading] = field(default_factory=dict)
    late: list[LateEvent] = field(default_factory=list)

    @property
    def final(self) -> list[Reading]:
        return [row for row in self.rows.values() if row.is_final]


def stream(
    records: Iterable[VectorRecord], rules: SessionRules, buckets: int = BUCKETS_PER_PARTITION
) -> Streamed:
    """The engine that the stream runs."""
    states: dict[int, BucketState] = {}
    done = Streamed()
    by_bucket: dict[int, list[Record]] = {}
    for record in records:
        try:
            event = accept_record(record.key, record.value, record.kafka_ms)
        except ContractError:
            continue
        bucket = bucket_of(event.session_id, record.partition, buckets)
        by_bucket.setdefault(bucket, []).append(
            Record(record.partition, record.offset, record.kafka_ms, event)
        )
    for bucket, accepted in by_bucket.items():
        changes = states.setdefault(bucket, BucketState(rules)).apply(accepted)
        done.rows |= {row.key: row for row in changes.upserts}
        done.late += changes.late
    return done


def late_table(late: Iterable[LateEvent]) -> pa.Table:
    rows = [
        (it.partition, it.offset, it.session_id, it.event_id, it.event_time_ms, it.bucket_clock_ms)
        for it in late
    ]
    return pa.Table.from_pylist(
        [dict(zip(LATE_SCHEMA.names, row, strict=True)) for row in rows], schema=LATE_SCHEMA
    )


def hive_row(reading: Reading, **changes: Any) -> dict[str, Any]:
    """A reading as features__publish_batch writes it."""
    row = reading._asdict()
    del row["is_final"]
    for name in ("started_at", "ended_at"):
        row[name] = row.pop(f"{name}_ms") * 1000
    row["last_event_kafka_at"] = row.pop("last_event_kafka_ms") * 1000
    row["experiments"] = list((row["experiments"] or {}).items())
    return {
        **row,
        "genre": None,
        "episode_rating": None,
        "generation": GENERATION,
        "ledger_position": 1,
        **changes,
    }


def write_sessions(
    root: Path, rows: Iterable[Mapping[str, Any]], without: Iterable[str] = ()
) -> dict[str, Path]:
    """session_features by dt; files leave out the columns `without`."""
    by_dt: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_dt.setdefault(Day.of_ms(row["started_at"] // 1000).dt, []).append(row)
    locations = {}
    schema = SESSION_FEATURES.arrow_schema()
    for dt, found in by_dt.items():
        path = root / f"dt={dt}"
        path.mkdir(parents=True, exist_ok=True)
        columns = {name: [row[name] for row in found] for name in schema.names}
        table = pa.table([pa.array(columns[it.name], it.type) for it in schema], schema=schema)
        pq.write_table(table.drop_columns(list(without)), path / "part-0.parquet")
        locations[dt] = path
    return locations


def ends(records: Iterable[VectorRecord]) -> Offsets:
    found: dict[int, int] = {}
    for record in records:
        found[record.partition] = max(found.get(record.partition, 0), record.offset + 1)
    return found


@dataclass
class Case:
    """A topic, what was published of it, and the reconciliation of it."""

    root: Path
    records: list[VectorRecord]
    rules: SessionRules = field(default_factory=SessionRules)
    buckets: int = BUCKETS_PER_PARTITION
    topic: str = TOPIC
    gaps: tuple[Gap, ...] = ()
    is_whole: bool = True
    kept_from_ms: int = 0
    quarantined: tuple[int, ...] = ()
    generation: int = GENERATION
    next_generation: int | None = None
    episodes: list[tuple[str, str, float, int, int]] = field(default_factory=list)
    most_rows: int = MOST_ROWS
    without: tuple[str, ...] = ()
    missing: frozenset[tuple[int, int]] = frozenset()
    """(partition, offset) of records that are not archived."""

    def __post_init__(self) -> None:
        self.streamed = stream(self.records, self.rules, self.buckets)
        held = [it for it in self.records if (it.partition, it.offset) not in self.missing]
        self.archive = write_archive(self.root / "archive", held, self.topic, self.quarantined)
        self.hive = [hive_row(row) for row in self.streamed.final]
        self.late = list(self.streamed.late)
        self.spans = (
            Span(GENERATION, rules_of(self.rules, self.buckets), ALWAYS_MS, NEVER_MS,
                 dict.fromkeys(ends(self.records), 0), ends(self.records), True, self.gaps),
        )  # fmt: skip
        self.versions = 0

    def inputs(self) -> Inputs:
        self.versions += 1
        late = late_table(self.late)
        return Inputs(
            Source(
                self.topic, self.archive, lambda *_: late, self.is_whole, self.most_rows, self.kept_from_ms
            ),
            Published(self.generation, POSITION, self.spans, self.next_generation or self.generation),
            write_sessions(self.root / f"hive-{self.versions}", self.hive, self.without),
            pa.Table.from_pylist(
                [dict(zip(EPISODES_SCHEMA.names, it, strict=True)) for it in self.episodes],
                schema=EPISODES_SCHEMA,
            ),
        )

    def judge(self, connection: duckdb.DuckDBPyConnection, *dts: str) -> dict[str, Outcome]:
        """Outcomes by dt; of every day with an event or a published row where none is named."""
        inputs = self.inputs()
        days = {Day.of_ms(folder.from_ms).dt for folder in self.archive.folders} | set(inputs.locations)
        return {
            dt: judge(connection, inputs, Day(datetime.fromisoformat(dt).date()))
            for dt in sorted(dts or days)
        }


def at(text: str) -> int:
    """Epoch ms of a time in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def rows_of(connection: duckdb.DuckDBPyConnection) -> Iterator[dict[str, Any]]:
    """What the last day's recomputation gave."""
    yield from connection.sql("FROM recomputed").to_arrow_table().to_pylist()
