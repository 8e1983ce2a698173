"""Sessions and readings once more, written for speed: one pass over flat tuples with indexes for text.

Held equal to `include.contract.sessions`, which is the meaning, by property test.
"""

from typing import Any, Final, NamedTuple

from include.contract.rules import SessionRules

NEVER_MS: Final = 2**62
"""A time that never comes."""
TYPE_CODES: Final = {"enter": 0, "scroll": 1, "complete": 2, "exit": 3}
STATUSES: Final = ("active", "completed", "exited", "timed_out")
EXIT_TAGS: Final = (None, False, True, True)
"""is_exit_tag by position in STATUSES."""
_SCROLL, _COMPLETE, _EXIT = 1, 2, 3
ACTIVE, COMPLETED, EXITED, TIMED_OUT = 0, 1, 2, 3


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


def split_flat(events: list[FlatEvent], rules: SessionRules) -> list[list[FlatEvent]]:
    """Cut events in session order into sessions (see `include.contract.sessions.split_sessions`)."""
    if not events:
        return []
    start_ms = last_ms = events[0].timestamp_ms
    if events[-1].timestamp_ms - start_ms <= min(rules.gap_ms, rules.max_length_ms):
        return [events]
    sessions: list[list[FlatEvent]] = []
    first = 0
    for position, event in enumerate(events):
        time_ms = event[0]
        if time_ms - last_ms > rules.gap_ms or time_ms - start_ms > rules.max_length_ms:
            sessions.append(events[first:position])
            first, start_ms = position, time_ms
        last_ms = time_ms
    sessions.append(events[first:])
    return sessions


def rows_of_flat(session: list[FlatEvent], rules: SessionRules, wall_ms: int) -> tuple[list[FlatRow], int]:
    """Return the rows of one session in order of their first event, and when (wall clock) it falls idle.

    It is over for the time being if that was before `wall_ms` (see `include.contract.sessions.readings_of`).
    """
    cap_ms = rules.dwell_cap_ms
    # by episode: who, completed, ratio, events, scrolls, dwell, first, last, offset, arrival, last type
    found: dict[int, list[Any]] = {}
    before: list[Any] | None = None
    before_ms = 0
    for time_ms, _, episode, code, ratio, kafka_ms, offset, who in session:
        if before is not None and before[10] != _EXIT:
            pause_ms = time_ms - before_ms
            before[5] += pause_ms if pause_ms < cap_ms else cap_ms
        facts = found.get(episode)
        if facts is None:
            facts = [
                who,
                code == _COMPLETE,
                ratio,
                1,
                code == _SCROLL,
                0,
                time_ms,
                time_ms,
                offset,
                kafka_ms,
                code,
            ]
            found[episode] = facts
        else:
            facts[3] += 1
            facts[7] = time_ms
            facts[10] = code
            if code == _SCROLL:
                facts[4] += 1
            elif code == _COMPLETE:
                facts[1] = True
            if ratio is not None and (facts[2] is None or ratio > facts[2]):
                facts[2] = ratio
            if offset > facts[8]:
                facts[8] = offset
            if kafka_ms > facts[9]:
                facts[9] = kafka_ms
        before, before_ms = facts, time_ms
    idle_ms = max([facts[9] for facts in found.values()]) + rules.gap_ms + rules.lateness_ms
    start_ms = session[0][0]
    open_status = TIMED_OUT if idle_ms < wall_ms else ACTIVE
    return [
        FlatRow(
            start_ms,
            episode,
            facts[0],
            COMPLETED if facts[1] else EXITED if facts[10] == _EXIT else open_status,
            facts[2],
            facts[3],
            int(facts[4]),
            *facts[5:10],
        )
        for episode, facts in found.items()
    ], idle_ms
