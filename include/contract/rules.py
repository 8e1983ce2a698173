"""The durations that decide where a session ends (DESIGN section 4)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SessionRules:
    """All in milliseconds. A stream generation records the rules it was made with."""

    gap_ms: int = 30 * 60_000
    """A longer silence than this ends a session; exactly this does not."""
    max_length_ms: int = 24 * 3_600_000
    """An event later than this after the session's start begins a new one; exactly this does not."""
    lateness_ms: int = 2 * 60_000
    """An event further behind the bucket's clock than this is late; exactly this is not."""
    dwell_cap_ms: int = 5 * 60_000
    """The most that one pause between two events adds to dwell time."""

    def __post_init__(self) -> None:
        for name in ("gap_ms", "max_length_ms", "dwell_cap_ms"):
            if getattr(self, name) <= 0:
                raise ValueError(f"SessionRules.{name} must be above 0 ms")
        if self.lateness_ms < 0:
            raise ValueError("SessionRules.lateness_ms must not be negative")
