"""What counts as wrong with the stream, and what Slack is told of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.orchestration.stream_checks.faults import (
    CHECKS,
    DEAD_LETTERS,
    FRESHNESS,
    LAG_GROWTH,
    PROGRESS,
    Limits,
    faults,
)
from include.orchestration.stream_checks.measure import Measurement

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
LIMITS = Limits(timedelta(minutes=2), 20_000, 1.0, 4.0)
WELL = Measurement(
    NOON, timedelta(minutes=10), NOON - timedelta(minutes=10), NOON - timedelta(seconds=1), 0, (900, 2_000, 1_500),
    1_200_000, 12_000, 1.7,
)  # fmt: skip


def only(found: Measurement, check: str) -> str:
    wrong = faults(found, LIMITS)
    assert list(wrong) == [check]
    return wrong[check]


def test_a_stream_in_order_has_no_fault() -> None:
    assert faults(WELL, LIMITS) == {}


def test_no_progress_is_records_that_wait_and_no_commit() -> None:
    silent = replace(WELL, last_commit=NOON - timedelta(seconds=185), overdue_records=77)
    assert only(silent, PROGRESS) == (
        "no micro-batch committed since 2026-11-26 11:56:55 UTC, 3 min ago, while 77 records wait for longer than "
        "2 min (the limit, variable webtoon_stream_progress_limit_seconds)"
    )
    assert faults(replace(silent, overdue_records=0), LIMITS) == {}, "an idle topic"
    assert faults(replace(silent, last_commit=NOON - timedelta(minutes=2)), LIMITS) == {}


def test_of_a_standstill_nothing_else_is_told() -> None:
    standstill = replace(
        WELL,
        last_commit=NOON - timedelta(hours=1),
        overdue_records=9,
        dead_letters=999_999,
        p99_freshness_s=60.0,
    )
    assert list(faults(standstill, LIMITS)) == [PROGRESS]


@pytest.mark.parametrize(
    ("lags", "grows"),
    [
        ((1_000, 12_000, 21_001), True),
        ((1_000, 12_000, 21_000), False),  # the limit itself is allowed
        ((0, 90_000, 50_000), False),  # it catches up
        ((50_000, 20_000, 90_000), False),  # a burst a moment ago
        ((), False),  # a generation that has just begun
    ],
)
def test_lag_grows_in_both_halves(lags: tuple[int, ...], grows: bool) -> None:
    assert list(faults(replace(WELL, lags=lags), LIMITS)) == [LAG_GROWTH] * grows


def test_growing_lag_is_told_with_its_course() -> None:
    assert only(replace(WELL, lags=(1_000, 12_000, 40_000)), LAG_GROWTH) == (
        "the stream falls behind: 1000 records 10 min ago, 12000 5 min ago, 40000 now, 39000 more (allowed 20000, "
        "variable webtoon_stream_lag_growth_limit_records)"
    )


def test_share_of_dead_letters() -> None:
    assert only(replace(WELL, events=1_000, dead_letters=32), DEAD_LETTERS) == (
        "3.2 % of the records committed since 2026-11-26 11:50:00 UTC are dead letters (32 of 1000; allowed 1 %, "
        "variable webtoon_dead_letter_limit_percent)"
    )
    assert faults(replace(WELL, events=1_000, dead_letters=10), LIMITS) == {}
    assert faults(replace(WELL, events=99, dead_letters=99), LIMITS) == {}, "too few to say"
    assert faults(replace(WELL, events=0, dead_letters=0), LIMITS) == {}


def test_freshness() -> None:
    assert only(replace(WELL, p99_freshness_s=5.31), FRESHNESS) == (
        "freshness: 99 % of the 1200000 records committed since 2026-11-26 11:50:00 UTC took up to 5.3 s from Kafka to "
        "the commit (allowed 4 s, variable webtoon_freshness_limit_seconds)"
    )
    assert faults(replace(WELL, p99_freshness_s=None), LIMITS) == {}


def test_several_faults_are_several_tasks() -> None:
    bad = replace(WELL, lags=(0, 30_000, 60_000), p99_freshness_s=30.0, dead_letters=600_000)
    assert list(faults(bad, LIMITS)) == [LAG_GROWTH, DEAD_LETTERS, FRESHNESS]
    assert set(faults(bad, LIMITS)) < set(CHECKS)
