"""Which days are due, what the form may ask for, what a person is told; and that nothing of the stream is used."""

import ast
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from include.orchestration.reconcile.model import Comparison, Day, Outcome, ReconcileError, Verdict
from include.orchestration.reconcile.published import gaps_in
from include.orchestration.reconcile.record import Last, days_between, due_days
from include.orchestration.reconcile.report import describe, page, write_page
from include.orchestration.reconcile.tasks import wanted_days

DAY = Day(date(2026, 3, 1))
WRONG = Comparison(
    40, 2, 1, 3, 1, {"dwell_time_ms": 2, "status": 1}, 5, {"a_repeat": 1}, samples=({"kind": "<differing>"},)
)


def outcome(comparison: Comparison | None, verdict: Verdict, reason: str | None = None) -> Outcome:
    return Outcome(DAY, verdict, reason, 1, 7, "/x", comparison, 100, 0.5)


def entry(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "run_id": "run-1", "dt": DAY.value, "verdict": "different", "reason": None, "generation": 1, "ledger_position": 7,
        "location": "/x", "rows_equal": 40, "rows_differing": 2, "only_published": 1, "only_recomputed": 3,
        "rows_doubled": 1, "late_events_checked": 5, "late_events_wrong": {"a_repeat": 1}, "genre_unknown_then": 0,
        "differing_by_column": {"dwell_time_ms": 2}, "samples": [{"kind": "<differing>"}], "events_read": 100,
        "took_seconds": 0.5, "checked_at": datetime(2026, 3, 2, tzinfo=UTC),
    }  # fmt: skip
    return known | changes


@pytest.mark.parametrize(
    ("last", "is_due"),
    [
        (None, True),
        (Last(Verdict.EQUAL, None, "/x"), False),
        (Last(Verdict.EQUAL, None, "/before"), True),
        (Last(Verdict.EQUAL, None, None), True),
        (Last(Verdict.DIFFERENT, None, "/x"), True),
        (Last(Verdict.NOT_CHECKED, "sessions_open: 3", "/x"), True),
        (Last(Verdict.NOT_CHECKED, "raw_events_expired: gone", "/x"), False),
        (Last(Verdict.NOT_CHECKED, "raw_events_expired: gone", "/before"), True),
    ],
)
def test_a_day_is_due_until_it_is_equal_or_gone(last: Last | None, is_due: bool) -> None:
    found = due_days([DAY], {DAY.dt: Path("/x")}, {} if last is None else {DAY: last})
    assert found == [DAY] * is_due


def test_due_days_come_oldest_first() -> None:
    days = days_between(date(2026, 2, 27), date(2026, 3, 2))
    assert [day.dt for day in due_days(reversed(days), {}, {})] == [
        "2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02",
    ]  # fmt: skip


def test_the_form() -> None:
    assert wanted_days({"from_day": None, "to_day": None}) == []
    assert wanted_days({"from_day": "2026-03-01", "to_day": None}) == [DAY]
    assert len(wanted_days({"from_day": "2026-03-01", "to_day": "2026-03-31"})) == 31
    for wrong in (("2026-03-02", "2026-03-01"), ("2024-01-01", "2026-01-01"), (None, "2026-03-01")):
        with pytest.raises(ReconcileError, match="trigger again"):
            wanted_days({"from_day": wrong[0], "to_day": wrong[1]})


def test_what_is_not_archived_of_a_range() -> None:
    assert gaps_in([], 3, 9) == [(3, 9)]
    assert gaps_in([(0, 5), (5, 9)], 3, 9) == []
    assert gaps_in([(5, 6), (7, 20)], 3, 9) == [(3, 5), (6, 7)]
    assert gaps_in([(0, 2), (12, 15)], 3, 9) == [(3, 9)]
    assert gaps_in([], 5, 5) == []


def test_a_day_in_one_line() -> None:
    assert describe(outcome(WRONG, Verdict.DIFFERENT)) == (
        "2026-03-01: 2 rows differ (dwell_time_ms 2, status 1); 1 rows only in Hive; 3 rows only recomputed;"
        " 1 rows doubled in Hive; 1 wrong in the late list (a_repeat); 40 rows equal"
    )
    equal = Comparison(40, 0, 0, 0, 0, {}, 5, {})
    assert describe(outcome(equal, Verdict.EQUAL)) == "2026-03-01: 40 rows equal, 5 late events confirmed"
    waiting = outcome(None, Verdict.NOT_CHECKED, "sessions_open: 3 sessions")
    assert describe(waiting) == "2026-03-01: not checked, sessions_open: 3 sessions"


def test_the_page_shows_verdicts_and_samples_escaped(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("rows_equal", "differing_by_column", "samples", "late_events_wrong"))
    waiting = entry(verdict="not_checked", reason="sessions_open: <3>", **nothing)
    written = write_page(tmp_path, [entry(), waiting]).read_text()
    assert written == page([entry(), waiting])
    assert "&lt;differing&gt;" in written
    assert "sessions_open: &lt;3&gt;" in written
    assert "dwell_time_ms 2" in written
    assert "<differing>" not in written


def test_nothing_of_the_stream_is_used(project_root: Path) -> None:
    """Neither its code nor the contract's: names of tables, columns and settings are all that both sides know."""
    folder = project_root / "include" / "orchestration" / "reconcile"
    imported = {
        module
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for module in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert any(module.startswith("include.common") for module in imported)
    shared = ("include.contract", "include.spark_jobs", "include.orchestration.roll_out", "tests")
    assert [module for module in imported if module.startswith(shared)] == []
