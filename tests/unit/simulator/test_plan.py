"""Wishes that cannot be are refused with what is possible, before anything is sent."""

import math
from typing import Any

import pytest

from include.simulator.plan import DEFAULT_SHARES, FAULT_SHARES, Plan, PlanError
from tests.unit.simulator.conftest import HOUR_MS, START_MS

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no events": ({"events": 0}, "events is 0; it must be from 1 to"),
    "no readers": ({"readers": 0}, "readers is 0"),
    "no time": ({"duration_ms": 10}, "the period in hours is"),
    "a backfill without an end": ({"duration_ms": None}, "give a rate"),
    "a rate of nothing": ({"rate": 0.0}, "rate is 0"),
    "a rate that is no number": ({"rate": math.nan}, "rate is nan"),
    "before 1970": ({"start_ms": -1}, "start is -1"),
    "an unknown trouble": ({"shares": {"floods": 0.1}}, "unknown kind of trouble: floods; there are out_of_order"),
    "a share above 1": ({"shares": {"late": 1.5}}, "share of late is 1.5; it must be from 0 to 1"),
    "more than all out of order": ({"shares": {"late": 0.6, "out_of_order": 0.6}}, "out_of_order and late together"),
    "bad records only": ({"shares": {"not_json": 0.5, "null_key": 0.5}}, "shares of bad records together is 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_refused(case: str) -> None:
    wish, message = WRONG[case]
    with pytest.raises(PlanError) as refused:
        Plan(**{"start_ms": START_MS, **wish})
    assert message in str(refused.value)


def test_a_backfill_ends_now() -> None:
    plan = Plan.backfill(START_MS, hours=2)
    assert (plan.start_ms, plan.end_ms) == (START_MS - 2 * HOUR_MS, START_MS)


def test_a_backfill_does_not_reach_into_the_future() -> None:
    with pytest.raises(PlanError, match=r"would end 60\.0 min in the future: begin earlier"):
        Plan.backfill(START_MS, hours=2, start_ms=START_MS - HOUR_MS)


def test_a_live_run_begins_after_now_and_needs_no_end() -> None:
    plan = Plan.live(START_MS, rate=10.0)
    assert START_MS < plan.start_ms < START_MS + 5000
    assert (plan.end_ms, plan.events) == (None, None)


def test_usual_bad_records_are_few_enough_for_the_raw_gate() -> None:
    """Its limits are 5 % dead letters, 10 % repeats, 1 % unknown episodes."""
    assert sum(FAULT_SHARES.values()) < 0.02
    assert FAULT_SHARES["unknown_episode"] == 0
    assert DEFAULT_SHARES["duplicate"] < 0.05
