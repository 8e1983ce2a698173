"""The records of a run, in the order they are sent: good events, their repeats, and bad records among them."""

import random
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, NamedTuple

from include.contract.event import encode
from include.simulator.arrivals import Arrival, in_order_of_arrival
from include.simulator.catalogue import build_catalogue
from include.simulator.faults import spoil
from include.simulator.plan import Plan
from include.simulator.population import Population
from include.simulator.timeline import Service, live_visits, past_visits
from include.simulator.visits import Library, Visit

EVENT: Final = "event"
LATE: Final = "late"
DUPLICATE: Final = "duplicate"
GOOD_KINDS: Final = (EVENT, LATE)
"""Kinds that are events, each once; all others are repeats or bad records."""


class Record(NamedTuple):
    """What the producer sends. `due_ms`: when it reaches the broker in the simulated world, epoch ms."""

    due_ms: int
    kind: str
    """EVENT, LATE, DUPLICATE, or a kind of include.simulator.faults."""
    key: bytes | None
    value: bytes | None


def records(plan: Plan) -> Iterator[Record]:
    """The records of `plan`; a live plan without an end never stops.

    Each concern draws from its own chance: turning a fault on or off leaves the good events as they are.
    """
    arrivals = in_order_of_arrival(_visits(plan), plan.disorder, _chance(plan, "disorder"))
    return _with_faults(plan, _window(plan, arrivals))


def _chance(plan: Plan, concern: str) -> random.Random:
    # the start belongs in: two runs of one seed at two times must not send the same ids
    return random.Random(f"{plan.seed}/{plan.start_ms}/{concern}")


def _visits(plan: Plan) -> Iterator[Visit]:
    titles = build_catalogue()
    population = Population(plan.readers)
    service = Service(population, Library(titles), _chance(plan, "visits"))
    sample = Service(population, Library(titles), _chance(plan, "sample"))
    if plan.rate is not None:
        return live_visits(service, sample, plan.start_ms, plan.rate)
    assert plan.end_ms is not None
    assert plan.events is not None
    return past_visits(service, sample, plan.start_ms, plan.end_ms, plan.events)


def _window(plan: Plan, arrivals: Iterator[Arrival]) -> Iterator[Arrival]:
    """A live run leaves out what arrives before it begins, and ends by time or number of events."""
    if plan.rate is None:
        yield from arrivals
        return
    events = 0
    for arrival in arrivals:
        if arrival.time_ms < plan.start_ms or (arrival.repeat and arrival.event_time_ms < plan.start_ms):
            continue  # a repeat of what was left out would be no repeat
        if plan.end_ms is not None and arrival.time_ms > plan.end_ms:
            return
        yield arrival
        events += not arrival.repeat
        if events == plan.events:
            return


def _with_faults(plan: Plan, arrivals: Iterator[Arrival]) -> Iterator[Record]:
    rng = _chance(plan, "faults")
    kinds, limits = list(plan.faults), list(accumulate(plan.faults.values()))
    bad_share = limits[-1] if limits else 0.0
    serial = 0
    for arrival in arrivals:
        event = arrival.visit.event(arrival.number)
        while (point := rng.random()) < bad_share:
            kind = kinds[bisect(limits, point)]
            yield Record(arrival.time_ms, kind, *spoil(kind, rng, event, serial))
            serial += 1
        kind = DUPLICATE if arrival.repeat else LATE if arrival.late else EVENT
        yield Record(arrival.time_ms, kind, event.session_id.encode(), encode(event))
