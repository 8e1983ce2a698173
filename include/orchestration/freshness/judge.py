"""Freshness judged against its SLO, and what is told of it. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from include.common.freshness_slos import PREFIX
from include.common.names import Pg
from include.orchestration.alert_text import duration, is_reminder_due, moment

SHARE = 0.99


@dataclass(frozen=True)
class Measured:
    """One table. `points`: (seconds from Kafka to its publication, how many events or rows) of the window.

    `waiting_s`: since the Kafka time of the oldest event that is not in it yet; None where nothing waits.
    `value_age_s`: age of its newest value by event time; None for an empty table.
    """

    table: str
    points: Sequence[tuple[float, int]]
    waiting_s: float | None
    value_age_s: float | None


@dataclass(frozen=True)
class Freshness:
    """A row of ops.freshness; columns of the same names say what is in them."""

    table: str
    published: int
    p50_s: float | None
    p99_s: float | None
    max_s: float | None
    waiting_s: float | None
    value_age_s: float | None
    slo_s: float
    missed_since: datetime | None = None
    told_at: datetime | None = None

    @property
    def met(self) -> bool | None:
        """None: idle. Nothing new because nothing was produced is no miss."""
        found = [seconds for seconds in (self.p99_s, self.waiting_s) if seconds is not None]
        return max(found) <= self.slo_s if found else None


def weighted_quantile(points: Iterable[tuple[float, int]], share: float) -> float | None:
    """The least value that at least `share` of the weight does not exceed; None without weight."""
    ordered = sorted(points)
    total = sum(weight for _, weight in ordered)
    reached = 0
    for value, weight in ordered:
        reached += weight
        if reached >= share * total > 0:
            return value
    return None


def judge(found: Measured, slo_s: float, previous: Freshness | None, at: datetime) -> Freshness:
    """The row for `found` after `previous`, the table's row before it: a breach keeps its beginning and what was told."""
    points = [(max(0.0, seconds), weight) for seconds, weight in found.points if weight > 0]
    row = Freshness(
        found.table,
        sum(weight for _, weight in points),
        weighted_quantile(points, 0.5),
        weighted_quantile(points, SHARE),
        max((seconds for seconds, _ in points), default=None),
        found.waiting_s,
        found.value_age_s,
        slo_s,
    )
    before = previous or row
    if row.met is False:
        # a breach whose end was never told goes on
        return replace(row, missed_since=before.missed_since or at, told_at=before.told_at)
    if before.told_at is not None:
        return replace(row, missed_since=before.missed_since, told_at=before.told_at)
    return row


@dataclass(frozen=True)
class News:
    """What is to be told now: breaches not told yet (or an hour ago), and breaches that have ended."""

    missed: list[Freshness]
    recovered: list[Freshness]


def news(rows: Iterable[Freshness], now: datetime) -> News:
    """Of the newest row of each table."""
    missed, recovered = [], []
    for row in rows:
        if row.met is not False:
            if row.told_at is not None:
                recovered.append(row)
        elif row.told_at is None or is_reminder_due(row.missed_since, row.told_at, now):
            missed.append(row)
    return News(missed, recovered)


def missed_lines(rows: Iterable[Freshness], now: datetime) -> list[str]:
    """One line for tables with the same figures."""
    return _grouped({row.table: _why(row, now) for row in rows})


def recovered_lines(rows: Iterable[Freshness], now: datetime) -> list[str]:
    """The same for breaches that have ended."""
    return _grouped({row.table: f"was missed since {_since(row, now)}" for row in rows})


def _why(row: Freshness, now: datetime) -> str:
    faults = []
    if row.p99_s is not None and row.p99_s > row.slo_s:
        faults.append(f"99 % of what came in the last 10 min took up to {seconds(row.p99_s)}")
    if row.waiting_s is not None and row.waiting_s > row.slo_s:
        faults.append(f"an event has waited for {seconds(row.waiting_s)}")
    return (
        f"{', '.join(faults)} (SLO {seconds(row.slo_s)}, {Pg.THRESHOLDS} {PREFIX}<table>); "
        f"since {_since(row, now)}"
    )


def _since(row: Freshness, now: datetime) -> str:
    if row.missed_since is None:
        return "an unknown time"
    return f"{moment(row.missed_since)} ({duration(now - row.missed_since)})"


def _grouped(texts: Mapping[str, str]) -> list[str]:
    tables: dict[str, list[str]] = {}
    for table, text in texts.items():
        tables.setdefault(text, []).append(table)
    return [f"{', '.join(names)}: {text}" for text, names in tables.items()]


def seconds(value: float) -> str:
    """`1.3 s` below a minute, `12 min` or `3 h 5 min` from there on."""
    return f"{value:.1f} s" if value < 60 else duration(timedelta(seconds=value))
