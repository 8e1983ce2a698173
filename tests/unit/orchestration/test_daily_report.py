"""The daily report's numbers, from few rows that were added up by hand; its words, its page, its index, its form."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.common.hive.files import data_files
from include.orchestration.daily_report.day import (
    LISTED,
    NOTHING,
    Cut,
    Day,
    DeadlineMiss,
    FailedExpectation,
    GateDay,
    Group,
    Operations,
    QuarantinedSlice,
    Row,
    compared,
    falling,
    merged,
    top,
)
from include.orchestration.daily_report.page import render
from include.orchestration.daily_report.readings import Files, read_day
from include.orchestration.daily_report.tasks import day_of, write_pages
from include.orchestration.daily_report.texts import (
    Delta,
    Report,
    findings,
    message_lines,
    points,
    relative,
    short,
)
from include.orchestration.freshness.judge import Measured, judge
from tests.daily_report_rows import BEFORE, DAY, reading, write_day, write_week_before

NIGHT = datetime(2026, 10, 8, 3, 0, tzinfo=UTC)
CUT = Cut(812, datetime(2026, 10, 8, 2, 31, tzinfo=UTC), 1_204_331, datetime(2026, 10, 8, 2, 44, tzinfo=UTC))


def files(folder: Path) -> Files:
    hours = folder / "events"
    return Files(
        data_files(folder / "readings"),
        {int(hour.name): data_files(hour) for hour in hours.iterdir()} if hours.is_dir() else {},
        data_files(folder / "dead_letters"),
    )


@pytest.fixture
def day(tmp_path: Path) -> Day:
    write_day(tmp_path / "day")
    return read_day(DAY, files(tmp_path / "day"), CUT)


@pytest.fixture
def before(tmp_path: Path) -> Day:
    write_week_before(tmp_path / "before")
    return read_day(BEFORE, files(tmp_path / "before"), None)


def test_readings_are_counted_by_country_genre_and_episode(day: Day) -> None:
    assert day.total == Group(4, 0.5, 0.75)
    assert day.by_country == {"KR": Group(3, 0.5, pytest.approx(2 / 3)), "US": Group(1, 0.5, 1.0)}
    assert day.by_genre == {
        "drama": Group(3, pytest.approx(2 / 3), pytest.approx(2 / 3)), "unknown": Group(1, 0.0, 1.0)
    }  # fmt: skip
    assert {name: group.readings for name, group in day.by_episode.items()} == {
        "report-ep1": 2,
        "report-ep2": 1,
        "report-ep3": 1,
    }
    assert (day.readers, day.sessions) == (2, 3)


def test_events_are_counted_by_hour_and_dead_letters_by_reason(day: Day) -> None:
    assert {hour: count for hour, count in enumerate(day.events_by_hour) if count is not None} == {
        0: 5, 13: 7
    }  # fmt: skip
    assert day.events == 12
    assert list(day.dead_letters.items()) == [("bad_json", 2), ("null_key", 1)]


def test_a_day_without_files_is_empty(tmp_path: Path) -> None:
    assert read_day(DAY, Files(), None) == Day(DAY, events_by_hour=[None] * 24)


def test_a_partition_without_a_row_is_an_empty_day(tmp_path: Path) -> None:
    from include.common.hive.tables import SESSION_FEATURES
    from tests.daily_report_rows import write

    empty = Files([write(SESSION_FEATURES, tmp_path, [])])
    assert read_day(DAY, empty, CUT) == Day(DAY, CUT, events_by_hour=[None] * 24)


def test_groups_are_merged_by_their_readings() -> None:
    assert merged([Group(30, 0.5, 0.2), Group(10, 0.9, 1.0)]) == Group(40, 0.6, 0.4)
    assert merged([NOTHING, NOTHING]) == NOTHING


def test_a_country_that_stopped_is_listed_and_the_small_ones_are_one_line() -> None:
    now = {f"c{number:02d}": Group(100 - number, 0.5, 0.5) for number in range(LISTED + 3)}
    rows = compared(now, {"gone": Group(1000, 0.5, 0.5)})
    assert len(rows) == LISTED
    assert rows[0] == Row("gone", NOTHING, Group(1000, 0.5, 0.5))
    assert rows[-1].name == "5 others"
    assert sum(row.now.readings for row in rows) == sum(group.readings for group in now.values())
    assert [row.name for row in compared({"a": Group(1, 0, 0), "b": Group(2, 0, 0)}, {})] == ["b", "a"]


def test_top_and_falling_episodes(day: Day, before: Day) -> None:
    assert [(row.name, row.now.readings, row.before.readings) for row in top(day, before)] == [
        ("report-ep1", 2, 12), ("report-ep2", 1, 0), ("report-ep3", 1, 0)
    ]  # fmt: skip
    assert [(row.name, row.now.readings, row.before.readings) for row in falling(day, before)] == [
        ("report-ep1", 2, 12)
    ]
    few = replace(before, by_episode={"report-ep1": Group(9, 1, 0), "report-ep3": Group(20, 1, 0)})
    assert [row.name for row in falling(day, few)] == ["report-ep3"], "nine readings say nothing"
    assert falling(day, Day(BEFORE)) == falling(Day(DAY), before) == []


def test_changes_in_words() -> None:
    assert relative(106, 100) == Delta("+6.0 %", "good")
    assert relative(94, 100) == Delta("−6.0 %", "bad")
    assert relative(100_001, 100_000) == Delta("±0.0 %", "")
    assert (relative(3, 0), relative(0, 0)) == (Delta("new"), Delta("–"))
    row = Row("KR", Group(1, 0.625, 0.3), Group(1, 0.6, 0.25))
    assert points(row, "completion_rate", more_is_better=True) == Delta("+2.5 pt", "good")
    assert points(row, "exit_rate", more_is_better=False) == Delta("+5.0 pt", "bad")
    assert points(replace(row, before=NOTHING), "exit_rate", more_is_better=False) == Delta("–")
    assert [short(value) for value in (0, 800, 12_000, 1_500_000)] == ["0", "800", "12 k", "1.5 M"]


def operations() -> Operations:
    at = datetime(2026, 10, 7, 8, 0, tzinfo=UTC)
    late = judge(Measured("marts.user_features", [(1500.0, 1)], None, None), 1200, None, at)
    well = judge(Measured("realtime.user_features", [(1.0, 1)], None, None), 5, None, at)
    return Operations(
        [GateDay("raw_events", 144, 1, 0), GateDay("session_features", 140, 0, 2)],
        [FailedExpectation("raw_events", "country_allowed on country", "critical", 1, 17)],
        [QuarantinedSlice("slice-1", 1500, "released", ["country_allowed"])],
        {"marts.user_features": [(at, late)], "realtime.user_features": [(at, well)], "x": []},
        [DeadlineMiss("features__model", "run-1", 1200.0, at)],
    )


def test_the_message_has_the_day_and_what_to_look_at(day: Day, before: Day) -> None:
    assert message_lines(Report(day, before, operations(), {})) == [
        "12 events (+50.0 %), 4 readings (−66.7 %), against 2026-09-30",
        "completion 50.0 % (−50.0 pt), exit 75.0 % (+75.0 pt)",
        "• gate raw_events blocked 1 of 144 runs",
        "• 1 slice (1,500 events) put in quarantine",
        "• freshness SLO missed by 1 table: marts.user_features",
        "• 1 deadline missed: features__model",
    ]
    assert message_lines(Report(day, Day(BEFORE), Operations(), {})) == [
        "12 events (new), 4 readings (new)",
        "completion 50.0 % (–), exit 75.0 % (–)",
        "nothing to look at",
    ]


def test_an_empty_day_is_something_to_look_at(before: Day) -> None:
    assert findings(Report(Day(DAY), before, Operations(), {})) == ["no reading of 2026-10-07 is published"]
    assert message_lines(Report(Day(DAY), before, Operations(), {}))[0] == (
        "0 events (−100.0 %), 0 readings (−100.0 %), against 2026-09-30"
    )


def test_the_page_says_everything_and_names_nobody(day: Day, before: Day) -> None:
    published = replace(before, cut=replace(CUT, cut_id=404))
    page = " ".join(render(Report(day, published, operations(), {"report-ep1": "Moon <Post>, 3"})).split())
    for words in (
        "Wednesday, 2026-10-07", "beside Wed 2026-09-30", "Moon &lt;Post&gt;, 3", "unknown to reference",
        "cut 812 (ledger position 1,204,331, events up to 2026-10-08 02:31:00 UTC), published 2026-10-08 02:44:00 UTC",
        "22 of 24 hours have no events", "country_allowed on country", "slice-1", "released", "bad_json", "run-1",
        "02:44:00 UTC. The week before: cut 404 (", "UTC. Completion is the mean", "marts.user_features", "KR: completion 50.0 %, 100.0 % the week before",
    ):  # fmt: skip
        assert words in page, words
    assert "secret" not in page
    assert "<script" not in page
    assert "//" not in page.replace("<!doctype html>", ""), "nothing is loaded from elsewhere"


def test_an_empty_day_reads_sensibly() -> None:
    page = render(Report(Day(DAY), Day(BEFORE), Operations(), {}))
    for words in (
        "there is nothing of Wed 2026-09-30", "No event of either day is archived", "No reading on either day",
        "No gate ran", "No slice was put in quarantine", "No dead letter", "Freshness was not measured",
        "No run took longer", "of which none is published yet", "Needs readings of both days",
    ):  # fmt: skip
        assert words in " ".join(page.split()), words
    assert "nan" not in page.lower().replace("covenant", "")


def test_pages_are_written_whole_and_the_same_again(tmp_path: Path, day: Day, before: Day) -> None:
    report = Report(day, before, operations(), {})
    page = write_pages(tmp_path / "reports", report)
    write_pages(tmp_path / "reports", Report(before, Day(BEFORE - timedelta(days=7)), Operations(), {}))
    first = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    assert sorted(first) == [
        "2026-09-30.html", "2026-09-30.json", "2026-10-07.html", "2026-10-07.json", "index.html"
    ]  # fmt: skip
    write_pages(tmp_path / "reports", report)
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == first
    assert json.loads(first["2026-10-07.json"]) == {
        "dt": "2026-10-07", "events": 12, "readings": 4, "completion_rate": 0.5, "exit_rate": 0.75, "findings": 4,
    }  # fmt: skip
    index = first["index.html"].decode()
    assert index.index("2026-10-07.html") < index.index("2026-09-30.html"), "newest first"


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, date(2026, 10, 7)), ({"date": None}, date(2026, 10, 7)), ({"date": "2026-09-30"}, BEFORE)],
)
def test_the_day_of_a_run_is_the_one_before_it_or_the_forms(params: dict[str, Any], expected: date) -> None:
    assert day_of(params, NIGHT, NIGHT) == expected


@pytest.mark.parametrize(
    ("given", "fault"), [("2026-10-08", "is not over"), ("2027-01-01", "is not over"), ("7 Oct", "no date")]
)
def test_a_day_that_is_not_over_is_refused(given: str, fault: str) -> None:
    with pytest.raises(AirflowFailException, match=fault):
        day_of({"date": given}, NIGHT, NIGHT)


def test_sessions_are_told_apart_by_their_start(tmp_path: Path) -> None:
    from include.common.hive.tables import SESSION_FEATURES
    from tests.daily_report_rows import write

    rows = [reading(1), reading(1, episode_id="report-ep2"), reading(1, session_start_ms=7)]
    found = read_day(DAY, Files([write(SESSION_FEATURES, tmp_path, rows)]), None)
    assert (found.total.readings, found.sessions, found.readers) == (3, 2, 1)
