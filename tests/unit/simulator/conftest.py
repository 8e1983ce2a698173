"""One run that several tests look at."""

import pytest

from include.simulator.plan import Plan
from include.simulator.traffic import Record, records

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
HOUR_MS = 3_600_000


@pytest.fixture(scope="session")
def usual_run() -> list[Record]:
    """150,000 events of two days, with the troubles of a usual day."""
    return list(records(Plan(START_MS, 48 * HOUR_MS, events=150_000, seed=7)))
