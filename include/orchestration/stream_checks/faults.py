"""What is wrong with the stream, by what was measured. Pure functions; each text has figure, limit and variable."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from include.common.names import Var
from include.orchestration.alert_text import duration, moment
from include.orchestration.stream_checks.measure import Measurement

LEAST_EVENTS = 100
"""Shares of fewer events say nothing."""
PROGRESS, LAG_GROWTH, DEAD_LETTERS, FRESHNESS = (
    "check_progress", "check_lag_growth", "check_dead_letters", "check_freshness"
)  # fmt: skip
CHECKS = (PROGRESS, LAG_GROWTH, DEAD_LETTERS, FRESHNESS)
"""Task ids, and sections of the runbook."""


@dataclass(frozen=True)
class Limits:
    """What is allowed, by the variables of the same names."""

    progress: timedelta
    lag_growth_records: int
    dead_letter_percent: float
    freshness_s: float


def faults(found: Measurement, limits: Limits) -> Mapping[str, str]:
    """Check -> what is wrong. A stream that commits nothing is told as that only: the rest follows from it."""
    standstill = _progress(found, limits)
    if standstill is not None:
        return {PROGRESS: standstill}
    texts = {
        LAG_GROWTH: _lag_growth(found, limits),
        DEAD_LETTERS: _dead_letters(found, limits),
        FRESHNESS: _freshness(found, limits),
    }
    return {check: text for check, text in texts.items() if text is not None}


def _progress(found: Measurement, limits: Limits) -> str | None:
    silent = found.at - found.last_commit
    if silent <= limits.progress or not found.overdue_records:
        return None
    return (
        f"no micro-batch committed since {moment(found.last_commit)}, {duration(silent)} ago, while "
        f"{found.overdue_records} records wait for longer than {duration(limits.progress)} (the limit, variable "
        f"{Var.STREAM_PROGRESS_LIMIT_S})"
    )


def _lag_growth(found: Measurement, limits: Limits) -> str | None:
    if not found.lags:
        return None
    first, middle, last = found.lags
    if not first < middle < last or last - first <= limits.lag_growth_records:
        return None
    half = duration(found.span / 2)
    return (
        f"the stream falls behind: {first} records {duration(found.span)} ago, {middle} {half} ago, {last} now, "
        f"{last - first} more (allowed {limits.lag_growth_records}, variable {Var.STREAM_LAG_GROWTH_LIMIT})"
    )


def _dead_letters(found: Measurement, limits: Limits) -> str | None:
    percent = 100 * found.dead_letters / found.events if found.events >= LEAST_EVENTS else 0.0
    if percent <= limits.dead_letter_percent:
        return None
    return (
        f"{percent:.2g} % of the records committed since {moment(found.counted_from)} are dead letters "
        f"({found.dead_letters} of {found.events}; allowed {limits.dead_letter_percent:g} %, variable "
        f"{Var.DEAD_LETTER_LIMIT_PERCENT})"
    )


def _freshness(found: Measurement, limits: Limits) -> str | None:
    worst = found.p99_freshness_s
    if worst is None or worst <= limits.freshness_s or found.events < LEAST_EVENTS:
        return None
    return (
        f"freshness: 99 % of the {found.events} records committed since {moment(found.counted_from)} took up to "
        f"{worst:.1f} s from Kafka to the commit (allowed {limits.freshness_s:g} s, variable {Var.FRESHNESS_LIMIT_S})"
    )
