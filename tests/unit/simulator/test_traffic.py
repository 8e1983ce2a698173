"""A run as a whole: reproducible, complete, within the contract, in order of arrival, in the shares asked for."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from include.contract.event import accept_record
from include.simulator.catalogue import build_catalogue
from include.simulator.disorder import LATE_MS, OUT_OF_ORDER_MS, REPEAT_MS
from include.simulator.faults import UNKNOWN_EPISODE
from include.simulator.plan import DEFAULT_SHARES, NO_TROUBLE, Plan
from include.simulator.traffic import DUPLICATE, EVENT, GOOD_KINDS, LATE, Record, records
from tests.unit.simulator.conftest import HOUR_MS, START_MS

_HASH_OF_A_RUN = f"""
import hashlib
from include.simulator.plan import Plan
from include.simulator.traffic import records
digest = hashlib.sha256()
for record in records(Plan({START_MS}, {HOUR_MS}, events=3000, seed=5)):
    digest.update(repr(record).encode())
print(digest.hexdigest())
"""


def good(run: list[Record]) -> list[Record]:
    return [record for record in run if record.kind in GOOD_KINDS]


def test_same_seed_and_start_give_the_same_bytes_in_another_process(project_root: Path) -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _HASH_OF_A_RUN],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=project_root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64


@pytest.mark.parametrize("changed", [{"seed": 2}, {"start_ms": START_MS + 1}])
def test_another_seed_or_start_sends_other_ids(changed: dict[str, int]) -> None:
    usual = {"start_ms": START_MS, "duration_ms": HOUR_MS, "events": 500, "seed": 1}
    first, second = (good(list(records(Plan(**plan)))) for plan in (usual, usual | changed))
    assert not {record.key for record in first} & {record.key for record in second}


@pytest.mark.parametrize("events", [1, 2, 777, 5000])
@pytest.mark.parametrize("duration_ms", [1000, 90_000, 24 * HOUR_MS])
def test_makes_exactly_the_events_asked_for_within_the_period(events: int, duration_ms: int) -> None:
    run = list(records(Plan(START_MS, duration_ms, events=events, shares=NO_TROUBLE)))
    times = [accept_record(record.key, record.value, record.due_ms).timestamp for record in run]
    assert len(run) == len({record.value for record in run}) == events
    assert min(times) >= START_MS
    assert max(times) <= START_MS + duration_ms


def test_every_good_record_is_accepted_whatever_the_delay(usual_run: list[Record]) -> None:
    known = {episode.episode_id for title in build_catalogue() for episode in title.episodes}
    ids = set()
    for record in good(usual_run):
        # the clock of the record is the moment it arrives at the earliest: nothing is ahead of it at all
        event = accept_record(record.key, record.value, record.due_ms)
        assert event.timestamp <= record.due_ms
        assert event.episode_id in known
        ids.add(event.event_id)
    assert len(ids) == 150_000


def test_records_come_in_order_of_arrival(usual_run: list[Record]) -> None:
    due = [record.due_ms for record in usual_run]
    assert due == sorted(due)


def test_disorder_is_within_its_bounds(usual_run: list[Record]) -> None:
    newest_ms, late, out_of_order = 0, 0, 0
    for record in good(usual_run):
        event = accept_record(record.key, record.value, record.due_ms)
        delay_ms = record.due_ms - event.timestamp
        if record.kind == LATE:
            assert LATE_MS[0] <= delay_ms < LATE_MS[1]
            late += 1
        else:
            assert 0 <= delay_ms < OUT_OF_ORDER_MS
            # what the stream measures: never late, whichever events share its bucket
            assert newest_ms - event.timestamp < OUT_OF_ORDER_MS
            out_of_order += event.timestamp < newest_ms
        newest_ms = max(newest_ms, event.timestamp)
    assert late == pytest.approx(150_000 * DEFAULT_SHARES["late"], rel=0.2)
    assert out_of_order > 150_000 * 0.05


def test_repeats_are_the_same_bytes_again_and_soon(usual_run: list[Record]) -> None:
    sent: dict[bytes | None, int] = {}
    repeats = 0
    for record in usual_run:
        if record.kind in GOOD_KINDS:
            sent[record.value] = record.due_ms
        elif record.kind == DUPLICATE:
            assert 0 <= record.due_ms - sent[record.value] < REPEAT_MS
            repeats += 1
    assert repeats == pytest.approx(150_000 * DEFAULT_SHARES["duplicate"], rel=0.1)


def test_bad_records_have_their_share_of_all_records() -> None:
    wanted = {UNKNOWN_EPISODE: 0.4, "not_json": 0.1, "null_key": 0.02}
    run = list(records(Plan(START_MS, HOUR_MS, events=10_000, shares=wanted)))
    counts = Counter(record.kind for record in run)
    assert set(counts) == {EVENT, *wanted}
    assert {kind: counts[kind] / len(run) for kind in wanted} == pytest.approx(wanted, rel=0.1)


def test_troubles_leave_the_good_events_as_they_are() -> None:
    clean, troubled = (
        good(list(records(Plan(START_MS, HOUR_MS, events=2000, shares=shares))))
        for shares in (
            NO_TROUBLE,
            {"unknown_episode": 0.3, "too_large": 0.001, "duplicate": 0.5, "late": 0.1},
        )
    )
    assert {record.value for record in clean} == {record.value for record in troubled}


def test_a_live_run_keeps_its_rate_from_the_first_minute_and_ends_in_time() -> None:
    plan = Plan(START_MS, 1800_000, events=None, rate=50.0)
    run = list(records(plan))
    per_minute = Counter((record.due_ms - START_MS) // 300_000 for record in good(run))
    assert set(per_minute) <= set(range(7))
    for five_minutes in range(6):
        assert per_minute[five_minutes] == pytest.approx(50 * 300, rel=0.15)
    assert min(record.due_ms for record in run) >= START_MS
    assert max(record.due_ms for record in run) <= START_MS + 1800_000
    sent = {record.value for record in good(run)}
    assert all(record.value in sent for record in run if record.kind == DUPLICATE)


def test_a_live_run_ends_after_its_events() -> None:
    run = list(records(Plan(START_MS, None, events=700, rate=20.0)))
    assert len(good(run)) == 700
