"""Titles and episodes with their hidden quality, and the reference CSV files that describe them.

Everything is drawn from a seed of its own: runs of the simulator with different seeds read one catalogue.
"""

import csv
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from include.simulator.experiments import EXPERIMENTS
from include.simulator.places import PLACES
from include.simulator.titles import TAGS, TITLE_IDEAS

CATALOGUE_SEED: Final = 20260101
_LAST_LAUNCH = date(2025, 12, 29)
"""The newest episode of a running title; all launches lie before the project's first day."""
_EPISODES = (10, 42)


@dataclass(frozen=True)
class Episode:
    """One episode. `quality` is hidden: readers feel it, events show it, no file tells it."""

    episode_id: str
    title_id: str
    number: int
    rating: float
    """0 to 10, two decimals: what people who vote say, which follows quality only roughly."""
    launch_date: date
    quality: float
    """0 to 1, the middle of the catalogue near 0.5."""


@dataclass(frozen=True)
class Title:
    """One title and its episodes in order."""

    title_id: str
    name: str
    genre: str
    tags: tuple[str, ...]
    popularity: float
    """Weight with which readers choose it."""
    episodes: tuple[Episode, ...]


def build_catalogue(seed: int = CATALOGUE_SEED) -> tuple[Title, ...]:
    """The whole catalogue: 40 titles, about 1,000 episodes, the same for the same seed."""
    rng = random.Random(f"catalogue/{seed}")
    return tuple(_title(rng, number) for number in range(1, len(TITLE_IDEAS) + 1))


def _title(rng: random.Random, number: int) -> Title:
    idea = TITLE_IDEAS[number - 1]
    title_id = f"t{number:03d}"
    quality = min(0.9, max(0.1, rng.gauss(0.5, 0.16)))
    count = rng.randint(*_EPISODES)
    newest = _LAST_LAUNCH - timedelta(weeks=rng.choice((0, 0, 0, rng.randint(4, 80))))
    return Title(
        title_id=title_id,
        name=idea.name,
        genre=idea.genre,
        tags=tuple(sorted(rng.sample(TAGS[idea.genre], rng.randint(2, 3)))),
        popularity=round(min(12.0, rng.paretovariate(1.3)) * (0.5 + quality), 4),
        episodes=tuple(
            _episode(rng, title_id, index, quality, newest - timedelta(weeks=count - index))
            for index in range(1, count + 1)
        ),
    )


def _episode(rng: random.Random, title_id: str, number: int, quality: float, launched: date) -> Episode:
    own = min(1.0, max(0.0, rng.gauss(quality, 0.08)))
    rating = min(10.0, max(0.0, rng.gauss(4.5 + 5.0 * own, 0.4)))
    return Episode(f"{title_id}-e{number:03d}", title_id, number, round(rating, 2), launched, own)


def write_reference(folder: Path, seed: int = CATALOGUE_SEED) -> None:
    """Write what DAG reference__load reads into `folder` (made if absent), replacing what is there.

    UTF-8 CSV with a header row; tags are separated by `;`:

    - titles.csv: title_id, name, genre, tags
    - episodes.csv: episode_id, title_id, episode_number, rating (0 to 10), launch_date (ISO)
    - country_time_zones.csv: country (ISO 3166-1 alpha-2), time_zone (IANA name)
    - experiments.csv: experiment, variant, share (0 to 1)

    Raises OSError where the folder cannot be written.
    """
    titles = build_catalogue(seed)
    folder.mkdir(parents=True, exist_ok=True)
    _write(
        folder / "titles.csv",
        ("title_id", "name", "genre", "tags"),
        ((title.title_id, title.name, title.genre, ";".join(title.tags)) for title in titles),
    )
    _write(
        folder / "episodes.csv",
        ("episode_id", "title_id", "episode_number", "rating", "launch_date"),
        (
            (
                episode.episode_id,
                episode.title_id,
                episode.number,
                f"{episode.rating:.2f}",
                episode.launch_date,
            )
            for title in titles
            for episode in title.episodes
        ),
    )
    _write(
        folder / "country_time_zones.csv",
        ("country", "time_zone"),
        ((place.country, place.time_zone) for place in PLACES),
    )
    _write(
        folder / "experiments.csv",
        ("experiment", "variant", "share"),
        (
            (experiment.name, variant.name, variant.share)
            for experiment in EXPERIMENTS
            for variant in experiment.variants
        ),
    )


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
