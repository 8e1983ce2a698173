"""What a slice is compared with, and the history page's figures, on a real PostgreSQL."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from include.common.archive.slices import SliceError
from include.common.thresholds import in_force
from include.gx.history import SliceHistory
from include.orchestration.gate_history.history import slice_history
from include.orchestration.gate_history.page import read_gate_history

NOW = datetime.now(UTC).replace(minute=30, second=0, microsecond=0)
COLUMNS = ("country", "device")


class Slices:
    """Rows that the archive and its gate would leave."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def add(
        self, slice_id: str, at: datetime, produced: int, status: str = "published", topic: str = "t"
    ) -> None:
        """One slice, recorded `at`."""
        self.connection.execute(
            "INSERT INTO ops.archive_slices (slice_id, run_id, topic, start_offsets, end_offsets, status, produced,"
            " recorded_at) VALUES (%s, 'run-' || %s, %s, '{}', '{}', %s, %s, %s)",
            (slice_id, slice_id, topic, status, produced, at),
        )

    def check(self, slice_id: str, expectation: str, success: bool | None, **observed: Any) -> None:
        """One result of the raw gate on it."""
        self.connection.execute(
            "INSERT INTO quality.gate_results (gate, dag_id, run_id, subject, expectation, severity, success,"
            " unexpected_count, observed_value, not_checked) VALUES ('raw_events', 'events__archive', 'run-' || %s,"
            " 'slice', %s, 'warning', %s, 3, %s, %s)",
            (
                slice_id,
                expectation,
                success,
                json.dumps(observed),
                None if success is not None else "too few",
            ),
        )

    def history(self, slice_id: str, **thresholds: float) -> SliceHistory:
        """What the slice is compared with."""
        limits = in_force(self.connection) | thresholds
        return slice_history(self.connection, slice_id, "raw_events", COLUMNS, limits)


@pytest.fixture
def slices(feature_db: str) -> Iterator[Slices]:
    with psycopg.connect(feature_db, autocommit=True) as connection:
        yield Slices(connection)


def test_volume_is_compared_with_the_same_hour_of_earlier_days(slices: Slices) -> None:
    minutes = timedelta(minutes=1)
    for day, produced in ((9, 9_000), (3, 600), (2, 1_200), (1, 1_800)):
        at = NOW - timedelta(days=day)
        slices.add(f"before-{day}", at - 70 * minutes, 77_777)  # another hour
        slices.add(f"{day}-a", at - 10 * minutes, produced)  # of 60 min
        slices.add(f"{day}-b", at, produced // 6)  # of 10 min: the same rate
    slices.add("elsewhere", NOW - timedelta(days=1) + minutes, 10**6, topic="other")
    slices.add("today", NOW - 10 * minutes, 5_000)
    slices.add("this", NOW, 500)
    slices.add("later", NOW + minutes, 10**6)
    found = slices.history("this")
    assert found.recorded_at_ms == NOW.timestamp() * 1000
    assert found.seconds == 600
    assert found.daily_rates == pytest.approx([600 / 3600, 1_200 / 3600, 1_800 / 3600])
    assert found.expected_records() == pytest.approx(200)
    assert found.volume_not_checked() is None
    assert len(slices.history("this", raw_volume_days=9).daily_rates) == 4
    few = slices.history("this", raw_volume_days=2)
    assert few.volume_not_checked() == "2 earlier days with slices in this hour, 3 needed"


def test_the_first_slice_has_no_history_and_an_unknown_one_is_refused(slices: Slices) -> None:
    slices.add("first", NOW, 5)
    found = slices.history("first")
    assert (found.seconds, list(found.daily_rates), found.slices) == (None, [], 0)
    assert found.volume_not_checked() is not None
    assert found.drift_not_checked() == "0 earlier slices, 3 needed"
    with pytest.raises(SliceError, match="'nonesuch' is not recorded"):
        slices.history("nonesuch")


def test_distributions_are_those_of_the_last_published_slices(slices: Slices) -> None:
    for number in range(6):
        name = f"s{number}"
        slices.add(name, NOW + timedelta(minutes=number), 10, "quarantined" if number == 3 else "published")
        slices.check(name, "country_drift", success=True, observed={"counts": {"XX": 1}})  # an earlier try
        slices.check(name, "country_drift", success=None, observed={"counts": {"KR": 10**number}})
        slices.check(name, "device_drift", success=False, observed={"counts": {"phone": 1, "tablet": number}})
        slices.check(name, "device_allowed", success=True)
    found = slices.history("s5", drift_slices=3)
    assert found.slices == 3
    assert found.counts == {
        "country": {"KR": 10**4 + 10**2 + 10},
        "device": {"phone": 3, "tablet": 4 + 2 + 1},
    }
    assert slices.history("s0").counts == {"country": {}, "device": {}}


def test_the_page_shows_each_expectation_with_its_newest_failure(slices: Slices, feature_db: str) -> None:
    slices.check("a", "share", success=False, observed="first")
    slices.check("b", "share", success=False, observed="second")
    slices.check("c", "share", success=True)
    slices.check("d", "share", success=None)
    slices.check("d", "range", success=True)
    history = read_gate_history(feature_db, "raw_events", NOW)
    assert [row["expectation"] for row in history.expectations] == ["share", "range"]
    share, whole = history.expectations
    assert (share["checks"], share["failures"], share["without_verdict"]) == (4, 2, 1)
    assert share["verdicts"] == ["warning", "warning", "ok", "none"]
    assert (share["failed_run_id"], share["failed_observed"]) == ("run-b", {"observed": "second"})
    assert (whole["failures"], whole["failed_at"], whole["verdicts"]) == (0, None, ["ok"])
    assert read_gate_history(feature_db, "another", NOW).expectations == []
    assert len(read_gate_history(feature_db, None, NOW).expectations) == 2


def test_a_result_has_a_verdict_or_says_why_not(slices: Slices) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="verdict_or_why_none"):
        slices.connection.execute(
            "INSERT INTO quality.gate_results (gate, dag_id, run_id, subject, expectation, severity, success)"
            " VALUES ('g', 'd', 'r', 's', 'e', 'warning', NULL)"
        )
