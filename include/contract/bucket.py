"""The incremental engine: open sessions of one hash bucket, brought forward by records in offset order.

A bucket nests inside one Kafka partition, so it sees its records in offset order however they are cut
into micro-batches, and its clock (the running maximum of accepted event times) is a function of the
topic alone. The rows of final sessions equal `include.contract.sessions` applied to the set of accepted
events: neither arrival order nor batches nor the wall clock matter (property-tested).
"""

import heapq
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from include.contract.encoded_session import Readers, due_times, has_reader
from include.contract.event import ReadingEvent
from include.contract.flat_rows import NEVER_MS
from include.contract.rules import SessionRules
from include.contract.session_state import SessionState
from include.contract.sessions import Reading, ReadingKey

NO_CLOCK = -(2**62)
"""Clock of a bucket that has accepted nothing yet: nothing is late."""


class Record(NamedTuple):
    """An event as it stands on the topic. `kafka_ms` is the record's own timestamp."""

    partition: int
    offset: int
    kafka_ms: int
    event: ReadingEvent


RecordValues = tuple[int, int, int, ReadingEvent]
"""A Record, or a plain tuple of its values, which is made in half the time."""


class LateEvent(NamedTuple):
    """An event that arrived too late to be applied; the batch path corrects for it."""

    partition: int
    offset: int
    session_id: str
    event_id: str
    event_time_ms: int
    bucket_clock_ms: int
    user_id: str


@dataclass(slots=True)
class BucketChanges:
    """What one `apply` did. `touched`: session_id -> its encoded state now, None if it left the state.

    `has_forgotten`: readers were looked for and taken out; what was stored before may still hold them.
    """

    upserts: list[Reading] = field(default_factory=list)
    deletes: list[ReadingKey] = field(default_factory=list)
    late: list[LateEvent] = field(default_factory=list)
    touched: dict[str, bytes | None] = field(default_factory=dict)
    accepted: int = 0
    duplicates: int = 0
    has_forgotten: bool = False


def bucket_of(session_id: str, partition: int, buckets_per_partition: int) -> int:
    """Return the bucket of a session: buckets nest inside Kafka partitions (same as crc32 in Spark SQL)."""
    return partition * buckets_per_partition + zlib.crc32(session_id.encode()) % buckets_per_partition


class BucketState:
    """Open sessions of one bucket, kept encoded until they are touched, closed or fall idle."""

    def __init__(self, rules: SessionRules) -> None:
        self.rules = rules
        self.clock_ms = NO_CLOCK
        self.wall_ms = -1
        self._sessions: dict[str, bytes] = {}
        # heaps of (time, session_id), at least one entry a session at or before its true time
        self._due: list[tuple[int, str]] = []
        self._idle: list[tuple[int, str]] = []
        self._forgets: Readers | None = None

    @classmethod
    def restore(
        cls, rules: SessionRules, clock_ms: int, sessions: Mapping[str, bytes], wall_ms: int = -1
    ) -> "BucketState":
        """Rebuild from what was stored: the two clocks and every session's last `touched` bytes.

        Raises StateVersionError if another version wrote any of them.
        """
        bucket = cls(rules)
        bucket.clock_ms = clock_ms
        bucket.wall_ms = wall_ms
        bucket.follow(sessions)
        return bucket

    def follow(self, touched: Mapping[str, bytes | None]) -> None:
        """Take over what another copy of this bucket did (`BucketChanges.touched`); its clocks are the caller's to set.

        Costs what was touched, not what is open. Raises StateVersionError if another version wrote any of it.
        """
        for session_id, encoded in touched.items():
            if encoded is None:
                self._sessions.pop(session_id, None)
            else:
                self._schedule(session_id, *due_times(encoded))
                self._sessions[session_id] = encoded

    def forget(self, readers: Readers) -> None:
        """Have the next `apply` first take out all events of `readers` (user_ids), as if they had never been accepted.

        The clock stays where they brought it: what was late stays late.
        """
        self._forgets = readers

    def sessions(self) -> Mapping[str, bytes]:
        """Every open session's encoded state, by session_id."""
        return self._sessions

    def apply(self, records: Iterable[RecordValues], wall_ms: int | None = None) -> BucketChanges:
        """Take the bucket's next records, and the newest wall-clock tick (epoch ms) if there was one.

        `records` are in offset order and may be an iterator: none is kept. Returns only rows that differ from those
        returned before. Raises ValueError where a record is not behind the one before.
        """
        changes = BucketChanges()
        opened: dict[str, SessionState] = {}
        if self._forgets is not None:
            self._forget(self._forgets, opened)
            self._forgets, changes.has_forgotten = None, True
        before = -1
        for record in records:
            offset = record[1]
            if offset <= before:
                raise ValueError(f"offset {offset} comes after {before}: records must be in offset order")
            before = offset
            self._take(record, opened, changes)
        self._close_final(opened)
        self._close_idle(wall_ms, opened)
        for state in opened.values():
            if state.changed:
                self._emit(state, changes)
        return changes

    def _forget(self, readers: Readers, opened: dict[str, SessionState]) -> None:
        for session_id, encoded in self._sessions.items():
            if has_reader(encoded, readers):
                self._open(session_id, opened).forget(readers)

    def _take(self, record: RecordValues, opened: dict[str, SessionState], changes: BucketChanges) -> None:
        partition, offset, kafka_ms, event = record
        state = opened.get(event.session_id)
        if state is None:
            state = self._open(event.session_id, opened, partition)
        horizon_ms = self.clock_ms - self.rules.lateness_ms
        if state.due_ms < horizon_ms:
            state.finalise(horizon_ms, self.rules)
        if state.holds(event.event_id):
            changes.duplicates += 1
        elif event.timestamp < horizon_ms:
            changes.late.append(
                LateEvent(
                    partition,
                    offset,
                    event.session_id,
                    event.event_id,
                    event.timestamp,
                    self.clock_ms,
                    event.user_id,
                )
            )
        else:
            if event.timestamp > self.clock_ms:
                self.clock_ms = event.timestamp
            changes.accepted += 1
            state.add(event, kafka_ms, offset, self.rules)

    def _open(self, session_id: str, opened: dict[str, SessionState], partition: int = -1) -> SessionState:
        state = opened.get(session_id)
        if state is None:
            encoded = self._sessions.get(session_id)
            if encoded is None:
                state = SessionState(session_id, partition)
            else:
                state = SessionState.decode(session_id, encoded)
            opened[session_id] = state
        return state

    def _close_final(self, opened: dict[str, SessionState]) -> None:
        horizon_ms = self.clock_ms - self.rules.lateness_ms
        for state in opened.values():
            if state.due_ms < horizon_ms:
                state.finalise(horizon_ms, self.rules)
        for session_id in self._pop_due(self._due, horizon_ms, 0):
            if session_id not in opened:
                self._open(session_id, opened).finalise(horizon_ms, self.rules)

    def _close_idle(self, wall_ms: int | None, opened: dict[str, SessionState]) -> None:
        if wall_ms is None or wall_ms <= self.wall_ms:
            return
        self.wall_ms = wall_ms
        for session_id in self._pop_due(self._idle, wall_ms, 1):
            self._open(session_id, opened).changed = True

    def _pop_due(self, heap: list[tuple[int, str]], before_ms: int, which: int) -> Iterator[str]:
        """Yield sessions due before `before_ms`; `which`: 0 final, 1 idle. Stale entries are put right."""
        while heap and heap[0][0] < before_ms:
            _, session_id = heapq.heappop(heap)
            encoded = self._sessions.get(session_id)
            if encoded is None:
                continue
            true_ms = due_times(encoded)[which]
            if true_ms < before_ms:
                yield session_id
            elif true_ms != NEVER_MS:
                heapq.heappush(heap, (true_ms, session_id))

    def _schedule(self, session_id: str, due_ms: int, idle_ms: int) -> None:
        """Queue a session's due times; one that only moved later is put right when it is reached."""
        stored = self._sessions.get(session_id)
        old_due_ms, old_idle_ms = (NEVER_MS, NEVER_MS) if stored is None else due_times(stored)
        if due_ms < old_due_ms or old_due_ms < self.clock_ms - self.rules.lateness_ms:
            heapq.heappush(self._due, (due_ms, session_id))
        if idle_ms != NEVER_MS and (idle_ms < old_idle_ms or old_idle_ms < self.wall_ms):
            heapq.heappush(self._idle, (idle_ms, session_id))
        if len(self._idle) > 1000 + 2 * len(self._sessions):  # no ticks come: drop what left the state
            self._idle = [
                entry for entry in self._idle if entry[1] in self._sessions or entry[1] == session_id
            ]
            heapq.heapify(self._idle)

    def _emit(self, state: SessionState, changes: BucketChanges) -> None:
        session_id = state.session_id
        upserts, deletes, idle_ms = state.emit(self.rules, self.wall_ms)
        changes.upserts += upserts
        changes.deletes += deletes
        if state.is_empty:
            self._sessions.pop(session_id, None)
            changes.touched[session_id] = None
            return
        encoded = state.encode(idle_ms, self.rules)
        self._schedule(session_id, state.due_ms, idle_ms)
        self._sessions[session_id] = encoded
        changes.touched[session_id] = encoded
