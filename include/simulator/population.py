"""Readers: where they live, what they read on, what they like, which experiment groups they are in.

Reader n is the same in every run, whatever the run's seed, so that runs add up to one history.
"""

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeVar

from include.contract.event import Device, Platform
from include.simulator.experiments import EXPERIMENTS, assign
from include.simulator.places import PLACES, QUARTER_MS, Place, local_activity
from include.simulator.titles import TAGS

POPULATION_SEED: Final = 20260101
OLD_APP: Final = "6.9.2"
"""Sends neither experiments nor the UTC offset, and takes part in no experiment."""
PATIENCE: Final = 0.08
"""Readers differ by up to this much in the probability that they complete, and that they go on."""

_APPS: Final = (("7.1.0", 0.55), ("7.2.0", 0.35), (OLD_APP, 0.10))
_DEVICES: Final = ((Device.PHONE, 0.78), (Device.TABLET, 0.09), (Device.DESKTOP, 0.13))
_MOBILE: Final = ((Platform.ANDROID, 0.58), (Platform.IOS, 0.34), (Platform.WEB, 0.08))
_GENRES: Final = tuple(sorted(TAGS))
_BUSIEST_READER: Final = 30.0
"""Nobody reads more than this many times what the most occasional reader reads."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reader:
    """One reader."""

    user_id: str
    place: Place
    device: Device
    platform: Platform
    ui_version: str
    favourite_genres: tuple[str, ...]
    patience: float
    """Added to the probabilities of completing and of going on; -PATIENCE to PATIENCE."""
    pace: float
    """Time between two scrolls against the average reader's."""
    experiments: dict[str, str] | None
    """Experiment -> variant; None where the app takes part in none."""
    completion_effect: float
    next_episode_effect: float


class Population:
    """`size` readers, chosen by the local hour of their country and by how much each of them reads."""

    def __init__(self, size: int) -> None:
        rng = random.Random(f"population/{POPULATION_SEED}")
        by_place: dict[Place, tuple[list[Reader], list[float]]] = {}
        for number in range(1, size + 1):
            reader = _draw_reader(rng, number)
            readers, weights = by_place.setdefault(reader.place, ([], []))
            readers.append(reader)
            weights.append(min(rng.paretovariate(1.2), _BUSIEST_READER))
        self._groups = [
            (place, readers, list(accumulate(weights))) for place, (readers, weights) in by_place.items()
        ]
        self._quarter = -1
        self._shares: list[float] = []

    @property
    def readers(self) -> list[Reader]:
        """All of them, country by country."""
        return [reader for _, readers, _ in self._groups for reader in readers]

    def activity(self, time_ms: int) -> float:
        """How much is read at `time_ms` in all countries together; only ratios have a meaning."""
        return self._cumulative_activity(time_ms)[-1]

    def choose(self, rng: random.Random, time_ms: int) -> Reader:
        """Somebody who begins to read at `time_ms` (epoch ms)."""
        shares = self._cumulative_activity(time_ms)
        _, readers, weights = self._groups[bisect(shares, rng.random() * shares[-1])]
        return readers[bisect(weights, rng.random() * weights[-1])]

    def _cumulative_activity(self, time_ms: int) -> list[float]:
        quarter = time_ms // QUARTER_MS
        if quarter != self._quarter:
            self._quarter = quarter
            self._shares = list(
                accumulate(weights[-1] * local_activity(place, time_ms) for place, _, weights in self._groups)
            )
        return self._shares


def _draw_reader(rng: random.Random, number: int) -> Reader:
    user_id = f"u{number:06d}"
    device = _pick(rng, _DEVICES)
    app = _pick(rng, _APPS)
    variants = {} if app == OLD_APP else {each.name: assign(each, user_id) for each in EXPERIMENTS}
    return Reader(
        user_id=user_id,
        place=_pick(rng, [(place, place.reader_share) for place in PLACES]),
        device=device,
        platform=Platform.WEB if device is Device.DESKTOP else _pick(rng, _MOBILE),
        ui_version=app,
        favourite_genres=tuple(sorted(rng.sample(_GENRES, rng.choice((1, 2, 2, 3))))),
        patience=rng.uniform(-PATIENCE, PATIENCE),
        pace=rng.lognormvariate(0.0, 0.25),
        experiments={name: variant.name for name, variant in variants.items()} or None,
        completion_effect=sum(variant.completion_effect for variant in variants.values()),
        next_episode_effect=sum(variant.next_episode_effect for variant in variants.values()),
    )


def _pick(rng: random.Random, choices: Sequence[tuple[T, float]]) -> T:
    """One of `choices` by weight; the weights add up to 1."""
    point = rng.random()
    for value, weight in choices:
        point -= weight
        if point < 0:
            return value
    return choices[-1][0]
