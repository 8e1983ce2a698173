"""Slices of the archive without Kafka and Spark: staged as its job stages them, then placed by its own functions."""

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg.types.json import Jsonb

from include.common.archive.slices import Slice, load_slice
from include.common.hive.files import visible_files
from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.tables import DEAD_LETTERS, RAW_EVENTS
from include.orchestration.archive import Stores, publish_slice_files, quarantine_slice_files, with_slice

TOPIC = "events"
PARTITIONS = 3
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
Key = tuple[int, int]
"""Kafka partition and offset."""


def raw_rows(keys: Sequence[Key], times: Sequence[datetime], slice_id: str) -> pa.Table:
    """Accepted events at `times`, as the archive's job writes them."""
    count = len(keys)
    text: dict[str, Any] = {
        "event_id": [f"e{partition}-{offset}" for partition, offset in keys],
        "user_id": [f"u{offset % 50}" for _, offset in keys],
        "session_id": [f"s{offset % 90}" for _, offset in keys],
        "episode_id": [f"ep{offset % 9}" for _, offset in keys],
        "event_type": ["scroll"] * count,
        "country": ["KR"] * count,
        "device": ["phone"] * count,
        "platform": ["ios"] * count,
        "timestamp": [int(time.timestamp() * 1000) for time in times],
        "scroll_ratio": [offset % 100 / 100 for _, offset in keys],
        "experiments": [[("cover", "b")] if offset % 2 else None for _, offset in keys],
        "event_time": list(times),
        "value": [f'{{"user_id": "u{offset % 50}", "n": {offset}}}'.encode() for _, offset in keys],
        **_kafka(keys, times, slice_id),
    }
    return _table(RAW_EVENTS, text, count)


def letter_rows(keys: Sequence[Key], times: Sequence[datetime], slice_id: str) -> pa.Table:
    """Dead letters: of each reader's JSON the end is missing."""
    values = [f'{{"user_id": "u{offset % 50}'.encode() for _, offset in keys]
    columns: dict[str, Any] = {"value": values, "reason": ["not_json"] * len(keys)}
    return _table(DEAD_LETTERS, {**columns, **_kafka(keys, times, slice_id)}, len(keys))


def _kafka(keys: Sequence[Key], times: Sequence[datetime], slice_id: str) -> dict[str, Any]:
    return {
        "topic": [TOPIC] * len(keys),
        "kafka_partition": [partition for partition, _ in keys],
        "kafka_offset": [offset for _, offset in keys],
        "kafka_timestamp": list(times),
        "slice_id": [slice_id] * len(keys),
    }


def _table(table: HiveTable, columns: dict[str, Any], count: int) -> pa.Table:
    schema = table.arrow_schema()
    return pa.table([pa.array(columns.get(f.name, [None] * count), f.type) for f in schema], schema=schema)


def write_by_partition(rows: pa.Table, times: Sequence[datetime], table: HiveTable, folder: Path) -> None:
    """One file a partition, in the order of the rows, and the mark that all is written."""
    chosen: dict[str, list[int]] = defaultdict(list)
    for number, time in enumerate(times):
        values = (f"{time:%Y-%m-%d}", str(time.hour))[: len(table.partitions)]
        chosen[table.partition_name(values)].append(number)
    for name, numbers in chosen.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(rows.take(numbers), folder / name / "part-00000.parquet", compression="zstd")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_SUCCESS").touch()


@dataclass
class SliceStore:
    """Stores of the batch side, and where the next slice begins."""

    stores: Stores
    end: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(PARTITIONS), 0))
    counter: Any = field(default_factory=itertools.count)

    def stage(self, times: Iterable[datetime], letters: Iterable[datetime] = ()) -> Slice:
        """Record and stage the next slice: an event at each of `times`, a dead letter at each of `letters`."""
        number = next(self.counter)
        digest = hashlib.sha256(str(number).encode()).hexdigest()[:12]
        slice_id = f"{MONDAY + timedelta(minutes=10 * number):%Y%m%dT%H%M%SZ}-{digest}"
        start = dict(self.end)
        event_times, letter_times = list(times), list(letters)
        keys = [self._next(count) for count in range(len(event_times) + len(letter_times))]
        self.stores.connection.execute(
            "INSERT INTO ops.archive_slices (slice_id, run_id, topic, start_offsets, end_offsets, status, produced)"
            " VALUES (%s, %s, %s, %s, %s, 'staged', %s)",
            (slice_id, f"run-{number}", TOPIC, _text(start), _text(self.end), len(keys)),
        )
        events, others = keys[: len(event_times)], keys[len(event_times) :]
        staged = self.stores.staged(load_slice(self.stores.connection, slice_id))
        _write(raw_rows, events, event_times, slice_id, RAW_EVENTS, staged.events)
        _write(letter_rows, others, letter_times, slice_id, DEAD_LETTERS, staged.dead_letters)
        return load_slice(self.stores.connection, slice_id)

    def publish(self, piece: Slice) -> None:
        """Its gate passed."""
        with_slice(self.stores, piece.slice_id, publish_slice_files)

    def quarantine(self, piece: Slice) -> None:
        """Its gate refused it."""
        with_slice(self.stores, piece.slice_id, lambda *of: quarantine_slice_files(*of, ["a_rule"]))

    def files(self, table: HiveTable) -> dict[PartitionValues, list[Path]]:
        """What readers of each partition see."""
        shown = self.stores.metastore.all_locations(table)
        return {values: visible_files(folder) for values, folder in shown.items()}

    def keys(self, *tables: HiveTable) -> Counter[tuple[int, int, str]]:
        """Kafka partition, offset and slice of every row that readers of `tables` see."""
        columns = ["kafka_partition", "kafka_offset", "slice_id"]
        found: Counter[tuple[int, int, str]] = Counter()
        for table in tables:
            for files in self.files(table).values():
                for path in files:
                    rows = pq.ParquetFile(path).read(columns)
                    found.update(zip(*(rows[name].to_pylist() for name in columns), strict=True))
        return found

    def _next(self, number: int) -> Key:
        partition = number % PARTITIONS
        self.end[partition] += 1
        return partition, self.end[partition] - 1


def _write(
    rows: Any, keys: list[Key], times: list[datetime], slice_id: str, table: HiveTable, folder: Path
) -> None:
    order = sorted(range(len(keys)), key=keys.__getitem__)
    sorted_keys, sorted_times = [keys[number] for number in order], [times[number] for number in order]
    write_by_partition(rows(sorted_keys, sorted_times, slice_id), sorted_times, table, folder)


def _text(offsets: dict[int, int]) -> Jsonb:
    return Jsonb({str(number): offset for number, offset in offsets.items()})
