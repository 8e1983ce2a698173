"""What is known of a day, and how it compares with the same day of the week before. Pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from include.orchestration.freshness.judge import Freshness

LISTED = 12
"""Countries and genres with a line of their own; the others are one line."""
EPISODES = 10
LEAST_READINGS = 10
"""An episode with fewer the week before is not called falling."""


@dataclass(frozen=True)
class Group:
    """Some final readings: how many, the mean of their completion_rate, the share with is_exit_tag."""

    readings: int
    completion_rate: float
    exit_rate: float


NOTHING = Group(0, 0.0, 0.0)


@dataclass(frozen=True)
class Cut:
    """Which publication the day's partition in Hive is of; `as_of`: newest event time of the cut."""

    cut_id: int
    as_of: datetime
    ledger_position: int
    published_at: datetime


@dataclass(frozen=True)
class Day:
    """Final readings that began on `dt` (UTC), and the events of that day that are archived.

    `events_by_hour` has 24 numbers, None for an hour without a partition; `cut` None: no reading is published.
    """

    dt: date
    cut: Cut | None = None
    total: Group = NOTHING
    readers: int = 0
    sessions: int = 0
    by_country: Mapping[str, Group] = field(default_factory=dict)
    by_genre: Mapping[str, Group] = field(default_factory=dict)
    by_episode: Mapping[str, Group] = field(default_factory=dict)
    events_by_hour: Sequence[int | None] = (None,) * 24
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    quarantined_events: int = 0

    @property
    def events(self) -> int:
        """Archived events, repeats included."""
        return sum(count or 0 for count in self.events_by_hour)


@dataclass(frozen=True)
class GateDay:
    """What a gate did on a day: runs that it judged, blocked, warned of."""

    gate: str
    runs: int
    blocked: int
    warned: int


@dataclass(frozen=True)
class FailedExpectation:
    """An expectation that failed on the day, in how many runs, and on how many rows in all."""

    gate: str
    expectation: str
    severity: str
    runs: int
    rows: int


@dataclass(frozen=True)
class QuarantinedSlice:
    """A slice put in quarantine on the day; `status` as it is now."""

    slice_id: str
    rows: int
    status: str
    failed: Sequence[str]


@dataclass(frozen=True)
class DeadlineMiss:
    """A run that still went on when its deadline had come."""

    dag_id: str
    run_id: str
    allowed_s: float
    missed_at: datetime


@dataclass(frozen=True)
class Operations:
    """How the day went for the system."""

    gates: Sequence[GateDay] = ()
    failed: Sequence[FailedExpectation] = ()
    quarantine: Sequence[QuarantinedSlice] = ()
    freshness: Mapping[str, Sequence[tuple[datetime, Freshness]]] = field(default_factory=dict)
    deadline_misses: Sequence[DeadlineMiss] = ()


@dataclass(frozen=True)
class Row:
    """A line of a table: the day, and the week before (NOTHING where it had no such reading)."""

    name: str
    now: Group
    before: Group


def merged(groups: Iterable[Group]) -> Group:
    """All readings of `groups` as one; rates weighed by readings."""
    listed = list(groups)
    readings = sum(group.readings for group in listed)
    if not readings:
        return NOTHING
    return Group(
        readings,
        sum(group.completion_rate * group.readings for group in listed) / readings,
        sum(group.exit_rate * group.readings for group in listed) / readings,
    )


def compared(now: Mapping[str, Group], before: Mapping[str, Group], most: int = LISTED) -> list[Row]:
    """Largest first, by the greater of both days, so that what has stopped is seen; beyond `most` one line."""
    names = sorted(
        {*now, *before},
        key=lambda name: (
            -max(now.get(name, NOTHING).readings, before.get(name, NOTHING).readings),
            name,
        ),
    )
    rows = [Row(name, now.get(name, NOTHING), before.get(name, NOTHING)) for name in names]
    if len(rows) <= most:
        return rows
    rest = rows[most - 1 :]
    others = Row(f"{len(rest)} others", merged(row.now for row in rest), merged(row.before for row in rest))
    return [*rows[: most - 1], others]


def top(day: Day, before: Day) -> list[Row]:
    """Most read episodes of the day."""
    names = sorted(day.by_episode, key=lambda name: (-day.by_episode[name].readings, name))[:EPISODES]
    return [Row(name, day.by_episode[name], before.by_episode.get(name, NOTHING)) for name in names]


def falling(day: Day, before: Day) -> list[Row]:
    """Episodes that lost most readings against the week before; none where one of the days has no readings at all."""
    if not day.by_episode or not before.by_episode:
        return []
    lost = {
        name: group.readings - day.by_episode.get(name, NOTHING).readings
        for name, group in before.by_episode.items()
        if group.readings >= LEAST_READINGS
    }
    names = sorted((name for name, count in lost.items() if count > 0), key=lambda name: (-lost[name], name))
    return [
        Row(name, day.by_episode.get(name, NOTHING), before.by_episode[name]) for name in names[:EPISODES]
    ]


def change(now: float, before: float) -> float | None:
    """Relative change; None where there was nothing before."""
    return now / before - 1 if before else None
