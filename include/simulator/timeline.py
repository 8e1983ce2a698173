"""When visits begin: as many as make a wanted number of events in a past period, or a wanted rate from now on."""

import math
import random
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from include.simulator.population import Population
from include.simulator.visits import Library, Visit, simulate_visit

WARM_UP_MS: Final = 10 * 60_000
"""A live run joins readers who began up to this long before it: most visits are shorter."""
_SAMPLE = 500
"""Visits that are drawn beforehand to learn how events spread over a visit."""
_CELLS = 400


class Service:
    """The readers, the catalogue and the chance of one run; draws visits."""

    def __init__(self, population: Population, library: Library, rng: random.Random) -> None:
        self.population = population
        self._library = library
        self._rng = rng

    def visit(self, start_ms: int) -> Visit:
        """What somebody does who begins to read at `start_ms` (epoch ms)."""
        return simulate_visit(self._rng, self._library, self.population.choose(self._rng, start_ms), start_ms)


def past_visits(
    service: Service, sample: Service, start_ms: int, end_ms: int, events: int
) -> Iterator[Visit]:
    """Visits that begin in [start_ms, end_ms), in order, with `events` steps together, none after `end_ms`.

    Readers begin as the activity of their countries' hours has it. Visits that run over the end are cut there:
    those readers are still reading. `sample` (another chance, same readers) tells how much of a visit to expect
    before the end, so that the last minutes are not crowded.
    """
    ages = _ages_of_steps(sample, start_ms)
    width = (end_ms - start_ms) / _CELLS
    middles = [start_ms + (cell + 0.5) * width for cell in range(_CELLS)]
    expected = [
        service.population.activity(int(middle)) * bisect(ages, end_ms - middle) for middle in middles
    ]
    due = [0.0, *accumulate(expected)]
    made = 0
    while made < events:
        point = made / events * due[-1]
        cell = min(bisect(due, point), _CELLS) - 1
        visit = service.visit(int(start_ms + width * (cell + (point - due[cell]) / expected[cell])))
        within = bisect(visit.steps, end_ms, key=lambda step: step.time_ms)
        del visit.steps[min(within, events - made) :]
        made += len(visit.steps)
        yield visit


def live_visits(service: Service, sample: Service, start_ms: int, events_per_s: float) -> Iterator[Visit]:
    """Visits for ever, in order, whose steps come at `events_per_s` from `start_ms` on, whatever the hour.

    The hour decides who reads, not how much. Begins with visits of the WARM_UP_MS before `start_ms`, some of
    whose steps lie after it; more of them than usual, in place of the older visits that are left out.
    """
    ages = _ages_of_steps(sample, start_ms)
    young = bisect(ages, WARM_UP_MS) / len(ages)
    now_ms = float(start_ms - WARM_UP_MS)
    while True:
        visit = service.visit(math.floor(now_ms))
        now_ms += len(visit.steps) / events_per_s * 1000 * (young if now_ms < start_ms else 1.0)
        if visit.steps[-1].time_ms >= start_ms:
            yield visit


def _ages_of_steps(sample: Service, start_ms: int) -> list[int]:
    """How long after its visit began each step of a sample of visits was taken, ms, ascending."""
    visits = (sample.visit(start_ms) for _ in range(_SAMPLE))
    return sorted(step.time_ms - start_ms for visit in visits for step in visit.steps)
