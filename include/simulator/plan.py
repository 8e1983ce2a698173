"""What a run is to produce: checked when it is made, so that a wrong wish never reaches the broker."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from include.contract.event import MAX_TIMESTAMP_MS, DeadLetterReason
from include.simulator.disorder import Disorder
from include.simulator.faults import MAKERS, UNKNOWN_EPISODE
from include.simulator.timeline import WARM_UP_MS

DEFAULT_EVENTS: Final = 40_000
DEFAULT_READERS: Final = 5_000
DEFAULT_HOURS: Final = 6.0
DEFAULT_SEED: Final = 1
MAX_EVENTS: Final = 100_000_000
MAX_READERS: Final = 1_000_000
MIN_HOURS: Final = 1 / 3600
MAX_HOURS: Final = 24.0 * 31
MIN_RATE: Final = 0.01
MAX_RATE: Final = 100_000.0
MAX_BAD_SHARE: Final = 0.95
"""Of all records: some good events must be left for the bad ones to be copies of."""

DISORDER_SHARES: Final = {"out_of_order": 0.08, "late": 0.004, "duplicate": 0.02}
"""Of the good events."""
FAULT_SHARES: Final = {
    # a mebibyte each, and what the raw gate is there to block: when asked for only
    kind: 0.0 if kind in (UNKNOWN_EPISODE, DeadLetterReason.TOO_LARGE) else 0.001
    for kind in MAKERS
}
"""Of all records. The usual ones together are small enough for the raw gate."""
DEFAULT_SHARES: Final = {**DISORDER_SHARES, **FAULT_SHARES}
"""Every kind of trouble that can be set, and its usual share, 0 to 1."""
NO_TROUBLE: Final = dict.fromkeys(DEFAULT_SHARES, 0.0)
_WARM_UP_MS_PER_EVENT: Final = 0.01


class PlanError(ValueError):
    """A run cannot be as it was asked for; the message says what is wrong and what is possible."""


def _check(name: str, value: float, least: float, most: float) -> None:
    if not (math.isfinite(value) and least <= value <= most):
        raise PlanError(f"{name} is {value:g}; it must be from {least:g} to {most:g}")


@dataclass(frozen=True)
class Plan:
    """A run. `start_ms` (epoch ms) and everything else equal: the same bytes in the same order.

    Backfill (`rate` None): `events` events of the period [start_ms, start_ms + duration_ms].
    Live (`rate` in events a second): events as time goes by from `start_ms` on, until `duration_ms` has passed or
    `events` were made, whichever comes first; for ever where both are None.
    """

    start_ms: int
    duration_ms: int | None = int(DEFAULT_HOURS * 3_600_000)
    events: int | None = DEFAULT_EVENTS
    readers: int = DEFAULT_READERS
    seed: int = DEFAULT_SEED
    rate: float | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: DEFAULT_SHARES)
    """Kind of trouble -> share; a kind that is left out does not happen."""

    def __post_init__(self) -> None:
        if self.rate is None and (self.events is None or self.duration_ms is None):
            raise PlanError("a backfill needs a number of events and a period; or give a rate to run live")
        _check("readers", self.readers, 1, MAX_READERS)
        if self.rate is not None:
            _check("rate", self.rate, MIN_RATE, MAX_RATE)
        if self.events is not None:
            _check("events", self.events, 1, MAX_EVENTS)
        if self.duration_ms is not None:
            _check("the period in hours", self.duration_ms / 3_600_000, MIN_HOURS, MAX_HOURS)
        _check("start", self.start_ms, 0, MAX_TIMESTAMP_MS - MAX_HOURS * 3_600_000)
        unknown = set(self.shares) - set(DEFAULT_SHARES)
        if unknown:
            raise PlanError(
                f"unknown kind of trouble: {', '.join(sorted(unknown))}; there are {', '.join(DEFAULT_SHARES)}"
            )
        for kind, share in self.shares.items():
            _check(f"share of {kind}", share, 0.0, 1.0)
        _check("shares of out_of_order and late together", self._sum("out_of_order", "late"), 0.0, 1.0)
        _check("shares of bad records together", self._sum(*FAULT_SHARES), 0.0, MAX_BAD_SHARE)

    @classmethod
    def backfill(
        cls, now_ms: int, *, hours: float = DEFAULT_HOURS, start_ms: int | None = None, **wishes: Any
    ) -> Self:
        """Events of a period that is over: `hours` long, ending at `now_ms` where no start is given.

        Raises PlanError where it would reach beyond `now_ms`: nobody has read tomorrow yet.
        """
        _check("the period in hours", hours, MIN_HOURS, MAX_HOURS)
        duration_ms = int(hours * 3_600_000)
        start_ms = now_ms - duration_ms if start_ms is None else start_ms
        if start_ms + duration_ms > now_ms:
            ahead_min = (start_ms + duration_ms - now_ms) / 60_000
            raise PlanError(
                f"the period would end {ahead_min:.1f} min in the future: begin earlier, take fewer hours, or give "
                f"a rate to produce as time goes by"
            )
        return cls(start_ms, duration_ms, **wishes)

    @classmethod
    def live(
        cls,
        now_ms: int,
        *,
        rate: float,
        duration_s: float | None = None,
        events: int | None = None,
        **wishes: Any,
    ) -> Self:
        """`rate` events a second as time goes by, from a moment after `now_ms`: finding out who is in the middle of a
        visit comes first, and takes the longer the higher the rate.
        """
        _check("rate", rate, MIN_RATE, MAX_RATE)
        start_ms = now_ms + 500 + int(rate * WARM_UP_MS / 1000 * _WARM_UP_MS_PER_EVENT)
        duration_ms = None if duration_s is None else int(duration_s * 1000)
        return cls(start_ms, duration_ms, events, rate=rate, **wishes)

    def _sum(self, *kinds: str) -> float:
        return math.fsum(self.shares.get(kind, 0.0) for kind in kinds)

    @property
    def end_ms(self) -> int | None:
        """Where the period ends, epoch ms; None where it does not."""
        return None if self.duration_ms is None else self.start_ms + self.duration_ms

    @property
    def disorder(self) -> Disorder:
        """Shares of the good events."""
        return Disorder(**{f"{kind}_share": self.shares.get(kind, 0.0) for kind in DISORDER_SHARES})

    @property
    def faults(self) -> dict[str, float]:
        """Kind -> share of all records, of the bad ones that happen."""
        return {kind: self.shares[kind] for kind in FAULT_SHARES if self.shares.get(kind, 0.0) > 0}
