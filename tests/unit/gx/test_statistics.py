"""Drift and outliers in figures, against values worked out by hand."""

import math
import random
from collections import Counter

import pytest

from include.gx.history import CutHistory, SliceHistory
from include.gx.statistics import population_stability_index, robust_range


def test_psi_of_a_hand_computed_case() -> None:
    """Large counts, so that smoothing changes no digit shown: 0.1 ln(0.6/0.5) + -0.1 ln(0.4/0.5) = 0.04055."""
    found = population_stability_index({"a": 5_000_000, "b": 5_000_000}, {"a": 6_000_000, "b": 4_000_000})
    assert found is not None
    assert found.value == pytest.approx(0.1 * math.log(1.2) - 0.1 * math.log(0.8), rel=1e-4)
    assert found.value == pytest.approx(0.04055, abs=1e-4)
    assert [moved[0] for moved in found.most_moved] == ["b", "a"]


def test_psi_is_symmetric_zero_without_drift_and_finite_for_a_new_value() -> None:
    before, now = {"a": 70, "b": 30}, {"a": 20, "b": 75, "c": 5}
    there, back = population_stability_index(before, now), population_stability_index(now, before)
    assert there is not None
    assert back is not None
    assert there.value == pytest.approx(back.value)
    assert math.isfinite(there.value)
    same = population_stability_index(before, before)
    assert same is not None
    assert same.value == 0
    assert population_stability_index({}, now) is population_stability_index(before, {}) is None


def test_samples_of_one_distribution_stay_within_the_noise() -> None:
    """1 in 1,000 by design; of 300 pairs of small samples at most 3."""
    draw = random.Random(7)
    shares = {"KR": 50, "US": 20, "JP": 10, "TH": 8, "ID": 6, "FR": 4, "BR": 2}

    def sample(rows: int) -> Counter[str]:
        return Counter(draw.choices(list(shares), weights=list(shares.values()), k=rows))

    found = [population_stability_index(sample(600), sample(80)) for _ in range(300)]
    assert sum(psi is None or psi.value > psi.noise for psi in found) <= 3
    assert any(psi is not None and psi.value > 0.1 for psi in found), (
        "the usual limits alone would warn of noise"
    )


@pytest.mark.parametrize(
    ("history", "low", "high"),
    [
        # median 12, absolute deviations 0 1 1 2 88, their median 1: 12 +- 5 * 1.4826
        ([10, 11, 12, 13, 100], 12 - 7.413, 12 + 7.413),
        # no spread: a tenth of the median
        ([1000] * 10, 900, 1100),
        ([2, 2, 2], 1, 3),
        ([0.0], -1, 1),
    ],
)
def test_range_around_a_median(history: list[float], low: float, high: float) -> None:
    assert robust_range(history, 5) == pytest.approx((low, high))


def test_what_is_missing_of_a_history_is_said() -> None:
    assert SliceHistory(0).drift_not_checked() == "0 earlier slices, 3 needed"
    assert SliceHistory(0, slices=3).drift_not_checked() is None
    assert SliceHistory(0, 600, [1.0] * 2).volume_not_checked() == (
        "2 earlier days with slices in this hour, 3 needed"
    )
    assert CutHistory(new_readings=99).not_checked("dwell_time_ms") == "99 new readings, 100 needed"
    assert CutHistory(new_readings=100).not_checked("dwell_time_ms") == "0 earlier cuts, 10 needed"
    assert CutHistory(new_readings=100, quantiles={"a": [(1, 2)] * 10}).not_checked("a") is None
