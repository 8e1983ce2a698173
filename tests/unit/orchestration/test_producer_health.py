"""Producer health as pure functions: nothing is said of what is well, and all figures of what is not."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.common.kafka.offsets import Watermarks
from include.contract.event import Platform
from include.orchestration.alert_text import is_reminder_due
from include.orchestration.sensors.platform_scan import ROUNDS, Window, plan_rounds
from include.orchestration.sensors.producer_health import (
    PlatformScan,
    StreamPosition,
    TopicFound,
    newest_event_fault,
    platform_fault,
    stream_lag_fault,
    topic_fault,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (TopicFound(3), None),
        (None, "topic events is not on kafka:9092"),
        (TopicFound(4), "4 partitions, expected 3"),
        (TopicFound(3, without_leader=(0, 2)), "no broker leads partition 0, 2"),
    ],
)
def test_topic(found: TopicFound | None, fault: str | None) -> None:
    said = topic_fault("events", found, 3, "kafka:9092")
    assert said == fault if fault is None else fault in str(said)


@pytest.mark.parametrize(
    ("newest", "fault"),
    [
        (NOW, None),
        (NOW - 10 * MINUTE, None),
        (NOW + 5 * MINUTE, None),
        (None, "there is no event on events (allowed 10 min, variable webtoon_newest_event_limit_seconds)"),
        (NOW - 11 * MINUTE, "no event on events since 2026-03-01 11:49:00 UTC, 11 min ago (allowed 10 min"),
        (NOW + 6 * MINUTE, "Kafka time 2026-03-01 12:06:00 UTC, 6 min ahead of now: a producer's clock is wrong"),
    ],
)  # fmt: skip
def test_newest_event(newest: datetime | None, fault: str | None) -> None:
    said = newest_event_fault("events", newest, NOW, 10 * MINUTE)
    assert said == fault if fault is None else fault in str(said)


def test_all_platforms_seen_is_well_however_little_was_read() -> None:
    scan = PlatformScan(frozenset(Platform), held=1_000_000, read=3, dead_letters=0)
    assert platform_fault("events", scan, tuple(Platform), NOW, 30 * MINUTE) is None


def test_silent_platforms_are_named_with_what_was_read() -> None:
    scan = PlatformScan(frozenset({Platform.IOS}), held=500, read=500, dead_letters=7)
    said = platform_fault("events", scan, tuple(Platform), NOW - 30 * MINUTE, 30 * MINUTE)
    assert said == (
        "no event of platform android, web on events since 2026-03-01 11:30:00 UTC: all of 500 records were read, "
        "7 dead letters among them; platforms seen: ios (allowed 30 min, variable "
        "webtoon_platform_silence_limit_seconds)"
    )
    sampled = PlatformScan(frozenset(), held=4_000_000, read=30_000, dead_letters=0)
    said = platform_fault("events", sampled, [Platform.WEB], NOW, 30 * MINUTE)
    assert "30000, evenly spread, of 4000000 records were read" in str(said)
    assert "seen: none" in str(said)


def test_lag_is_what_the_stream_has_not_committed() -> None:
    held = {0: Watermarks(0, 100), 1: Watermarks(50, 300)}
    position = StreamPosition(2, {0: 90, 1: 210}, NOW - 3 * MINUTE)
    assert stream_lag_fault("events", held, position, 100, NOW) is None
    assert stream_lag_fault("events", held, position, 99, NOW) == (
        "the stream is 100 records behind the end of events, 90 of them on partition 1 (allowed 99, variable "
        "webtoon_stream_lag_limit_records); generation 2 committed last at 2026-03-01 11:57:00 UTC, 3 min ago"
    )


def test_lag_before_the_first_commit_is_all_the_topic_holds() -> None:
    held = {0: Watermarks(40, 100)}
    assert stream_lag_fault("events", held, None, 60, NOW) is None
    assert "60 records behind" in str(stream_lag_fault("events", held, None, 59, NOW))
    assert "it has never run" in str(stream_lag_fault("events", held, None, 59, NOW))
    said = stream_lag_fault("events", held, StreamPosition(3), 0, NOW)
    assert "generation 3 has committed nothing yet" in str(said)


def test_a_topic_made_anew_is_not_taken_for_a_stream_that_is_level() -> None:
    held = {0: Watermarks(0, 5), 1: Watermarks(0, 7)}
    said = stream_lag_fault("events", held, StreamPosition(1, {0: 5, 1: 900}, NOW), 100, NOW)
    assert "beyond the end of events (partition 1 at 900, its end is 7)" in str(said)


windows_of_topics = st.dictionaries(
    st.integers(0, 30),
    st.tuples(st.integers(0, 10_000), st.integers(0, 400)).map(lambda pair: Window(pair[0], sum(pair))),
)


@given(windows=windows_of_topics, max_records=st.integers(1, 3000))
def test_rounds_are_bounded_read_nothing_twice_and_go_back_in_time(
    windows: dict[int, Window], max_records: int
) -> None:
    rounds = plan_rounds(windows, max_records)
    assert len(rounds) <= ROUNDS
    read = 0
    reached = {number: window.stop for number, window in windows.items()}
    for parts in rounds:
        for number, part in parts.items():
            assert windows[number].start <= part.start < part.stop <= reached[number]
            reached[number] = part.start
            read += part.stop - part.start
    held = sum(window.stop - window.start for window in windows.values())
    assert read <= max_records + ROUNDS * len(windows)
    if held <= max_records:
        assert read == held


def test_the_newest_record_of_every_partition_is_read_first() -> None:
    first = plan_rounds({0: Window(0, 900_000), 1: Window(7, 10), 2: Window(5, 5)})[0]
    assert {number: part.stop for number, part in first.items()} == {0: 900_000, 1: 10}


def test_a_check_that_goes_on_failing_is_told_once_an_hour() -> None:
    """The rule that alerts apply to the run before, at the times of a run every five minutes."""
    last_success = NOW
    failures = [NOW + 5 * MINUTE * turn for turn in range(1, 37)]
    reminded = [
        failure
        for previous, failure in pairwise(failures)
        if is_reminder_due(last_success, previous, failure)
    ]
    assert reminded == [NOW + 60 * MINUTE, NOW + 120 * MINUTE, NOW + 180 * MINUTE]
