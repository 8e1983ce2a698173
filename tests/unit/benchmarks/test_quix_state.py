"""The peer keeps the same rules: its rows, event by event and key by key, equal the pure function's."""

import random
from typing import Any

from benchmarks.quix_sessions.state import RULES, advance
from include.contract.event import Device, EventType, Platform, ReadingEvent
from include.contract.sessions import Reading, StoredEvent, readings_of, split_sessions

MINUTE_MS = 60_000


def _event(rng: random.Random, number: int, time_ms: int) -> ReadingEvent:
    kind = rng.choice(list(EventType))
    return ReadingEvent(
        event_id=f"e{number}",
        user_id="u1",
        session_id="s1",
        episode_id=rng.choice(["a", "b", "c"]),
        event_type=kind,
        country="KR",
        device=Device.PHONE,
        platform=Platform.WEB,
        timestamp=time_ms,
        scroll_ratio=rng.random() if kind is EventType.SCROLL else None,
    )


def _without_finality(reading: Reading) -> tuple[Any, ...]:
    """Who is silent is never told that it is over: that part is said when the rows are read."""
    closed = reading.status == "timed_out"
    status, tag = ("active", None) if closed else (reading.status, reading.is_exit_tag)
    return reading._replace(status=status, is_exit_tag=tag, is_final=False)


def test_rows_are_those_of_the_pure_function() -> None:
    removed_in_all = 0
    for seed in range(60):
        rng = random.Random(seed)
        time_ms = 1_800_000_000_000
        arrivals = []
        for number in range(40):
            time_ms += rng.choice([0, 2_000, 20_000, 29 * MINUTE_MS, 31 * MINUTE_MS, 33 * MINUTE_MS])
            event = _event(rng, number, time_ms)
            arrivals += [(time_ms + rng.choice([0, 0, 90_000]), event)] * rng.choice([1, 1, 2])
        arrivals.sort(key=lambda it: it[0])
        state: bytes | None = None
        table: dict[Any, Reading] = {}
        accepted: dict[str, StoredEvent] = {}
        for offset, (arrival_ms, event) in enumerate(arrivals):
            step = advance(state, event, 3, offset, arrival_ms)
            if event.event_id not in accepted:
                assert step is not None
                accepted[event.event_id] = StoredEvent.of(event, arrival_ms, offset)
            if step is None:
                continue
            state, upserts, deletes = step
            removed_in_all += len(deletes)
            for key in deletes:
                del table[key]
            table.update({row.key: row for row in upserts})
        expected = [
            reading
            for session in split_sessions(accepted.values(), RULES)
            for reading in readings_of("s1", 3, session, RULES, is_over=False, is_final=False)
        ]
        assert sorted(map(_without_finality, table.values())) == sorted(expected)
    assert removed_in_all > 0
