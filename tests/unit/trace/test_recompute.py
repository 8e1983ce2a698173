"""Readings recomputed from raw events, against numbers worked out by hand, and against the executable vectors."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.contract.rules import SessionRules
from include.contract.sessions import Reading
from include.trace.chain import RawEvent
from include.trace.events import decode_record
from include.trace.recompute import (
    WantedReading,
    check_mart,
    check_reading,
    check_sums,
    rates_of_sums,
    readings_of_events,
)
from tests.integration.stream_support import busy_topic
from tests.unit.contract.test_vectors import Engine
from tests.vectors import Vector, load_vectors

MINUTE_MS = 60_000
START_MS = 1_767_225_600_000
RULES = SessionRules()
NEED_THE_CLOCK = {
    "an_id_used_again_while_the_session_is_in_the_state_is_a_repeat",
    "a_session_cut_by_length_stays_in_the_state_as_long_as_any",
}
"""Whether an id comes again in time is known to the bucket's clock alone: a difference is told there."""


def event(offset: int, at_ms: int, kind: str, episode: str = "ep1", **other: Any) -> RawEvent:
    fields: dict[str, Any] = {
        "topic": "t", "partition": 0, "offset": offset, "kafka_ms": START_MS + at_ms, "source": "kafka",
        "slice_id": None, "session_id": "s1", "user_id": "u1", "event_id": f"e{offset}", "episode_id": episode,
        "event_type": kind, "event_ms": START_MS + at_ms, "country": "KR", "device": "phone", "platform": "ios",
    }  # fmt: skip
    return RawEvent(**{**fields, **other})


def wanted(episode: str = "ep1", end_offset: int = 100, start_ms: int = START_MS) -> WantedReading:
    return WantedReading("s1", start_ms, episode, 0, end_offset)


def test_a_reading_from_its_events() -> None:
    events = [
        event(0, 0, "enter"),
        event(1, 10_000, "scroll", scroll_ratio=0.4),
        event(2, 10_000, "scroll", scroll_ratio=0.4, event_id="e1"),  # a repeat
        event(3, 10 * MINUTE_MS, "scroll", scroll_ratio=0.9, user_id="u2"),  # the pause before it is capped
        event(4, 11 * MINUTE_MS, "exit"),  # the pause after it does not count
        event(5, 12 * MINUTE_MS, "enter", "ep2"),
        event(6, 12 * MINUTE_MS + RULES.gap_ms, "complete", "ep2"),  # exactly the gap
        event(7, 12 * MINUTE_MS + 2 * RULES.gap_ms + 1, "scroll", scroll_ratio=1.0),  # another session
    ]
    made = readings_of_events(events, [wanted(), wanted("ep2")], RULES)
    first = made.readings["s1", START_MS, "ep1"]
    assert {name: first[name] for name in ("user_id", "event_count", "scroll_event_count", "last_offset")} == {
        "user_id": "u1", "event_count": 4, "scroll_event_count": 2, "last_offset": 4,
    }  # fmt: skip
    assert (first["max_scroll_ratio"], float(first["completion_rate"])) == (0.9, 0.9)
    assert first["dwell_time_ms"] == 10_000 + RULES.dwell_cap_ms + MINUTE_MS
    assert (first["has_completed"], first["ends_with_exit"]) == (False, True)
    second = made.readings["s1", START_MS, "ep2"]
    assert (float(second["completion_rate"]), second["dwell_time_ms"]) == (1.0, RULES.dwell_cap_ms)
    assert made.counted == {(0, number) for number in (0, 1, 3, 4, 5, 6)}


def test_records_after_the_row_was_written_do_not_count() -> None:
    events = [event(0, 0, "enter"), event(1, 5000, "scroll", scroll_ratio=0.4), event(2, 9000, "exit")]
    made = readings_of_events(events, [wanted(end_offset=2)], RULES)
    assert made.readings["s1", START_MS, "ep1"]["event_count"] == 2


def test_a_session_is_cut_at_its_greatest_length() -> None:
    step = RULES.gap_ms
    count = RULES.max_length_ms // step
    events = [event(number, number * step, "enter") for number in range(count + 3)]
    made = readings_of_events(events, [wanted()], RULES)
    assert made.readings["s1", START_MS, "ep1"]["event_count"] == count + 1
    later = START_MS + (count + 1) * step
    assert readings_of_events(events, [wanted(start_ms=later)], RULES).counted == {
        (0, count + 1),
        (0, count + 2),
    }


def row(**changes: Any) -> dict[str, Any]:
    return {
        "user_id": "u1", "country": "KR", "device": "phone", "platform": "ios", "ui_version": None, "event_count": 2,
        "scroll_event_count": 1, "max_scroll_ratio": 0.4, "completion_rate": 0.4, "dwell_time_ms": 5000,
        "last_offset": 1, "status": "timed_out", "started_at": datetime.fromtimestamp(START_MS / 1000, UTC),
        "ended_at": datetime.fromtimestamp(START_MS / 1000 + 5, UTC), **changes,
    }  # fmt: skip


def test_a_row_is_held_against_its_events() -> None:
    events = [event(0, 0, "enter"), event(1, 5000, "scroll", scroll_ratio=0.4)]
    made = readings_of_events(events, [wanted()], RULES).readings["s1", START_MS, "ep1"]
    assert all(check.equal for check in check_reading(row(), made, ""))
    wrong = row(dwell_time_ms=5001, status="completed", completion_rate=0.4000001)
    assert {check.column for check in check_reading(wrong, made, "") if check.equal is False} == {
        "dwell_time_ms", "status", "completion_rate",
    }  # fmt: skip
    incomplete = check_reading(wrong, made, "Kafka does not answer")
    assert {check.equal for check in incomplete} == {None}
    assert check_reading(row(), None, "")[0].note == "no event was found"


def test_a_mart_is_held_against_its_readings() -> None:
    found = {
        "readings": 3, "sessions": 2, "readers": 1, "completion_rate": 0.1 + 0.2, "exit_rate": 1 / 3,
        "scroll_ratio": None, "dwell_time_s": 2,
    }  # fmt: skip
    served = {
        "final_reading_count": 3, "final_session_count": 2, "user_avg_completion_rate": 0.3, "user_exit_rate": 0.25,
        "user_avg_scroll_ratio": None, "user_avg_dwell_time_s": 2.0, "user_readings_per_session": 1.5,
        "favourite_genre": "drama",
    }  # fmt: skip
    checks = {check.column: check.equal for check in check_mart("user_features", served, found, "")}
    assert checks == {**dict.fromkeys(served, True), "user_exit_rate": False, "favourite_genre": None}


def test_sums_and_the_rates_of_views() -> None:
    found = {
        "readings_closed": 4, "readings_exited": 1, "completion_ppm_sum": 2_000_000, "readings_with_scroll": 0,
        "scroll_ppm_sum": 0, "dwell_time_ms_sum": 6000,
    }  # fmt: skip
    assert rates_of_sums(found) == {
        "realtime_avg_completion_rate": 0.5, "realtime_exit_rate": 0.25, "realtime_avg_scroll_ratio": None,
        "realtime_avg_dwell_time_s": 1.5,
    }  # fmt: skip
    served = {"readings_closed": 4, "readings_exited": 2, "user_id": "u1"}
    assert {check.column: check.equal for check in check_sums(served, found)} == {
        "readings_closed": True, "readings_exited": False,
    }  # fmt: skip


def stored(reading: Reading) -> dict[str, Any]:
    """The reading as a row of PostgreSQL."""
    epoch = datetime.fromtimestamp(0, UTC)
    return {
        **reading._asdict(),
        "started_at": epoch + timedelta(milliseconds=reading.started_at_ms),
        "ended_at": epoch + timedelta(milliseconds=reading.ended_at_ms),
    }


@pytest.mark.parametrize("vector", load_vectors(), ids=str)
def test_it_gives_the_rows_of_every_vector(vector: Vector) -> None:
    decoded = [
        decode_record("t", record.partition, record.offset, record.kafka_ms, record.key, record.value)
        for record in vector.records
    ]
    events = [it for it in decoded if it.reason is None and it.offset not in vector.late]
    asked = [
        WantedReading(row.session_id, row.session_start_ms, row.episode_id, row.source_partition, 2**62)
        for row in vector.rows
    ]
    made = readings_of_events(events, asked, RULES).readings
    different: set[str] = set()
    for reading in vector.rows:
        checks = check_reading(stored(reading), made.get(reading.key), "")
        different |= {check.column for check in checks if not check.equal}
    assert bool(different) == (vector.name in NEED_THE_CLOCK), different


def test_it_agrees_with_the_engine_on_a_busy_topic() -> None:
    records = busy_topic(seed=7, size=4000, partitions=1)
    engine = Engine()
    for start in range(0, len(records), 500):
        engine.apply(records[start : start + 500])
    decoded = [decode_record("t", it.partition, it.offset, it.kafka_ms, it.key, it.value) for it in records]
    events = [it for it in decoded if it.reason is None and it.offset not in engine.late]
    rows = list(engine.rows.values())
    assert len(rows) > 250
    assert len(engine.late) > 100
    asked = [
        WantedReading(it.session_id, it.session_start_ms, it.episode_id, it.source_partition, 2**62)
        for it in rows
    ]
    made = readings_of_events(events, asked, RULES).readings
    assert [
        it for it in rows if not all(check.equal for check in check_reading(stored(it), made.get(it.key), ""))
    ] == []
