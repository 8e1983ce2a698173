"""What the triggerer imports when a deadline is missed (named by include.orchestration.deadlines.CALLBACK)."""

from include.orchestration.deadlines import tell_missed_deadline

__all__ = ["tell_missed_deadline"]
