"""The trigger form of features__backfill, and what it asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from airflow.sdk import Param

from include.orchestration.reconcile.model import Day

MOST_DAYS: Final = 62
PARAMS: Final = {
    "first_day": Param(
        None, type=["null", "string"], format="date", title="First day",
        description="UTC, of started_at: a partition of session_features",
    ),
    "last_day": Param(
        None, type=["null", "string"], format="date", title="Last day",
        description=f"Included. Empty: the first day alone. At most {MOST_DAYS} days a run",
    ),
    "apply_late_events": Param(
        False, type="boolean", title="Apply late events",
        description="Make the late-corrected revision: readings also count the events that arrived too late for the "
        "stream. features__reconcile then leaves their sessions out of its comparison of these days",
    ),
    "dry_run": Param(
        True, type="boolean", title="Dry run",
        description="Rebuild and compare, but publish nothing: the outcome by day is in the log of report_outcome",
    ),
}  # fmt: skip
"""The trigger form."""


class FormError(ValueError):
    """The form asks for something impossible; the message says the mend."""


@dataclass(frozen=True)
class Wish:
    """What the form asks for. `days`: a range without a gap, the oldest first."""

    days: Sequence[Day]
    apply_late_events: bool
    dry_run: bool

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> "Wish":
        """Raises FormError."""
        first, last = form["first_day"], form["last_day"] or form["first_day"]
        if not first:
            raise FormError(
                "first_day is empty: trigger again with the day, or the range of days, to rebuild"
            )
        try:
            numbers = date.fromisoformat(first).toordinal(), date.fromisoformat(last).toordinal()
        except ValueError as error:
            raise FormError(f"{error}: days are written YYYY-MM-DD. Trigger again") from error
        days = [Day(date.fromordinal(number)) for number in range(numbers[0], numbers[1] + 1)]
        if not 0 < len(days) <= MOST_DAYS:
            raise FormError(f"{first} to {last} is no range of 1 to {MOST_DAYS} days: trigger again")
        return cls(days, bool(form["apply_late_events"]), bool(form["dry_run"]))
