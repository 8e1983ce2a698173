"""The open sessions of one session_id: their events and the rows last emitted, compactly kept.

Events that arrive wait until rows are asked for; then they are taken together, in session order. Nearly always there is
one open session and they come last in it: its rows are brought forward without looking at the events before, which
stay encoded (`encoded_session`). An event between others decodes them, and mostly brings the rows forward, too. Whatever
else comes (an earlier start, a second session, a possible repeat) decodes the events and computes the rows from all.
"""

from bisect import bisect

from include.contract.encoded_session import (
    Front,
    Readers,
    decode_events,
    encode_events,
    join,
    may_hold,
    take_apart,
)
from include.contract.event import ReadingEvent
from include.contract.flat_rows import (
    COMPLETED,
    EXIT_TAGS,
    NEVER_MS,
    STATUSES,
    TYPE_CODES,
    FlatEvent,
    FlatRow,
    Run,
    index_of,
    new_tuple,
    split_flat,
)
from include.contract.rules import SessionRules
from include.contract.sessions import Attributes, Reading, ReadingKey


class SessionState:
    """Events of the sessions of one session_id that are not final yet, and the rows last emitted for them.

    `due_ms` is a lower bound: no session here can be final while (bucket clock - lateness) is not above it.
    """

    def __init__(self, session_id: str, partition: int, due_ms: int = NEVER_MS) -> None:
        self.session_id = session_id
        self.partition = partition
        self.due_ms = due_ms
        self.changed = False
        self._whos: list[Attributes] = []
        self._episodes: list[str] = []
        # rows as last emitted, by (session start, episode); rows that became final since the state was opened
        self._emitted: dict[tuple[int, int], FlatRow] = {}
        self._final: list[FlatRow] = []
        self._has_forgotten = False
        # the one open session, None where there are several or its rows must be computed from all events
        self._run: Run | None = None
        # stored events, as long as nobody had to look at them; those since, each next to the one before
        self._encoded = b""
        self._encoded_count = 0
        self._new: list[FlatEvent] = []
        # those that came since and that no row counts yet, by event_id: taken together, in order, they need few calls
        self._waiting: dict[str, FlatEvent] = {}
        # all events in session order, and their ids, once they had to be looked at (then the three above are empty)
        self._events: list[FlatEvent] | None = None
        self._ids: set[str] = set()

    @property
    def is_empty(self) -> bool:
        """Whether every session here is final."""
        return self._run is None and not self._events and not self._waiting

    def holds(self, event_id: str) -> bool:
        """Whether an event with this id is here: another one is a repeat."""
        if event_id in self._waiting:
            return True
        if self._events is None:
            if self._encoded_count and may_hold(self._encoded, event_id):
                self._load()  # its bytes are there: look whether as an id
            else:
                # mostly there are none: then no generator is made
                return bool(self._new) and any(event[1] == event_id for event in self._new)
        return event_id in self._ids

    def add(self, event: ReadingEvent, kafka_ms: int, offset: int, rules: SessionRules) -> None:
        """Take an accepted event that is not a repeat; rows come to count it when they are next looked at."""
        # ._value_ is what .value returns, without a descriptor's call
        who = (
            event.user_id,
            event.country,
            event.device._value_,
            event.platform._value_,
            event.experiments or None,
            event.ui_version,
        )
        time_ms, event_id, episode_id, ratio = (
            event.timestamp,
            event.event_id,
            event.episode_id,
            event.scroll_ratio,
        )
        whos, episodes = self._whos, self._episodes
        # nearly always it is the one who was there before, and the episode that came last: then no call
        self._waiting[event_id] = new_tuple(
            FlatEvent,
            (
                time_ms,
                event_id,
                len(episodes) - 1
                if episodes and episodes[-1] == episode_id
                else index_of(episodes, episode_id),
                TYPE_CODES[event.event_type._value_],
                None if ratio is None else ratio + 0.0,  # -0.0 becomes 0.0
                kafka_ms,
                offset,
                0 if whos and whos[0] == who else index_of(whos, new_tuple(Attributes, who)),
            ),
        )
        self.changed = True
        if time_ms + rules.gap_ms < self.due_ms:
            self.due_ms = time_ms + rules.gap_ms

    def _settle(self, rules: SessionRules) -> None:
        """Bring the rows forward by the events that wait, in session order."""
        if not self._waiting:
            return
        events = sorted(self._waiting.values())  # no two have one id, so nothing behind it is compared
        self._waiting = {}
        at, count = 0, len(events)
        if self._run is None and self._events is None:
            self._run = Run.started(events[0])
            self._append(events[:1])
            at = 1
        while at < count:
            if self._run is not None:
                end = self._run.take(events, at, rules)
                self._append(events[at:end])
                at = end
            if at < count:
                self._insert(events[at], rules)
                at += 1

    def _append(self, events: list[FlatEvent]) -> None:
        if self._events is None:
            self._new += events
        else:
            self._events += events
            self._ids.update([event[1] for event in events])

    def _insert(self, kept: FlatEvent, rules: SessionRules) -> None:
        events, run = self._load(), self._run
        place = bisect(events, kept)
        if (
            run is None
            or not 0 < place < len(events)
            or not run.insert(events[place - 1], kept, events[place], rules)
        ):
            self._run = None
        events.insert(place, kept)
        self._ids.add(kept[1])

    def forget(self, readers: Readers) -> None:
        """Take the events of `readers` (user_ids) out, as if they had never been accepted; `emit` tells what changes."""
        self._events = [event for event in self._load() if self._whos[event.who].user_id not in readers]
        self._ids = {event.event_id for event in self._events}
        self._run = None
        self._has_forgotten = self.changed = True

    def finalise(self, horizon_ms: int, rules: SessionRules) -> None:
        """Move sessions whose last event is more than the gap before `horizon_ms` out of the open ones.

        `horizon_ms` is the earliest time an event may still have, so nothing can join them. Those are always
        the earliest ones, so what stays is a suffix of the events in session order.
        """
        self.changed = True  # even if nothing is final: the due time is exact after this
        self._settle(rules)
        for run, session in self._runs(rules):
            self.due_ms = run.last.timestamp_ms + rules.gap_ms
            if self.due_ms >= horizon_ms:
                return
            self._final += run.rows(rules, wall_ms=NEVER_MS)[0]
            self._run = None
            if self._events is None:
                self._encoded, self._encoded_count, self._new = b"", 0, []
            else:
                self._events = self._events[len(session) :]
                self._ids.difference_update(event.event_id for event in session)
        self.due_ms = NEVER_MS

    def emit(self, rules: SessionRules, wall_ms: int) -> tuple[list[Reading], list[ReadingKey], int]:
        """Return rows that differ from those emitted before, keys that are gone, and the next idle time.

        `wall_ms` is the newest tick of the wall clock; the idle time (epoch ms by the same clock) is when a
        session kept here closes provisionally if nothing arrives.
        """
        self._settle(rules)
        upserts = [self._reading(row, is_final=True) for row in self._final]
        keys = {row[:2] for row in self._final}
        emitted: dict[tuple[int, int], FlatRow] = {}
        next_idle_ms = self.due_ms = NEVER_MS
        for run, _ in self._runs(rules):
            rows, idle_ms = run.rows(rules, wall_ms)
            self.due_ms = min(self.due_ms, run.last.timestamp_ms + rules.gap_ms)
            if idle_ms >= wall_ms:
                next_idle_ms = min(next_idle_ms, idle_ms)
            for row in rows:
                key = row[:2]
                emitted[key] = row
                if self._emitted.get(key) != row:
                    upserts.append(self._reading(row, is_final=False))
        deletes = [
            ReadingKey(self.session_id, key[0], self._episodes[key[1]])
            for key in self._emitted
            if key not in emitted and key not in keys
        ]
        self._emitted = emitted
        return upserts, deletes, next_idle_ms

    def encode(self, idle_ms: int, rules: SessionRules) -> bytes:
        """Return the state as bytes, after `emit`, which gave `idle_ms`."""
        if self._final or self._has_forgotten:
            self._forget_unused()
        if self._events is None:
            last = None if self._run is None else self._run.last
            count = self._encoded_count + len(self._new)
            events = self._encoded + encode_events(self._new)
        else:
            runs = self._runs(rules)
            last = runs[0][0].last if len(runs) == 1 else None
            count = len(self._events)
            events = encode_events(self._events)
        front = Front(self._whos, self._episodes, list(self._emitted.values()), last)
        return join(self.due_ms, idle_ms, self.partition, front, count, events)

    @classmethod
    def decode(cls, session_id: str, encoded: bytes) -> "SessionState":
        """Restore from `encode`'s bytes, whose version `due_times` has looked at."""
        due_ms, partition, front, count, events = take_apart(encoded)
        state = cls(session_id, partition, due_ms)
        state._whos, state._episodes = front.whos, front.episodes
        state._emitted = {row[:2]: row for row in front.emitted}
        state._encoded, state._encoded_count = events, count
        if front.last is None:
            state._load()
        else:
            state._run = Run.resumed(front.last, front.emitted)
        return state

    def _load(self) -> list[FlatEvent]:
        """Decode the events, if that was not done yet."""
        if self._events is None:
            stored = decode_events(self._encoded_count, self._encoded)
            self._events = stored + self._new
            self._ids = {event[1] for event in self._events}
            self._encoded, self._encoded_count, self._new = b"", 0, []
        return self._events

    def _runs(self, rules: SessionRules) -> list[tuple[Run, list[FlatEvent]]]:
        """The open sessions, earliest first, with their events where those are decoded."""
        if self._run is not None:
            return [(self._run, self._events or [])]
        runs = [(Run.of(session, rules), session) for session in split_flat(self._events or [], rules)]
        if len(runs) == 1:
            self._run = runs[0][0]
        return runs

    def _reading(self, row: FlatRow, *, is_final: bool) -> Reading:
        (
            start_ms,
            episode,
            who,
            status,
            ratio,
            events,
            scrolls,
            dwell_ms,
            first_ms,
            last_ms,
            offset,
            kafka_ms,
        ) = row
        return Reading(
            self.session_id,
            start_ms,
            self._episodes[episode],
            *self._whos[who],
            STATUSES[status],
            EXIT_TAGS[status],
            1.0 if status == COMPLETED else ratio or 0.0,
            ratio,
            events,
            scrolls,
            dwell_ms,
            first_ms,
            last_ms,
            is_final,
            self.partition,
            offset,
            kafka_ms,
        )

    def _forget_unused(self) -> None:
        """Drop attributes and episodes that only final sessions or forgotten readers had."""
        events = self._load()
        self._run = None  # of the indexes as they were
        whos, episodes = self._whos, self._episodes
        self._whos, self._episodes = [], []
        self._events = [
            event._replace(
                who=index_of(self._whos, whos[event.who]),
                episode=index_of(self._episodes, episodes[event.episode]),
            )
            for event in events
        ]
        rows = [
            row._replace(
                who=index_of(self._whos, whos[row.who]),
                episode=index_of(self._episodes, episodes[row.episode]),
            )
            for row in self._emitted.values()
        ]
        self._emitted = {row[:2]: row for row in rows}
