"""What "as before" means in figures: the population stability index, and ranges around a median. Pure Python."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

_SMOOTHING = 0.5
"""Added to each count, so that a value that one side has never seen gives a large figure and not an infinite one."""
_CONFIDENCE = 0.999
_Z = NormalDist().inv_cdf(_CONFIDENCE)
MAD_TO_SIGMA = 1.4826
"""Median absolute deviation of a normal distribution, times this, is its standard deviation."""


@dataclass(frozen=True)
class Psi:
    """`value`: the population stability index. `noise`: what samples of these sizes reach by chance, 1 in 1,000."""

    value: float
    noise: float
    most_moved: tuple[tuple[str, float, float], ...]
    """Values whose share changed most: (value, share before, share now)."""


def population_stability_index(before: Mapping[str, int], now: Mapping[str, int]) -> Psi | None:
    """PSI of two histograms (rows by value); None where one of them is empty.

    PSI = sum over values of (q - p) ln(q / p), with p and q the shares before and now: the symmetric Kullback-Leibler
    divergence (Jeffreys 1946); as an index of drift, with 0.1 and 0.25 as its usual limits, N. Siddiqi, Credit Risk
    Scorecards, Wiley 2006, chapter 9. Without drift PSI / (1/N + 1/M) follows chi-squared with (values - 1) degrees of
    freedom: B. Yurdakul, Statistical Properties of Population Stability Index, Western Michigan University 2018.
    Each count has _SMOOTHING added.
    """
    rows_before, rows_now = sum(before.values()), sum(now.values())
    if not rows_before or not rows_now:
        return None
    values = sorted({*before, *now})
    pairs = [
        (
            value,
            (before.get(value, 0) + _SMOOTHING) / (rows_before + _SMOOTHING * len(values)),
            (now.get(value, 0) + _SMOOTHING) / (rows_now + _SMOOTHING * len(values)),
        )
        for value in values
    ]
    index = sum((q - p) * math.log(q / p) for _, p, q in pairs)
    freedom = len(values) - 1
    noise = (1 / rows_before + 1 / rows_now) * _chi_squared_quantile(freedom) if freedom else 0.0
    moved = sorted(pairs, key=lambda pair: (pair[2] - pair[1]) * math.log(pair[2] / pair[1]), reverse=True)
    return Psi(index, noise, tuple(moved[:3]))


def _chi_squared_quantile(freedom: int) -> float:
    """Quantile at _CONFIDENCE, by E. Wilson and M. Hilferty (PNAS 17, 1931): within 3 %."""
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + _Z * math.sqrt(spread)) ** 3)


def robust_range(history: Sequence[float], z: float, least_share: float = 0.1) -> tuple[float, float]:
    """Values whose robust z-score against `history` (not empty) is at most `z`: median +- z * 1.4826 * MAD.

    The modified z-score of B. Iglewicz and D. Hoaglin, How to Detect and Handle Outliers, ASQC 1993 (they take 3.5).
    Each side is at least `least_share` of the median, and 1: a history without any spread would allow no other value.
    """
    middle = median(history)
    deviation = median(abs(value - middle) for value in history)
    reach = max(z * MAD_TO_SIGMA * deviation, least_share * abs(middle), 1.0)
    return middle - reach, middle + reach
