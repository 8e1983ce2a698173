"""Visits become arrivals: every event at the time it reaches the broker, in that order."""

import heapq
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from include.simulator.disorder import OUT_OF_ORDER_MS, Disorder
from include.simulator.visits import Visit


class Arrival(NamedTuple):
    """Step `number` of `visit` reaches the broker."""

    time_ms: int
    visit: Visit
    number: int
    repeat: bool

    @property
    def event_time_ms(self) -> int:
        """When the step was taken, epoch ms."""
        return self.visit.steps[self.number].time_ms

    @property
    def late(self) -> bool:
        """It took longer than disorder within the stream's lateness can take."""
        return self.time_ms - self.event_time_ms > OUT_OF_ORDER_MS


def in_order_of_arrival(visits: Iterable[Visit], disorder: Disorder, rng: random.Random) -> Iterator[Arrival]:
    """Merge `visits`, which are in order of their start, by arrival; holds only those that are going on."""
    going_on: list[tuple[int, int, list[tuple[int, int, bool]], Visit]] = []
    for serial, visit in enumerate(visits):
        start_ms = visit.steps[0].time_ms
        while going_on and going_on[0][0] < start_ms:
            yield _next(going_on)
        to_come = _arrivals(visit, disorder, rng)
        heapq.heappush(going_on, (to_come[-1][0], serial, to_come, visit))
    while going_on:
        yield _next(going_on)


def _next(going_on: list[tuple[int, int, list[tuple[int, int, bool]], Visit]]) -> Arrival:
    _, serial, to_come, visit = going_on[0]
    time_ms, number, repeat = to_come.pop()
    if to_come:
        heapq.heapreplace(going_on, (to_come[-1][0], serial, to_come, visit))
    else:
        heapq.heappop(going_on)
    return Arrival(time_ms, visit, number, repeat)


def _arrivals(visit: Visit, disorder: Disorder, rng: random.Random) -> list[tuple[int, int, bool]]:
    """(arrival, step, repeat), last one first."""
    found = []
    for number, step in enumerate(visit.steps):
        arrival_ms = step.time_ms + disorder.delay_ms(rng)
        found.append((arrival_ms, number, False))
        again_ms = disorder.repeat_ms(rng)
        if again_ms is not None:
            found.append((arrival_ms + again_ms, number, True))
    found.sort(reverse=True)
    return found
