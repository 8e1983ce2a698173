"""Spark's side of a bucket: records in, changes out, state in the log of `bucket_log`.

Rows of a group may come in any order; the engine orders their records by offset.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import itemgetter, lt
from typing import Any

from pyspark.sql import Row
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from include.common.erasure.erasures import ErasedReaders
from include.contract.bucket import RecordValues
from include.contract.event import ContractError, accept_record
from include.contract.rules import SessionRules
from include.spark_jobs.stream_sessionize import bucket_log
from include.spark_jobs.stream_sessionize.bucket_log import Head
from include.spark_jobs.stream_sessionize.changes import Tally, encode_tally, readings_to_ipc
from include.spark_jobs.stream_sessionize.collector import leave_imports_alone, no_cycle_collection
from include.spark_jobs.stream_sessionize.packing import Columns, unpack


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


class Arrivals:
    """What one call brings to a bucket: `rows` of `packing.PACKED_SCHEMA`, of that bucket and in any order.

    `wall_ms` is the newest tick, None without one; `max_kafka_ms` and `min_kafka_ms` are of the records of the events'
    topic, -1 without any. `kafka_ms` and the counts are complete when `events` has come to its end.
    """

    def __init__(self, rows: Iterable[Row], erased: ErasedReaders | None = None) -> None:
        columns = unpack(row["records"] for row in rows)
        self.wall_ms: int | None = None
        if min(columns.partition, default=0) < 0:
            records = list(zip(*columns, strict=True))
            self.wall_ms = max(record[2] for record in records if record[0] < 0)
            columns = Columns.of(record for record in records if record[0] >= 0)
        if not all(map(lt, columns.offset, islice(columns.offset, 1, None))):
            columns = Columns.of(sorted(zip(*columns, strict=True), key=itemgetter(1)))
        times = columns.kafka_ms
        self.min_kafka_ms, self.max_kafka_ms = min(times, default=-1), max(times, default=-1)
        self._columns = columns
        self._erased_readers = erased
        self.kafka_ms = array("q")
        """Of the events that the contract accepts."""
        self.dead_letters = 0
        self.erased = 0
        """Events of erased readers, which are in nothing else here."""

    def events(self) -> Iterator[RecordValues]:
        """The events that the contract accepts, in offset order and each made when it is asked for: an event that is used
        while the processor's caches still hold it costs half as much as one of a long list."""
        erased, tell = self._erased_readers, self.kafka_ms.append
        for partition, offset, kafka_ms, key, value in zip(*self._columns, strict=True):
            try:
                event = accept_record(key, value, kafka_ms)
            except ContractError:
                self.dead_letters += 1  # the archive keeps it, with its reason; the stream only counts
                continue
            if erased is not None and event.user_id in erased:
                self.erased += 1
                continue
            tell(kafka_ms)
            yield partition, offset, kafka_ms, event


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
        leave_imports_alone()

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
        arrivals = Arrivals(rows, self._erased)
        head, bucket = bucket_log.load(
            self._store, cache, self._lineage, bucket_id, self._rules, self._forgets
        )
        changes = bucket.apply(arrivals.events(), arrivals.wall_ms)
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
            arrivals.kafka_ms.tobytes() if self._tells_times else b"",
            arrivals.erased,
        )
        return Row(bucket=bucket_id, upserts=readings_to_ipc(changes.upserts), tally=encode_tally(tally))
