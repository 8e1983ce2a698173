"""Thresholds: settings of model and gates that people change without a deployment.

Every name that the code reads from `reference.thresholds` stands here with its default, once. DAG
`reference__load` writes the defaults where the table lacks them; another value comes from thresholds.csv.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Threshold:
    """One setting; `minimum` and `maximum` (both allowed) bound what a person may set."""

    name: str
    default: float
    unit: str
    meaning: str
    minimum: float
    maximum: float


def _share(name: str, default: float, meaning: str) -> Threshold:
    return Threshold(name, default, "share", meaning, 0, 1)


THRESHOLDS: Final = {
    threshold.name: threshold
    for threshold in (
        Threshold(
            "popularity_window_days", 7, "days", "readings that ended longer ago do not count for popularity", 0.1, 365
        ),
        Threshold(
            "popularity_half_life_hours", 24, "hours", "after this time a reading counts half for popularity", 0.1, 8760
        ),
        _share("popularity_exited_weight", 0.5, "what an exited or timed-out reading counts for popularity"),
        _share("raw_dead_letter_share", 0.05, "most dead letters among the records of an archive slice"),
        _share("raw_repeated_event_share", 0.10, "most repeated event ids among the records of an archive slice"),
        _share("raw_unknown_episode_share", 0.01, "most events of unknown episodes in an archive slice"),
        _share("reference_removed_share", 0.1, "most rows of a reference table that a load removes without being asked"),
        _share("reference_changed_share", 0.5, "most rows of a reference table that a load changes without being asked"),
        Threshold(
            "reference_free_rows", 10, "rows", "so many rows of a table may be removed or changed whatever the share", 0, 1e6
        ),
    )
}  # fmt: skip


def default_of(name: str) -> float:
    """Default of threshold `name`; raises KeyError for one that does not stand here."""
    return THRESHOLDS[name].default
