"""Records in offset order through the engine that the stream runs; what becomes final is kept, day by day of its start."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from include.contract.bucket import (
    NO_CLOCK,
    BucketChanges,
    BucketState,
    LateEvent,
    Record,
    RecordValues,
    bucket_of,
)
from include.contract.rules import SessionRules
from include.contract.session_state import SessionState
from include.contract.sessions import Reading, ReadingKey, StoredEvent
from include.orchestration.reconcile.model import Day


class SessionId(NamedTuple):
    """A session_id and the Kafka partition that it is in."""

    partition: int
    session_id: str


class _WatchedBucket(BucketState):
    """A bucket that tells which events of some session_ids it accepts: neither late nor repeats."""

    def __init__(self, rules: SessionRules, watched: frozenset[SessionId]) -> None:
        super().__init__(rules)
        self.watched = watched
        self.accepted: list[Record] = []

    def _take(self, record: RecordValues, opened: dict[str, SessionState], changes: BucketChanges) -> None:
        before = changes.accepted
        super()._take(record, opened, changes)
        partition, _, _, event = record
        if changes.accepted > before and (partition, event.session_id) in self.watched:
            self.accepted.append(Record(*record))


@dataclass
class Replay:
    """All buckets of a generation from nothing. Feed it records by Kafka partition in offset order.

    Readings of session_ids in `watched` are not returned; their accepted events are in `accepted`.
    """

    rules: SessionRules
    buckets_per_partition: int
    day: Day
    watched: frozenset[SessionId] = frozenset()
    late: list[LateEvent] = field(default_factory=list)
    accepted: dict[SessionId, list[StoredEvent]] = field(default_factory=dict)
    events: int = 0
    _buckets: dict[int, _WatchedBucket] = field(default_factory=dict)
    _open: set[ReadingKey] = field(default_factory=set)

    def take(self, records: Sequence[Record]) -> list[Reading]:
        """Apply the next records; returns readings that began on the day and became final."""
        by_bucket: dict[int, list[Record]] = {}
        for record in records:
            bucket = bucket_of(record.event.session_id, record.partition, self.buckets_per_partition)
            by_bucket.setdefault(bucket, []).append(record)
        self.events += len(records)
        return [reading for bucket, own in by_bucket.items() for reading in self._apply(bucket, own)]

    def _apply(self, bucket: int, records: list[Record]) -> Iterable[Reading]:
        state = self._buckets.get(bucket)
        if state is None:
            state = self._buckets[bucket] = _WatchedBucket(self.rules, self.watched)
        changes = state.apply(records)
        self.late += changes.late
        for it in state.accepted:
            session = SessionId(it.partition, it.event.session_id)
            self.accepted.setdefault(session, []).append(StoredEvent.of(it.event, it.kafka_ms, it.offset))
        state.accepted.clear()
        self._open.difference_update(changes.deletes)
        for reading in changes.upserts:
            if not self.day.from_ms <= reading.started_at_ms < self.day.to_ms:
                self._open.discard(reading.key)  # an earlier event moved it out of the day
            elif not reading.is_final:
                self._open.add(reading.key)
            else:
                self._open.discard(reading.key)
                if SessionId(reading.source_partition, reading.session_id) not in self.watched:
                    yield reading

    @property
    def open_readings(self) -> set[ReadingKey]:
        """Readings that began on the day and are not final."""
        return self._open

    def is_final(self, session: SessionId, last_ms: int) -> bool:
        """Is a session of the session_id over whose last event is at `last_ms`?"""
        state = self._buckets.get(
            bucket_of(session.session_id, session.partition, self.buckets_per_partition)
        )
        clock_ms = NO_CLOCK if state is None else state.clock_ms
        return last_ms + self.rules.gap_ms < clock_ms - self.rules.lateness_ms
