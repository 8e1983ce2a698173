"""What the parts of the reconciliation hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any

DAY_MS = 86_400_000
ALWAYS_MS = -(2**62)
NEVER_MS = 2**62
FUTURE_MS = 300_000
"""An event may be this far ahead of its Kafka record (DESIGN section 4)."""

Offsets = Mapping[int, int]
"""Kafka partition -> offset."""


class ReconcileError(RuntimeError):
    """It cannot be compared at all; the message says the mend."""


class Verdict(StrEnum):
    """Of a day. NOT_CHECKED says nothing about its rows."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NOT_CHECKED = "not_checked"


@dataclass(frozen=True)
class Day:
    """A UTC date: a partition of session_features."""

    value: date

    @classmethod
    def of_ms(cls, epoch_ms: int) -> "Day":
        """The day of an instant."""
        return cls(datetime.fromtimestamp(epoch_ms // 1000, UTC).date())

    @property
    def dt(self) -> str:
        """The partition's value."""
        return self.value.isoformat()

    @property
    def from_ms(self) -> int:
        """Its first millisecond."""
        return (self.value - date(1970, 1, 1)) // timedelta(milliseconds=1)

    @property
    def to_ms(self) -> int:
        """The first millisecond after it."""
        return self.from_ms + DAY_MS


@dataclass(frozen=True)
class Rules:
    """Settings of a generation; durations in milliseconds."""

    gap_ms: int
    max_length_ms: int
    lateness_ms: int
    dwell_cap_ms: int
    buckets_per_partition: int

    @property
    def memory_ms(self) -> int:
        """How far behind its clock a bucket can still hold an event of a session."""
        return self.max_length_ms + self.gap_ms + self.lateness_ms


@dataclass(frozen=True)
class Gap:
    """Offsets [from_offset, to_offset) that the generation has read and the archive does not hold. `newest_ms`: Kafka
    time of the newest record that the ledger saw in the micro-batches of that range; None where it does not say."""

    partition: int
    from_offset: int
    to_offset: int
    newest_ms: int | None


@dataclass(frozen=True)
class Span:
    """Sessions that began in [from_ms, to_ms) are published from `generation`, which read [start, end) by partition.

    `is_current`: it is the one that was published last; of an older one, what was open at its end stayed open.
    """

    generation: int
    rules: Rules
    from_ms: int
    to_ms: int
    start: Offsets
    end: Offsets
    is_current: bool
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True)
class Published:
    """What is compared with: the newest publication, and of which generations its sessions are, newest first.

    `next_generation`: of the newest published cut; another one is on its way to Hive.
    """

    generation: int
    ledger_position: int
    spans: tuple[Span, ...]
    next_generation: int


@dataclass(frozen=True)
class Coverage:
    """What one recomputation rested on. `window`: event times read; `open_sessions`: with readings that began on the
    day and are not final yet; `newest_clock_ms`: of the bucket that has come furthest; `needs_earlier`: it would have read
    further back, and there was nothing."""

    window_from_ms: int
    window_to_ms: int
    events: int
    open_sessions: int
    newest_clock_ms: int | None
    needs_earlier: bool
    gaps_on_day: tuple[Gap, ...]


@dataclass(frozen=True)
class Comparison:
    """Rows of one day. `by_column`: of the differing ones; `late_faults`: what is wrong with the list of late events.

    `genre_unknown_then`: equal but for a genre that reference did not know when the row was published.
    """

    rows_equal: int
    differing: int
    only_published: int
    only_recomputed: int
    doubled: int
    by_column: Mapping[str, int]
    late_checked: int
    late_faults: Mapping[str, int]
    genre_unknown_then: int = 0
    samples: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @property
    def different(self) -> int:
        """Rows, and entries of the late list, that are not as they should be."""
        rows = self.differing + self.only_published + self.only_recomputed + self.doubled
        return rows + sum(self.late_faults.values())


@dataclass(frozen=True)
class Outcome:
    """A day's verdict. `reason` says why it, or some of its rows, could not be checked; `comparison` is there for what was."""

    day: Day
    verdict: Verdict
    reason: str | None
    generation: int | None
    ledger_position: int | None
    location: str | None
    comparison: Comparison | None
    events_read: int
    seconds: float
