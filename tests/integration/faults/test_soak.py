"""A short soak: faults of any kind at any phase, in an order that nobody chose."""

import pytest

from tests.integration.faults.soak import soak

FAULTS = 14


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_faults_at_random_change_no_row() -> None:
    status, tally = soak(FAULTS, seed=11, minutes=25, lanes=1)
    assert status == 0, tally.table()
    assert tally.faults == FAULTS
    assert len(tally.struck) >= 6, tally.table()
