"""One visit of one reader: episodes entered, scrolled, completed or left, as steps in event time.

Probabilities are sums that stay within (0, 1) for every reader, episode and variant, so an experiment's
effect is added whole, never clipped.
"""

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from include.contract.event import EventType, ReadingEvent
from include.simulator.catalogue import Episode, Title
from include.simulator.places import utc_offset_minutes
from include.simulator.population import OLD_APP, Reader

COMPLETION: Final = 0.30
"""Probability that a reading is completed: episode of quality 0, average reader, no experiment."""
COMPLETION_BY_QUALITY: Final = 0.42
COMPLETION_BY_TASTE: Final = 0.08
"""Added where the title's genre is one of the reader's favourites."""
NEXT_EPISODE: Final = 0.60
"""Probability of going on to the next episode after a completed reading of average quality."""
NEXT_EPISODE_BY_QUALITY: Final = 0.20
OTHER_TITLE: Final = 0.30
"""Probability of trying another title where the reader does not go on."""
EXIT_SENT: Final = 0.80
"""Part of the abandoned readings whose exit event is sent; the others fall silent (closed app, dead battery)."""
COMPLETED_THEN_EXIT: Final = 0.25
PUT_AWAY: Final = 0.01
"""Part of the readings in the middle of which the device is put away for longer than a session's gap."""

_FAVOURITE_WEIGHT = 6.0
_SCROLL_S = 6.0
"""Median time between two scrolls."""
_LONG_LOOK = 0.01
"""Part of the pauses that take minutes: more than dwell time counts."""


class Step(NamedTuple):
    """One thing that the reader did."""

    time_ms: int
    event_type: EventType
    episode_id: str
    scroll_ratio: float | None


@dataclass(frozen=True, slots=True)
class Visit:
    """Steps under one session_id, in time order; the contract's rules may see several sessions in them."""

    reader: Reader
    session_id: str
    steps: list[Step]

    def event(self, number: int) -> ReadingEvent:
        """The event that the client sends for step `number` of the visit."""
        step, reader = self.steps[number], self.reader
        return ReadingEvent(
            event_id=f"{self.session_id}-{number}",
            user_id=reader.user_id,
            session_id=self.session_id,
            episode_id=step.episode_id,
            event_type=step.event_type,
            country=reader.place.country,
            device=reader.device,
            platform=reader.platform,
            timestamp=step.time_ms,
            scroll_ratio=step.scroll_ratio,
            experiments=reader.experiments,
            ui_version=reader.ui_version,
            utc_offset_minutes=(
                None if reader.ui_version == OLD_APP else utc_offset_minutes(reader.place, step.time_ms)
            ),
        )


class Library:
    """The catalogue as readers see it: whom which title tempts, and how far each reader has come."""

    def __init__(self, titles: Sequence[Title]) -> None:
        self._titles = titles
        self._by_taste: dict[tuple[str, ...], list[float]] = {}
        self._progress: dict[tuple[str, str], int] = {}

    def open_title(self, rng: random.Random, reader: Reader) -> tuple[Title, int]:
        """A title that the reader opens, and the index of the episode that comes next for them."""
        taste = reader.favourite_genres
        weights = self._by_taste.get(taste)
        if weights is None:
            weights = list(
                accumulate(
                    title.popularity * (_FAVOURITE_WEIGHT if title.genre in taste else 1.0)
                    for title in self._titles
                )
            )
            self._by_taste[taste] = weights
        title = self._titles[bisect(weights, rng.random() * weights[-1])]
        index = self._progress.get((reader.user_id, title.title_id))
        if index is None:  # where we find them: half are new to the title
            index = 0 if rng.random() < 0.5 else rng.randrange(len(title.episodes))
        return title, index

    def finish(self, reader: Reader, title: Title, index: int) -> None:
        """The reader has completed an episode: the next one comes next; after the last, the first again."""
        self._progress[reader.user_id, title.title_id] = (index + 1) % len(title.episodes)


def completion_probability(reader: Reader, title: Title, episode: Episode) -> float:
    """Probability that this reader completes this episode; between 0.22 and 0.94."""
    taste = COMPLETION_BY_TASTE if title.genre in reader.favourite_genres else 0.0
    return (
        COMPLETION
        + COMPLETION_BY_QUALITY * episode.quality
        + taste
        + reader.patience
        + reader.completion_effect
    )


def next_episode_probability(reader: Reader, episode: Episode) -> float:
    """Probability of going on to the next one after completing `episode`; between 0.42 and 0.90."""
    by_quality = NEXT_EPISODE_BY_QUALITY * (episode.quality - 0.5)
    return NEXT_EPISODE + by_quality + reader.patience + reader.next_episode_effect


def simulate_visit(rng: random.Random, library: Library, reader: Reader, start_ms: int) -> Visit:
    """All that `reader` does in a visit that begins at `start_ms` (epoch ms)."""
    session_id = f"s{rng.getrandbits(64):016x}"
    steps: list[Step] = []
    now_ms = start_ms
    title, index = library.open_title(rng, reader)
    while True:
        episode = title.episodes[index]
        completed = rng.random() < completion_probability(reader, title, episode)
        now_ms = _read(rng, steps, reader, episode.episode_id, now_ms, completed)
        has_next = index + 1 < len(title.episodes)
        if completed:
            library.finish(reader, title, index)
        if completed and has_next and rng.random() < next_episode_probability(reader, episode):
            index += 1
        elif rng.random() < OTHER_TITLE:
            title, index = library.open_title(rng, reader)
        else:
            return Visit(reader, session_id, steps)
        now_ms += rng.randrange(1_000, 12_000)


def _read(
    rng: random.Random, steps: list[Step], reader: Reader, episode_id: str, now_ms: int, completed: bool
) -> int:
    """Append one reading's steps; returns the time of its last, epoch ms."""
    chance = rng.random
    steps.append(Step(now_ms, EventType.ENTER, episode_id, None))
    depth = 1.0 if completed else 0.04 + 0.9 * chance() * chance()
    scrolls = max(1, round(depth * rng.uniform(7.0, 13.0)))
    ratio = 0.0
    for scroll in range(1, scrolls + 1):
        now_ms += _pause_ms(rng, reader.pace)
        # most look ahead, some go back to see a panel again
        ratio = depth * scroll / scrolls if chance() > 0.08 else ratio * chance()
        steps.append(Step(now_ms, EventType.SCROLL, episode_id, round(ratio, 4)))
    if chance() < PUT_AWAY:
        now_ms += rng.randrange(31 * 60_000, 90 * 60_000)
        steps.append(Step(now_ms, EventType.SCROLL, episode_id, round(ratio, 4)))
    if completed:
        now_ms += _pause_ms(rng, reader.pace)
        steps.append(Step(now_ms, EventType.COMPLETE, episode_id, 1.0))
    if chance() < (COMPLETED_THEN_EXIT if completed else EXIT_SENT):
        now_ms += rng.randrange(300, 4_000)
        steps.append(Step(now_ms, EventType.EXIT, episode_id, None if completed else round(ratio, 4)))
    return now_ms


def _pause_ms(rng: random.Random, pace: float) -> int:
    if rng.random() < _LONG_LOOK:
        return rng.randrange(60_000, 8 * 60_000)
    return int(1000 * _SCROLL_S * pace * rng.lognormvariate(0.0, 0.6)) + 200
