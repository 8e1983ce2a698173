"""Each kind of disagreement is found and named, on the day that it is of, without a personal id."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from include.common.hive.tables import SESSION_FEATURES
from include.orchestration.reconcile.comparison import BOOKKEEPING, COMPARED, KEY
from include.orchestration.reconcile.model import Comparison, ReconcileError, Verdict
from tests.reconcile_case import FIRST_US, LAST_US, Case, at
from tests.unit.reconcile.test_days import CLOSING, event, topic

DAY = "2026-03-01"
RATING = 8.25
KNOWN = {"genre": "drama", "episode_rating": RATING}
"""Of episode e1."""
LATE = event("t", "2026-03-01 10:00:00")
OTHER: dict[str, Any] = {
    "user_id": "someone", "country": "JP", "device": "tablet", "platform": "web", "experiments": [("cta", "b")],
    "ui_version": "9", "genre": "horror", "status": "timed_out", "is_exit_tag": True, "completion_rate": 0.5000000001,
    "max_scroll_ratio": 0.4, "event_count": 4, "scroll_event_count": 0, "dwell_time_ms": 120_001,
    "started_at": at("2026-03-01 10:00:00.001") * 1000, "ended_at": at("2026-03-01 10:02:00.001") * 1000,
    "source_partition": 1, "last_offset": -1, "last_event_kafka_at": at("2026-03-01 10:02:00.001") * 1000,
    "generation": 2, "episode_rating": 1.5,
}  # fmt: skip
"""Another value of each compared column than a session of `test_a_changed_feature_is_named` has."""


@pytest.fixture
def tried(tmp_path: Path) -> Case:
    """Three sessions and a late event."""
    events = (
        event("s", "2026-03-01 10:00:00", ui_version="8"),
        event("s", "2026-03-01 10:01:00", "scroll", scroll_ratio=0.5),
        event("s", "2026-03-01 10:02:00", "complete"),
        event("t", "2026-03-01 10:10:00"),
        LATE,
        event("v", "2026-03-01 10:11:00", episode_id="e2"),
        CLOSING,
    )
    case = Case(tmp_path, topic(*events), buckets=1, episodes=[("e1", "drama", RATING, FIRST_US, LAST_US)])
    case.hive = [row | (KNOWN if row["episode_id"] == "e1" else {}) for row in case.hive]
    return case


def compared(connection: duckdb.DuckDBPyConnection, case: Case) -> Comparison:
    outcome = case.judge(connection, DAY)[DAY]
    assert outcome.comparison is not None, outcome.reason
    assert outcome.verdict is (Verdict.DIFFERENT if outcome.comparison.different else Verdict.EQUAL)
    shown = json.dumps(outcome.comparison.samples)
    assert "u-" not in shown
    assert "someone" not in shown
    return outcome.comparison


def counts(it: Comparison) -> tuple[int, int, int, int, int]:
    return it.rows_equal, it.differing, it.only_published, it.only_recomputed, it.doubled


def change(case: Case, session: str, **changes: Any) -> None:
    case.hive = [{**row, **changes} if row["session_id"] == session else row for row in case.hive]


def test_nothing_is_wrong(connection: duckdb.DuckDBPyConnection, tried: Case) -> None:
    found = compared(connection, tried)
    assert counts(found) == (3, 0, 0, 0, 0)
    assert (found.late_checked, found.late_faults, found.samples) == (1, {}, ())


def test_every_feature_is_compared() -> None:
    assert set(OTHER) == set(COMPARED)
    assert {*KEY, *COMPARED, *BOOKKEEPING} == set(SESSION_FEATURES.column_names())


def test_a_changed_feature_is_named(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """A session for each column, which has another value there and nowhere else."""
    sessions = {f"s{number:02}": column for number, column in enumerate(COMPARED)}
    steps = (
        ("2026-03-01 10:00:00", "enter", {"ui_version": "8"}),
        ("2026-03-01 10:01:00", "scroll", {"scroll_ratio": 0.5}),
        ("2026-03-01 10:02:00", "complete", {}),
    )
    events = [event(it, when, kind, **more) for when, kind, more in steps for it in sessions]
    case = Case(
        tmp_path, topic(*events, CLOSING), buckets=1, episodes=[("e1", "drama", RATING, FIRST_US, LAST_US)]
    )
    case.hive = [
        row | KNOWN | {column: OTHER[column] for column in [sessions[row["session_id"]]]} for row in case.hive
    ]
    found = compared(connection, case)
    assert counts(found) == (0, len(COMPARED), 0, 0, 0)
    assert found.by_column == dict.fromkeys(COMPARED, 1)
    rows = connection.execute("SELECT expected.session_id, differing FROM differences").fetchall()
    assert dict(rows) == {session: [column] for session, column in sessions.items()}
    assert [it["kind"] for it in found.samples] == ["differing"] * 5
    shown = [list(it["recomputed_and_published"]) for it in found.samples]
    # in the order of their last offsets
    assert shown == [[column] for column in COMPARED[:5]]


def test_null_is_another_value_than_nothing(connection: duckdb.DuckDBPyConnection, tried: Case) -> None:
    change(tried, "s", experiments=None, max_scroll_ratio=None)
    assert compared(connection, tried).by_column == {"experiments": 1, "max_scroll_ratio": 1}


def test_files_of_before_a_column_was_added_are_compared_without_it(
    connection: duckdb.DuckDBPyConnection, tried: Case
) -> None:
    tried.without = ("ui_version",)
    change(tried, "s", dwell_time_ms=1)
    assert compared(connection, tried).by_column == {"dwell_time_ms": 1}


def test_a_row_that_is_missing_or_one_too_many(connection: duckdb.DuckDBPyConnection, tried: Case) -> None:
    tried.hive = [row for row in tried.hive if row["session_id"] != "t"]
    found = compared(connection, tried)
    assert counts(found) == (2, 0, 0, 1, 0)
    assert [(it["kind"], it["last_offset"]) for it in found.samples] == [("only_recomputed", 3)]
    change(tried, "v", session_id="w")
    found = compared(connection, tried)
    assert counts(found) == (1, 0, 1, 2, 0)


def test_a_doubled_row(connection: duckdb.DuckDBPyConnection, tried: Case) -> None:
    tried.hive = [*tried.hive, *(row for row in tried.hive if row["session_id"] == "s")]
    found = compared(connection, tried)
    assert counts(found) == (3, 0, 0, 0, 1)
    assert [it["kind"] for it in found.samples] == ["doubled"]


def test_a_partition_that_is_missing(connection: duckdb.DuckDBPyConnection, tried: Case) -> None:
    tried.hive = []
    assert counts(compared(connection, tried)) == (0, 0, 0, 3, 0)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda late: [], "applied_though_late"),
        (lambda late: [late._replace(bucket_clock_ms=late.bucket_clock_ms - 1)], "clock_not_reached"),
        (lambda late: [late._replace(bucket_clock_ms=late.event_time_ms + 120_000)], "not_behind_its_clock"),
        (lambda late: [late._replace(event_id="another")], "another_record"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_a_wrong_late_list(
    connection: duckdb.DuckDBPyConnection, tried: Case, spoil: Callable[[Any], list[Any]], fault: str
) -> None:
    (late,) = tried.late
    tried.late = spoil(late)
    found = compared(connection, tried)
    assert found.late_faults == {fault: 1}
    assert f"late list: {fault}" in {it["kind"] for it in found.samples}


def test_a_repeat_that_was_called_late(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """Offset 2 says again what offset 0 said; the stream ought to have dropped it without a word."""
    first = event("s", "2026-03-01 10:00:00")
    case = Case(tmp_path, topic(first, event("s", "2026-03-01 10:05:00"), first, CLOSING), buckets=1)
    assert counts(compared(connection, case)) == (1, 0, 0, 0, 0)
    case = replace(case, root=tmp_path / "spoilt")
    late = Case(tmp_path / "other", topic(event("s", "2026-03-01 10:05:00"), first), buckets=1).late
    case.late = [late[0]._replace(offset=2)]
    assert compared(connection, case).late_faults == {"a_repeat": 1}


def test_a_genre_that_reference_learnt_later_is_no_difference(
    connection: duckdb.DuckDBPyConnection, tried: Case
) -> None:
    change(tried, "s", genre=None, episode_rating=None)
    change(tried, "t", ledger_position=2)
    found = compared(connection, tried)
    assert (counts(found), found.genre_unknown_then) == ((3, 0, 0, 0, 0), 1)
    change(tried, "s", genre=None, ledger_position=2)  # t had it by then
    both = {"genre": 1, "episode_rating": 1}
    assert compared(connection, tried).by_column == both
    tried.episodes = [
        ("e1", "war", RATING, FIRST_US, at(DAY) * 1000),
        ("e1", "drama", RATING, at(DAY) * 1000, LAST_US),
    ]
    change(tried, "s", ledger_position=1)
    assert compared(connection, tried).by_column == both, "no first version: it was known all along"


def test_the_rating_is_that_of_the_moment_when_the_reading_began(
    connection: duckdb.DuckDBPyConnection, tried: Case
) -> None:
    later_us = at("2026-03-01 10:05:00") * 1000
    tried.episodes = [("e1", "drama", 9.0, FIRST_US, later_us), ("e1", "drama", RATING, later_us, LAST_US)]
    assert compared(connection, tried).by_column == {"episode_rating": 1}
    change(tried, "s", episode_rating=9.0)
    assert counts(compared(connection, tried)) == (3, 0, 0, 0, 0)


def test_overlapping_versions_of_an_episode_are_said_with_the_mend(
    connection: duckdb.DuckDBPyConnection, tried: Case
) -> None:
    tried.episodes *= 2
    with pytest.raises(ReconcileError, match=r"versions of an episode overlap .* 3 readings have 5 genres"):
        tried.judge(connection, DAY)
