"""When visits begin: exactly as many events as asked for in a past period, at the asked rate in a live one."""

import random
from itertools import takewhile

import pytest

from include.simulator.catalogue import build_catalogue
from include.simulator.population import Population
from include.simulator.timeline import WARM_UP_MS, Service, live_visits, past_visits
from include.simulator.visits import Library

START_MS = 1_795_478_400_000
HOUR_MS = 3_600_000


def services(seed: int) -> tuple[Service, Service]:
    population = Population(500)

    def make(its_seed: int) -> Service:
        return Service(population, Library(build_catalogue()), random.Random(its_seed))

    return make(seed), make(seed + 1)


@pytest.mark.parametrize("events", [1, 7, 2_000])
def test_a_past_period_has_as_many_steps_as_asked_for_and_none_outside(events: int) -> None:
    visits = list(past_visits(*services(1), START_MS, START_MS + HOUR_MS, events))
    steps = [step.time_ms for visit in visits for step in visit.steps]
    assert len(steps) == events
    assert START_MS <= min(steps) <= max(steps) <= START_MS + HOUR_MS


def test_a_live_run_keeps_its_rate_from_the_start() -> None:
    rate, seconds = 50.0, 900
    end_ms = START_MS + seconds * 1000
    visits = takewhile(
        lambda visit: visit.steps[0].time_ms < end_ms, live_visits(*services(2), START_MS, rate)
    )
    first: list[int] = []
    steps: list[int] = []
    for visit in visits:
        first.append(visit.steps[0].time_ms)
        steps += [step.time_ms for step in visit.steps if START_MS <= step.time_ms < end_ms]
    assert first[0] >= START_MS - WARM_UP_MS
    thirds = [
        sum(START_MS + n * 300_000 <= at < START_MS + (n + 1) * 300_000 for at in steps) for n in range(3)
    ]
    assert all(0.6 < third / (rate * 300) < 1.4 for third in thirds), thirds
