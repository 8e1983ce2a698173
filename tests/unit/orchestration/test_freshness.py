"""Freshness against an SLO: what is met, what is idle, what is told and when; and the page of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.common.freshness_slos import PUBLISHED
from include.common.hive.tables import TABLES
from include.common.names import MARTS, Hive
from include.common.thresholds import THRESHOLDS
from include.orchestration.freshness.html import judged_s, kept_share, render
from include.orchestration.freshness.judge import (
    Freshness,
    Measured,
    judge,
    missed_lines,
    news,
    recovered_lines,
    weighted_quantile,
)

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TABLE = "realtime.session_features"


def measured(
    *points: tuple[float, int], waiting_s: float | None = None, age_s: float | None = None
) -> Measured:
    return Measured(TABLE, points, waiting_s, age_s)


def after(minutes: int, previous: Freshness | None, found: Measured) -> Freshness:
    return judge(found, 5.0, previous, NOON + timedelta(minutes=minutes))


LATE, WELL, IDLE = measured((7.0, 10)), measured((1.0, 10)), measured()


def test_quantiles_are_weighed() -> None:
    points = [(9.0, 1), (1.0, 98), (2.0, 1)]
    assert weighted_quantile(points, 0.5) == 1.0
    assert weighted_quantile(points, 0.99) == 2.0
    assert weighted_quantile(points, 1.0) == 9.0
    assert weighted_quantile([], 0.99) is None
    assert weighted_quantile([(3.0, 0)], 0.99) is None


def test_a_row_has_the_figures_of_what_was_published() -> None:
    row = after(0, None, measured((1.5, 60), (4.0, 39), (30.0, 1), waiting_s=0.5, age_s=90.0))
    assert (row.published, row.p50_s, row.p99_s, row.max_s) == (100, 1.5, 4.0, 30.0)
    assert (row.waiting_s, row.value_age_s, row.slo_s, row.met) == (0.5, 90.0, 5.0, True)


def test_clocks_that_differ_give_no_negative_freshness() -> None:
    assert after(0, None, measured((-0.2, 5))).p99_s == 0.0


def test_late_is_what_came_late_or_has_not_come() -> None:
    assert after(0, None, measured((4.0, 98), (6.0, 2))).met is False
    assert after(0, None, measured((4.0, 99), (6.0, 1))).met is True
    assert after(0, None, measured(waiting_s=5.1)).met is False, "nothing is published, and something waits"
    assert after(0, None, measured((1.0, 9), waiting_s=5.0)).met is True


def test_nothing_produced_is_idle_whatever_the_age_of_the_newest_value() -> None:
    assert after(0, None, measured(age_s=86_400.0)).met is None


def test_a_breach_keeps_its_beginning_and_ends_when_it_is_over() -> None:
    first = after(0, None, LATE)
    assert first.missed_since == NOON
    told = replace(first, told_at=NOON)
    second = after(5, told, LATE)
    assert (second.missed_since, second.told_at) == (NOON, NOON)
    assert after(10, first, WELL).missed_since is None, "nobody was told of it"
    over = after(10, second, IDLE)
    assert (over.missed_since, over.told_at) == (NOON, NOON), "its end is still to be told"
    assert after(15, over, WELL).told_at == NOON, "still"


def told(row: Freshness, minutes: int) -> tuple[bool, bool]:
    """Is the breach told at this time, is its end?"""
    found = news([row], NOON + timedelta(minutes=minutes))
    return bool(found.missed), bool(found.recovered)


def test_a_breach_is_told_once_once_an_hour_and_at_its_end() -> None:
    row = after(0, None, LATE)
    assert told(row, 0) == (True, False)
    row = replace(row, told_at=NOON + timedelta(seconds=20))
    assert [told(after(minutes, row, LATE), minutes) for minutes in (5, 30, 59)] == [(False, False)] * 3
    assert told(after(61, row, LATE), 61) == (True, False)
    row = replace(after(61, row, LATE), told_at=NOON + timedelta(minutes=61))
    assert told(after(65, row, LATE), 65) == (False, False)
    assert told(after(70, row, WELL), 70) == (False, True)
    assert told(after(70, row, IDLE), 70) == (False, True)
    assert told(after(70, None, WELL), 70) == (False, False)


def test_what_could_not_be_delivered_is_told_by_the_next_run() -> None:
    untold = after(5, after(0, None, LATE), LATE)
    assert told(untold, 5) == (True, False)


def test_the_message_groups_tables_and_says_why_and_since_when() -> None:
    late = replace(after(0, None, measured((61.0, 1), waiting_s=600.0)), slo_s=5.0)
    rows = [late, replace(late, table="realtime.user_features"), replace(late, table="x", waiting_s=None)]
    now = NOON + timedelta(minutes=3)
    why = "(SLO 5.0 s, reference.thresholds freshness_slo_s:<table>); since 2026-11-26 12:00:00 UTC (3 min)"
    slow = "99 % of what came in the last 10 min took up to 1 min"
    assert missed_lines(rows, now) == [
        f"realtime.session_features, realtime.user_features: {slow}, an event has waited for 10 min {why}",
        f"x: {slow} {why}",
    ]
    assert recovered_lines(rows[2:], now) == ["x: was missed since 2026-11-26 12:00:00 UTC (3 min)"]


def test_every_table_that_readers_use_has_an_slo_among_the_thresholds() -> None:
    names = [table.name for table in PUBLISHED]
    assert len(names) == len(set(names))
    assert {f"marts.{mart}" for mart in MARTS} <= set(names)
    published = {table.name for table in TABLES} - {Hive.DEAD_LETTERS, Hive.QUARANTINED_EVENTS}
    daily = {name for name in published if name.endswith("_daily")}
    assert {f"webtoon.{name}" for name in {*daily, Hive.RAW_EVENTS, Hive.SESSION_FEATURES}} <= set(names)
    assert {table.name: THRESHOLDS[table.threshold].default for table in PUBLISHED} == {
        table.name: table.slo_s for table in PUBLISHED
    }


def test_the_page_shows_slo_last_value_and_a_day_of_each_table() -> None:
    day = [(NOON - timedelta(minutes=5 * back), after(-5 * back, None, WELL)) for back in range(1, 289)][::-1]
    day[100] = (day[100][0], after(-900, None, measured((1.0, 1), waiting_s=70.0)))
    day[101] = (day[101][0], after(-895, None, IDLE))
    page = render({TABLE: day, "marts.<user>": []}, NOON)
    assert page.count('class="miss"') == 1
    assert page.count("polyline") == 2, "an idle measurement is a gap"
    assert "99.7 %" in page, "286 of 287"
    assert "marts.&lt;user&gt;" in page
    assert "not measured" in page
    assert "<script" not in page


@pytest.mark.parametrize(("found", "judged"), [(LATE, 7.0), (IDLE, None), (measured(waiting_s=9.0), 9.0)])
def test_what_is_plotted_is_what_is_judged(found: Measured, judged: float | None) -> None:
    assert judged_s(after(0, None, found)) == judged


def test_idle_measurements_do_not_count_for_the_share_kept() -> None:
    rows = [(NOON, after(0, None, found)) for found in (WELL, LATE, IDLE, WELL, WELL)]
    assert kept_share(rows) == 0.75
    assert kept_share(rows[2:3]) is None
