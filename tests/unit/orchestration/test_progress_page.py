"""The page "Stream progress" as text."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.orchestration.progress_page.history import History, Phases
from include.orchestration.progress_page.html import render

NOW = datetime.now(UTC).replace(microsecond=0)
DRIVER = {"desired_state": "running", "driver_started_at": NOW, "restarts": 3, "run_id": "scheduled__1"}


def batch(**changes: Any) -> dict[str, Any]:
    row = {
        "batch_id": 17,
        "committed_at": NOW - timedelta(seconds=4),
        "events": 2_345,
        "dead_letters": 1,
        "late_events": 2,
        "durations_ms": {
            "triggerExecution": 900, "latestOffset": 10, "getBatch": 5, "addBatch": 800, "walCommit": 20,
            "writer.collect": 300, "writer.wait": 150, "writer.copy": 100, "writer.commit": 50,
        },
        "lag_records": {"1": 20, "0": 10},
        "state": {"numRowsTotal": 123_456, "memoryUsedBytes": 7_400_000},
        "low_clock_at": NOW - timedelta(seconds=30),
        "high_clock_at": NOW - timedelta(seconds=5),
        "worst_freshness_s": 1.234,
    }  # fmt: skip
    return row | changes


def minute(records: int, **changes: Any) -> dict[str, Any]:
    row = {
        "minute": NOW, "batches": 60, "records": records, "p50_ms": 700, "max_ms": 1_500, "worst_freshness_s": 2.5,
        "max_lag": 0, "low_clock_at": NOW,
    }  # fmt: skip
    return row | changes


def cells(page: str, table: int) -> list[list[str]]:
    """Rows of the page's table of that number."""
    body = re.findall(r"<tbody>(.*?)</tbody>", page, re.DOTALL)[table]
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", body)]


def test_phases_split_a_micro_batch_by_who_works() -> None:
    assert Phases.of(batch()["durations_ms"]) == Phases(total=900, kafka=15, spark=650, write=150)
    assert Phases.of({}) == Phases(0, 0, 0, 0)


@pytest.mark.parametrize(("landing_ms", "write_ms"), [(40, 150), (100, 150), (120, 170)])
def test_the_landing_file_counts_as_far_as_it_outlasts_the_loading_beside_it(
    landing_ms: int, write_ms: int
) -> None:
    durations_ms = batch()["durations_ms"] | {"writer.landing": landing_ms}
    assert Phases.of(durations_ms).write == write_ms


def test_a_micro_batch_is_a_row_with_all_its_figures() -> None:
    (row,) = cells(render(History(NOW, DRIVER, [minute(120_000)], [batch()])), 1)
    assert row[2:11] == ["2,345", "1", "2", "900", "15", "650", "150", "1.23", "0: 10, 1: 20"]
    assert row[13:] == ["123,456", "7.4"]


def test_a_minute_is_a_row_and_a_point() -> None:
    page = render(History(NOW, DRIVER, [minute(120_000), minute(60_000)], [batch()]))
    assert [row[1:4] for row in cells(page, 0)] == [["60", "120,000", "2,000.0"], ["60", "60,000", "1,000.0"]]
    points = re.findall(r'points="([^"]*)"', page)[0].split()
    assert points == ["0.0,37.0", "360.0,4.0"], "oldest left, the larger rate higher"


@pytest.mark.parametrize("minutes", [[], [minute(0)]])
def test_it_is_readable_before_anything_was_committed(minutes: list[dict[str, Any]]) -> None:
    page = render(History(NOW, None, minutes, []))
    assert "none yet" in page
    assert page.count("<table>") == 2


def test_a_micro_batch_without_progress_and_events_has_dashes() -> None:
    empty = batch(
        durations_ms=None, lag_records=None, state=None, low_clock_at=None, high_clock_at=None, worst_freshness_s=None
    )  # fmt: skip
    (row,) = cells(render(History(NOW, DRIVER, [], [empty])), 1)
    assert row[9:] == ["-"] * 6


def test_values_are_escaped() -> None:
    page = render(History(NOW, DRIVER | {"run_id": "<script>alert(1)</script>"}, [], []))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
