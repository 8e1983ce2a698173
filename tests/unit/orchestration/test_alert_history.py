"""Since when a task is not well, which a check that is skipped while it is well says in its own way."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from include.orchestration.alerts import _history
from include.orchestration.stream_checks.tasks import FaultOperator

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
DATED = SimpleNamespace(logical_date=NOON)


class Runs:
    """A task instance and the states of its runs before, newest first, a minute apart."""

    def __init__(self, task: Any, *states: str) -> None:
        self.task = task
        self.before = [
            SimpleNamespace(state=state, end_date=NOON - timedelta(minutes=number), start_date=None)
            for number, state in enumerate(states, start=1)
        ]

    def get_previous_ti(self, state: str | None = None) -> Any:
        """As RuntimeTaskInstance has it."""
        return next((run for run in self.before if state in (None, run.state)), None)


CHECK = FaultOperator(task_id="check_freshness")
OTHER = SimpleNamespace()


@pytest.mark.parametrize(
    ("task", "states", "well", "failed_before"),
    [
        (CHECK, ("failed", "failed", "skipped"), 3, True),
        (CHECK, ("skipped", "failed"), 1, False),
        (CHECK, ("failed",), None, True),
        (OTHER, ("failed", "skipped", "success"), 3, True),
        (OTHER, ("success",), 1, False),
        (OTHER, (), None, False),
    ],
)
def test_since_when(task: Any, states: tuple[str, ...], well: int | None, failed_before: bool) -> None:
    last_success, previous_failure = _history(Runs(task, *states), DATED)
    assert last_success == (None if well is None else NOON - timedelta(minutes=well))
    assert (previous_failure is not None) is failed_before


def test_a_run_without_a_date_has_no_run_before() -> None:
    undated = SimpleNamespace(logical_date=None)
    assert _history(Runs(CHECK, "failed"), undated) == (None, None)
