"""What a slice, or a cut, is compared with: the figures of earlier ones, and whether there are enough of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

VOLUME_DAYS, DRIFT_SLICES, OUTLIER_CUTS, OUTLIER_Z = REACH = (
    "raw_volume_days", "drift_slices", "outlier_cuts", "outlier_z",
)  # fmt: skip
"""Names in reference.thresholds: how far back is looked, and how far off a quantile may be."""
MIN_DAYS = 3
"""Earlier days with archived slices in the same hour, without which a volume has no verdict."""
MIN_SLICES = 3
MIN_CUTS = 10
MIN_READINGS = 100
"""New readings of a cut, without which its quantiles say nothing."""


@dataclass(frozen=True)
class SliceHistory:
    """For the raw gate.

    `recorded_at_ms`: when the slice's offsets were fixed, epoch ms. `seconds`: of arrivals that the slice covers, None
    for the first one. `daily_rates`: records/s in the same UTC hour of earlier days. `counts`: rows by value in the
    last `slices` published slices, by column.
    """

    recorded_at_ms: int
    seconds: float | None = None
    daily_rates: Sequence[float] = ()
    slices: int = 0
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def expected_records(self) -> float:
        """Records of a slice of this length on a day as most; 0 without history."""
        return median(self.daily_rates) * self.seconds if self.daily_rates and self.seconds else 0.0

    def volume_not_checked(self) -> str | None:
        """Why the volume has no verdict."""
        if self.seconds is None:
            return "the first slice: how long it took to arrive is not known"
        return _too_few(len(self.daily_rates), MIN_DAYS, "earlier days with slices in this hour")

    def drift_not_checked(self) -> str | None:
        """Why the distributions have no verdict."""
        return _too_few(self.slices, MIN_SLICES, "earlier slices")


@dataclass(frozen=True)
class CutHistory:
    """For the session gate: readings new since the cut before (after `ledger_position`), against earlier cuts' new ones.

    `quantiles`: by column, for each earlier cut the values of its quantiles.
    """

    ledger_position: int = 0
    new_readings: int = 0
    quantiles: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)

    def not_checked(self, column: str) -> str | None:
        """Why the quantiles of `column` have no verdict."""
        return _too_few(self.new_readings, MIN_READINGS, "new readings") or _too_few(
            len(self.quantiles.get(column, ())), MIN_CUTS, "earlier cuts"
        )


def _too_few(have: int, needed: int, what: str) -> str | None:
    return f"{have} {what}, {needed} needed" if have < needed else None
