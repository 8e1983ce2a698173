"""A/B experiments whose true effect is known, so that an analysis of the features can be checked.

The truth, by construction (`include.simulator.visits` adds the effects to probabilities that never need
clipping):

- `reader_layout`: `vertical` adds 0.06 to the probability that a reading is completed.
- `next_episode_prompt`: `autoplay` adds 0.12 to the probability that a completed reading which has a next
  episode is followed by it in the same session.
- `cover_art`: an A/A/B test without any effect: a sound analysis finds none.

The effects are exact for one reading. Averages over *all* readings of a group are those of the readings it
chose to make: `autoplay` makes more readings of later episodes, so compare like with like (the first reading
of each session, say).
"""

import hashlib
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Variant:
    """One group of an experiment. Effects are added to probabilities (0.06: six percentage points)."""

    name: str
    share: float
    """Part of the readers, 0 to 1."""
    completion_effect: float = 0.0
    """Added to the probability that a reading is completed."""
    next_episode_effect: float = 0.0
    """Added to the probability that the reader goes on after a completed reading."""


@dataclass(frozen=True)
class Experiment:
    """An experiment; its variants' shares add up to 1."""

    name: str
    variants: tuple[Variant, ...]


EXPERIMENTS: Final = (
    Experiment("reader_layout", (Variant("paged", 0.5), Variant("vertical", 0.5, completion_effect=0.06))),
    Experiment(
        "next_episode_prompt", (Variant("button", 0.7), Variant("autoplay", 0.3, next_episode_effect=0.12))
    ),
    Experiment("cover_art", (Variant("a1", 0.4), Variant("a2", 0.4), Variant("b", 0.2))),
)


def assign(experiment: Experiment, user_id: str) -> Variant:
    """The reader's variant: a hash of experiment and reader, so the same in every run, whatever the seed."""
    digest = hashlib.blake2b(f"{experiment.name}:{user_id}".encode(), digest_size=8).digest()
    point = int.from_bytes(digest) / 2**64
    for variant in experiment.variants:
        point -= variant.share
        if point < 0:
            return variant
    return experiment.variants[-1]
