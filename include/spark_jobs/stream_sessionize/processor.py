"""Spark's side of a bucket: records in, changes out, state in the log of `bucket_log`.

Rows of a group may come in any order; the engine orders their records by offset.
"""

import gc
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import Row
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from include.common.erasure.erasures import ErasedReaders
from include.contract.bucket import Record
from include.contract.event import ContractError, accept_record
from include.contract.flat_rows import new_tuple
from include.contract.rules import SessionRules
from include.spark_jobs.stream_sessionize import bucket_log
from include.spark_jobs.stream_sessionize.bucket_log import Head
from include.spark_jobs.stream_sessionize.changes import Tally, encode_tally, readings_to_ipc
from include.spark_jobs.stream_sessionize.packing import unpack


class SparkLogStore:
    """`bucket_log.LogStore` on Spark's state of the current grouping key."""

    def __init__(self, handle: StatefulProcessorHandle) -> None:
        self._head = handle.getValueState(
            "head", "layout INT, version LONG, base LONG, clock LONG, wall LONG"
        )
        self._log = handle.getMapState("log", "version LONG", "entry BINARY")

    def head(self) -> Head | None:
        """See LogStore."""
        stored = self._head.get()
        return None if stored is None else Head(*stored)

    def put_head(self, head: Head) -> None:
        """See LogStore."""
        self._head.update((head.layout, head.version, head.base, head.clock_ms, head.wall_ms))

    def entry(self, version: int) -> bytes:
        """See LogStore; a missing entry means a damaged checkpoint."""
        stored = self._log.getValue((version,))
        if stored is None:
            raise RuntimeError(
                f"state log entry {version} is missing: the checkpoint is damaged; start a new generation "
                f"(docs/runbooks/stream_sessionize.md)"
            )
        return bytes(stored[0])

    def put_entry(self, version: int, entry: bytes) -> None:
        """See LogStore."""
        self._log.updateValue((version,), (entry,))

    def remove_entry(self, version: int) -> None:
        """See LogStore."""
        self._log.removeKey((version,))


@dataclass(slots=True)
class Arrivals:
    """What one call brings to a bucket. `wall_ms` is the newest tick, None without one."""

    records: list[Record] = field(default_factory=list)
    dead_letters: int = 0
    max_kafka_ms: int = -1
    min_kafka_ms: int = -1
    wall_ms: int | None = None
    erased: int = 0

    def without(self, readers: ErasedReaders) -> None:
        """Drop the events of `readers`; they are only counted."""
        kept = [record for record in self.records if record.event.user_id not in readers]
        self.erased = len(self.records) - len(kept)
        self.records = kept

    def take(
        self, partition: int, offset: int, kafka_ms: int, key: bytes | None, value: bytes | None
    ) -> None:
        """Take one record of the topics: an event, a dead letter, or a tick (partition below 0)."""
        if partition < 0:
            self.wall_ms = max(kafka_ms, -1 if self.wall_ms is None else self.wall_ms)
            return
        if kafka_ms > self.max_kafka_ms:
            self.max_kafka_ms = kafka_ms
        if kafka_ms < self.min_kafka_ms or self.min_kafka_ms < 0:
            self.min_kafka_ms = kafka_ms
        try:
            event = accept_record(key, value, kafka_ms)
        except ContractError:
            self.dead_letters += 1  # the archive keeps it, with its reason; the stream only counts
        else:
            self.records.append(new_tuple(Record, (partition, offset, kafka_ms, event)))


class SessionizeProcessor(StatefulProcessor):
    """One call a bucket and micro-batch. `lineage` names checkpoint and run for the worker's cache; `tells_times`
    has the events' Kafka times told to the driver, for its metrics. Events of `erased` readers are not accepted; with
    `forgets` those accepted before are taken out of each bucket at its first call."""

    def __init__(
        self,
        lineage: str,
        rules: SessionRules,
        *,
        tells_times: bool = False,
        erased: ErasedReaders | None = None,
        forgets: bool = False,
    ) -> None:
        self._lineage = lineage
        self._rules = rules
        self._tells_times = tells_times
        self._erased = erased or None
        self._forgets = self._erased if forgets else None

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the state variables (called once a task)."""
        self._store = SparkLogStore(handle)

    def handleInputRows(  # noqa: N802  the name is Spark's
        self,
        key: Any,
        rows: Iterator[Row],
        timerValues: Any,  # noqa: N803  the name is Spark's
    ) -> Iterator[Row]:
        """Apply the bucket's records of this micro-batch; yields one row of `changes.OUTPUT_SCHEMA`."""
        with no_cycle_collection():
            row = self._apply(int(key[0]), rows)
        yield row

    def _apply(self, bucket_id: int, rows: Iterable[Row]) -> Row:
        cache = bucket_log.worker_cache
        arrivals = read_records(rows)
        if self._erased is not None:
            arrivals.without(self._erased)
        head, bucket = bucket_log.load(
            self._store, cache, self._lineage, bucket_id, self._rules, self._forgets
        )
        changes = bucket.apply(arrivals.records, arrivals.wall_ms)
        bucket_log.save(self._store, cache, self._lineage, bucket_id, head, bucket, changes)
        tally = Tally(
            changes.deletes,
            changes.late,
            changes.accepted,
            changes.duplicates,
            arrivals.dead_letters,
            arrivals.max_kafka_ms,
            arrivals.min_kafka_ms,
            bucket.clock_ms,
            array("q", [it.kafka_ms for it in arrivals.records]).tobytes() if self._tells_times else b"",
            arrivals.erased,
        )
        return Row(bucket=bucket_id, upserts=readings_to_ipc(changes.upserts), tally=encode_tally(tally))


def read_records(rows: Iterable[Row]) -> Arrivals:
    """Everything that the rows (of `packing.PACKED_SCHEMA`, of one bucket) bring."""
    arrivals = Arrivals()
    for partition, offset, kafka_ms, key, value in unpack(row["records"] for row in rows):
        arrivals.take(partition, offset, kafka_ms, key, value)
    return arrivals


@contextmanager
def no_cycle_collection() -> Iterator[None]:
    """Without Python's collector of reference cycles: the engine makes none, and tens of thousands of objects at once
    that the collector would go through again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
