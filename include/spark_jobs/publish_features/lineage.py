"""Which generation of the stream a session's readings are published from.

A generation computes the sessions that began at its point or later, and copies the others from the one that
it follows. So time of beginning -> generation is a step function, and where the current generation changes,
only the sessions need to be published anew for which the steps differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

ALWAYS_MS = -(2**62)
NEVER_MS = 2**62


@dataclass(frozen=True)
class Origin:
    """What ops.stream_generations says of a generation. `point_ms` None: it computes everything itself."""

    point_ms: int | None = None
    follows: int | None = None


@dataclass(frozen=True)
class Span:
    """Sessions that began at `from_ms` or later and before `to_ms` (epoch ms) are of `generation`."""

    generation: int
    from_ms: int
    to_ms: int


@dataclass(frozen=True)
class Succession:
    """The published generation changed from `before`. Sessions that began at `from_ms` or later are published
    anew; `spans` says from which generation, and of which the older ones are."""

    before: int
    from_ms: int
    spans: tuple[Span, ...]

    @property
    def from_dt(self) -> str:
        """First partition that may hold such a session."""
        return f"{datetime.fromtimestamp(max(0, self.from_ms) / 1000, UTC):%Y-%m-%d}"


def spans(generation: int, origins: Mapping[int, Origin]) -> tuple[Span, ...]:
    """All of time, newest span first."""
    found: list[Span] = []
    to_ms = NEVER_MS
    while True:
        origin = origins.get(generation, Origin())
        from_ms = ALWAYS_MS if origin.point_ms is None or origin.follows is None else origin.point_ms
        if from_ms < to_ms:
            found.append(Span(generation, from_ms, to_ms))
            to_ms = from_ms
        if to_ms == ALWAYS_MS or origin.follows is None:
            return tuple(found)
        generation = origin.follows


def succession(before: int, now: int, origins: Mapping[int, Origin]) -> Succession | None:
    """What changes where generation `now` is published after `before`; None for the same generation."""
    if before == now:
        return None
    old, new = spans(before, origins), spans(now, origins)
    steps = sorted({span.from_ms for span in (*old, *new)})
    from_ms = next((step for step in steps if _owner(old, step) != _owner(new, step)), NEVER_MS)
    return Succession(before, from_ms, new)


def _owner(of: tuple[Span, ...], began_ms: int) -> int:
    return next(span.generation for span in of if span.from_ms <= began_ms < span.to_ms)
