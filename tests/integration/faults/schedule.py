"""Which faults strike, and when: one of each kind and phase for `make test`, any number at random for `make soak`."""

import random
from collections.abc import Iterator

from tests.integration.faults.plan import Fault, Kind, Phase

Step = tuple[Fault, ...]
"""Faults of one start of the driver; the last one may end it."""

_ONE_OF_EACH = (
    ((Kind.DRIVER, Phase.STATE_COMMIT),),
    ((Kind.WORKER, Phase.STATE_COMMIT),),
    ((Kind.BROKER, Phase.COMMITTED), (Kind.DRIVER, Phase.LANDING)),
    ((Kind.POSTGRES, Phase.LANDING),),
    ((Kind.DRIVER, Phase.COPY),),
    ((Kind.POSTGRES, Phase.COPY),),
    ((Kind.DRIVER, Phase.COMMITTED),),
    ((Kind.POSTGRES, Phase.COMMITTED),),
    ((Kind.DRIVER, Phase.BEHIND),),
    ((Kind.POSTGRES, Phase.BEHIND),),
    ((Kind.DRIVER, Phase.OVERTAKEN),),
    ((Kind.POSTGRES, Phase.OVERTAKEN),),
    ((Kind.DISK_FULL, Phase.COMMITTED),),
)
"""Every kind once, every phase by two kills of what works on a micro-batch there."""
_PASSES = (1, 4)


def one_of_each(seed: int) -> list[Step]:
    """Every kind of fault, every phase twice, in an order and at micro-batches that `seed` decides."""
    rng = random.Random(seed)
    steps = [
        tuple(Fault(kind, phase, rng.randint(*_PASSES)) for kind, phase in step) for step in _ONE_OF_EACH
    ]
    rng.shuffle(steps)
    return steps


def at_random(seed: int, disk: bool) -> Iterator[Fault]:
    """Faults without end, of each kind as many; with a full disk among them only where the machine has a `disk` to fill.

    A worker has nothing to do with a micro-batch once it is collected.
    """
    rng = random.Random(seed)
    kinds = [kind for kind in Kind if disk or kind is not Kind.DISK_FULL]
    while True:
        kind = rng.choice(kinds)
        phase = Phase.STATE_COMMIT if kind is Kind.WORKER else rng.choice(list(Phase))
        yield Fault(kind, phase, rng.randint(*_PASSES))
