"""Thresholds: settings of model and gates that people change without a deployment.

Every name that the code reads from `reference.thresholds` stands here with its default, once. DAG
`reference__load` writes the defaults where the table lacks them; another value comes from thresholds.csv.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from include.common.names import Pg

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg

from include.common.freshness_slos import PUBLISHED


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


def _days(name: str, default: float, meaning: str) -> Threshold:
    """More than the week that Kafka keeps: within it a slice or a generation may be read again."""
    return Threshold(name, default, "days", meaning, 8, 36_500)


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
        _share("raw_volume_least", 0.3, "least records of an archive slice, of what earlier days had in this hour"),
        Threshold(
            "raw_volume_most", 3, "times", "most records of an archive slice, of what earlier days had in this hour", 1,
            1000,
        ),
        Threshold("raw_volume_days", 7, "days", "earlier days that a slice's volume is compared with", 1, 90),
        Threshold(
            "raw_newest_event_minutes", 60, "minutes",
            "most between a slice's newest event and the time when its offsets were fixed", 1, 525_600,
        ),
        Threshold("drift_psi", 0.25, "PSI", "largest drift of country, device and genre in an archive slice", 0, 100),
        Threshold("drift_slices", 12, "slices", "earlier slices that a distribution is compared with", 3, 1000),
        Threshold("outlier_z", 5, "robust z", "furthest that a quantile of new readings may lie from earlier cuts'", 1, 100),
        Threshold("outlier_cuts", 50, "cuts", "earlier cuts that quantiles of new readings are compared with", 10, 1000),
        _days("retention_raw_events_days", 400, "Hive keeps raw events, quarantined ones and dead letters for so many days"),
        _days("retention_features_days", 800, "Hive keeps published features of so many days before today"),
        _days(
            "retention_realtime_days", 14,
            "realtime keeps rows that changed within so many days, and within popularity_window_days",
        ),
        _days("retention_landing_days", 30, "landing files that are published stay so long"),
        *(
            Threshold(table.threshold, table.slo_s, "seconds", f"freshness that 99 % of {table.name} keep", 1, 604_800)
            for table in PUBLISHED
        ),
    )
}  # fmt: skip


def in_force(connection: "psycopg.Connection", at: "datetime | None" = None) -> dict[str, float]:
    """Every threshold's value `at` a time (None: now): what reference.thresholds states, or the default."""
    rows = connection.execute(
        f"SELECT name, value FROM {Pg.THRESHOLDS}"  # noqa: S608  a constant
        " WHERE valid_from <= coalesce(%(at)s, now()) AND coalesce(%(at)s, now()) < valid_to",
        {"at": at},
    )
    stated = {name: float(value) for name, value in rows}
    return {threshold.name: threshold.default for threshold in THRESHOLDS.values()} | stated


def default_of(name: str) -> float:
    """Default of threshold `name`; raises KeyError for one that does not stand here."""
    return THRESHOLDS[name].default
