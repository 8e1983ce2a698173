"""What the freshness benchmark computes: each event's own commit, events moved in time byte for byte."""

import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.live_events import open_sessions, read_live, write_live
from benchmarks.stack import BenchmarkError
from benchmarks.visibility import Seen, freshness_ms, percentiles
from include.contract.event import ContractError, accept_record
from include.simulator.traffic import EVENT


def test_each_event_counts_with_the_micro_batch_that_holds_its_offset() -> None:
    seen = [
        Seen(0, {0: 10}, 1.0, 0.0),
        Seen(1, {0: 12, 1: 1}, 2.0, 0.0),
        Seen(2, {0: 12, 1: 3}, 3.5, 0.0),
    ]
    times = {0: np.array([100, 200, 900, 1100]), 1: np.array([50, 2900, 3000])}
    fresh = freshness_ms(times, {0: 8, 1: 0}, seen, first_ms=100, last_ms=3000)
    # offsets 8, 9 of partition 0 are in the first; of partition 1, the first is before the window, the last at its end
    assert fresh.tolist() == [900.0, 800.0, 1100.0, 900.0, 600.0]


def test_an_event_that_no_micro_batch_holds_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="partition 0"):
        freshness_ms({0: np.array([1, 2])}, {0: 0}, [Seen(0, {0: 1}, 1.0, 1.0)], 0, 10)


def test_percentiles_of_a_hundred_values() -> None:
    found = percentiles(np.arange(1, 102, dtype=float))
    assert found == {"p50_ms": 51, "p95_ms": 96, "p99_ms": 100, "max_ms": 101}


def test_live_events_are_good_at_whatever_time_they_are_played(tmp_path: Path) -> None:
    file = tmp_path / "live"
    count = write_live(file, rate=200, seconds=2.9, readers=500, seed=3)
    start_ms = 2_000_000_000_000
    chunks = list(read_live(file))
    played = [record for chunk in chunks for record in chunk]
    assert len(played) == count > 300
    assert [chunk[0].due_ms // 1000 for chunk in chunks] == [0, 1, 2]
    assert [record.due_ms for record in played] == sorted(record.due_ms for record in played)
    ages = []
    for record in played:
        due_ms = start_ms + record.due_ms
        try:
            event = accept_record(record.key, record.value(start_ms), due_ms)
        except ContractError:
            continue
        ages.append(due_ms - event.timestamp)
    assert len(ages) > 0.95 * count
    assert 0 <= sorted(ages)[len(ages) // 2] < 2_000


def test_preloaded_sessions_are_in_order_and_open() -> None:
    now_ms = int(time.time() * 1000)
    made = list(open_sessions(300, 3, now_ms))
    events = [accept_record(record.key, record.value, now_ms) for record in made]
    times = [event.timestamp for event in events]
    assert {record.kind for record in made} == {EVENT}
    assert times == sorted(times)
    assert max(times) <= now_ms
    by_session: dict[str, list[int]] = {}
    for event in events:
        by_session.setdefault(event.session_id, []).append(event.timestamp)
    assert len(by_session) == 300
    assert {len(each) for each in by_session.values()} == {3}
    assert min(each[-1] for each in by_session.values()) > now_ms - 32 * 60_000
