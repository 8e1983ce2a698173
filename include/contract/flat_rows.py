"""Sessions and readings once more, written for speed: flat tuples with indexes for text, brought forward event by event.

Held equal to `include.contract.sessions`, which is the meaning, by property test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from include.contract.rules import SessionRules

NEVER_MS: Final = 2**62
"""A time that never comes."""
TYPE_CODES: Final = {"enter": 0, "scroll": 1, "complete": 2, "exit": 3}
STATUSES: Final = ("active", "completed", "exited", "timed_out")
EXIT_TAGS: Final = (None, False, True, True)
"""is_exit_tag by position in STATUSES."""
COMPLETED: Final = 1
_ACTIVE, _EXITED, _TIMED_OUT = 0, 2, 3
_SCROLL, _COMPLETE, _EXIT = 1, 2, 3
_STATUS_AFTER: Final = (_ACTIVE, _ACTIVE, COMPLETED, _EXITED)
"""Status of a reading not completed before, by the type of its last event."""

_T = TypeVar("_T")
new_tuple: Final = tuple.__new__
"""Makes a NamedTuple of its class and values without its constructor, a Python function that costs twice as much."""


class FlatEvent(NamedTuple):
    """Flat form of an event; tuples of it sort in session order, as event ids differ within a state."""

    timestamp_ms: int
    event_id: str
    episode: int
    type_code: int
    scroll_ratio: float | None
    kafka_ms: int
    offset: int
    who: int


class FlatRow(NamedTuple):
    """What can differ between two emissions of a reading; `episode` and `who` are indexes."""

    session_start_ms: int
    episode: int
    who: int
    status: int
    max_scroll_ratio: float | None
    event_count: int
    scroll_event_count: int
    dwell_time_ms: int
    started_at_ms: int
    ended_at_ms: int
    last_offset: int
    last_event_kafka_ms: int


class LastEvent(NamedTuple):
    """What the next event's place and the pause before it depend on."""

    timestamp_ms: int
    event_id: str
    episode: int
    type_code: int


@dataclass(slots=True)
class Run:
    """One session brought forward event by event, in session order. `facts` are rows under construction."""

    start_ms: int
    last: LastEvent
    facts: dict[int, list[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, session: list[FlatEvent], rules: SessionRules) -> "Run":
        """The run of a whole session, as `split_flat` gives it."""
        run = cls.started(session[0])
        run.take(session, 1, rules)
        return run

    @classmethod
    def started(cls, event: FlatEvent) -> "Run":
        """The run of a session's first event."""
        time_ms, event_id, episode, code, _, _, _, _ = event
        run = cls(time_ms, LastEvent(time_ms, event_id, episode, code))
        run.facts[episode] = _first_facts(time_ms, event)
        return run

    @classmethod
    def resumed(cls, last: LastEvent, rows: list[FlatRow]) -> "Run":
        """The run that had come to `last` and `rows`."""
        return cls(rows[0][0], last, {row[1]: list(row) for row in rows})

    def take(self, events: Sequence[FlatEvent], at: int, rules: SessionRules) -> int:
        """Bring the rows forward by `events[at:]`, which are in session order, as long as each comes after all others and
        belongs to this session. Returns the position of the first that does not, or their number."""
        gap_ms, cap_ms, longest_ms = rules.gap_ms, rules.dwell_cap_ms, self.start_ms + rules.max_length_ms
        last_ms, last_id, last_episode, last_code = self.last
        facts = self.facts[last_episode]
        before, count = at, len(events)
        while at < count:
            event = events[at]
            time_ms, event_id, episode, code, ratio, kafka_ms, offset, _ = event
            pause_ms = time_ms - last_ms
            if pause_ms > gap_ms or time_ms > longest_ms:
                break
            if pause_ms <= 0 and (pause_ms < 0 or event_id <= last_id):
                break
            if last_code != _EXIT:
                facts[7] += pause_ms if pause_ms < cap_ms else cap_ms
            last_ms, last_id, last_code = time_ms, event_id, code
            at += 1
            if episode != last_episode:
                last_episode = episode
                if episode not in self.facts:
                    facts = self.facts[episode] = _first_facts(self.start_ms, event)
                    continue
                facts = self.facts[episode]
            if facts[3] != COMPLETED:
                facts[3] = _STATUS_AFTER[code]
            facts[9] = time_ms
            _count(facts, code, ratio, kafka_ms, offset)
        if at > before:
            self.last = new_tuple(LastEvent, (last_ms, last_id, last_episode, last_code))
        return at

    def insert(self, before: FlatEvent, event: FlatEvent, after: FlatEvent, rules: SessionRules) -> bool:
        """Bring the rows forward by an event between two neighbours in this session; False, and nothing done, where it
        opens a reading, is its reading's first, or as late as its last: then all events must be looked at."""
        time_ms, _, episode, code, ratio, kafka_ms, offset, _ = event
        facts = self.facts.get(episode)
        if facts is None or time_ms <= facts[8] or time_ms == facts[9]:
            return False
        if before[3] != _EXIT:
            cap_ms = rules.dwell_cap_ms
            self.facts[before[2]][7] += min(time_ms - before[0], cap_ms) - min(after[0] - before[0], cap_ms)
        if code != _EXIT:
            facts[7] += min(after[0] - time_ms, rules.dwell_cap_ms)
        is_last = time_ms > facts[9]
        if is_last:
            facts[9] = time_ms
        if facts[3] != COMPLETED and (is_last or code == _COMPLETE):
            facts[3] = _STATUS_AFTER[code]
        _count(facts, code, ratio, kafka_ms, offset)
        return True

    def rows(self, rules: SessionRules, wall_ms: int) -> tuple[list[FlatRow], int]:
        """Return the rows in order of their first event, and when (wall clock, ms) the session falls idle.

        The session is over for the time being if that was before `wall_ms`.
        """
        idle_ms = max([facts[11] for facts in self.facts.values()]) + rules.gap_ms + rules.lateness_ms
        open_status = _TIMED_OUT if idle_ms < wall_ms else _ACTIVE
        rows = []
        for facts in self.facts.values():
            if facts[3] == _ACTIVE or facts[3] == _TIMED_OUT:
                facts[3] = open_status
            rows.append(FlatRow._make(facts))
        return rows, idle_ms


def _count(facts: list[Any], code: int, ratio: float | None, kafka_ms: int, offset: int) -> None:
    """What does not depend on the event's place."""
    if ratio is not None and (facts[4] is None or ratio > facts[4]):
        facts[4] = ratio
    facts[5] += 1
    if code == _SCROLL:
        facts[6] += 1
    if offset > facts[10]:
        facts[10] = offset
    if kafka_ms > facts[11]:
        facts[11] = kafka_ms


def _first_facts(start_ms: int, event: FlatEvent) -> list[Any]:
    time_ms, _, episode, code, ratio, kafka_ms, offset, who = event
    scrolls = 1 if code == _SCROLL else 0
    return [
        start_ms, episode, who, _STATUS_AFTER[code], ratio, 1, scrolls, 0, time_ms, time_ms, offset, kafka_ms,
    ]  # fmt: skip


def split_flat(events: list[FlatEvent], rules: SessionRules) -> list[list[FlatEvent]]:
    """Cut events in session order into sessions (see `include.contract.sessions.split_sessions`)."""
    sessions: list[list[FlatEvent]] = []
    first = start_ms = last_ms = 0
    for position, event in enumerate(events):
        time_ms = event[0]
        if position == 0:
            start_ms = time_ms
        elif time_ms - last_ms > rules.gap_ms or time_ms - start_ms > rules.max_length_ms:
            sessions.append(events[first:position])
            first, start_ms = position, time_ms
        last_ms = time_ms
    if events:
        sessions.append(events[first:])
    return sessions


def index_of(values: list[_T], value: _T) -> int:
    """Position of `value`, which is appended where it is new."""
    try:
        return values.index(value)
    except ValueError:
        values.append(value)
        return len(values) - 1
