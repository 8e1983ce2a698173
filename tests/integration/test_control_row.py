"""ops.stream_control says what a driver is meant to do, and counts its restarts."""

from typing import Any

import psycopg
from psycopg.rows import dict_row

from include.orchestration.supervised_spark.control_row import record_running, record_stopped

STARTED = 1_795_651_200.25


def row(dsn: str) -> dict[str, Any]:
    """The row of driver `sessionize`."""
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        found = connection.execute("SELECT * FROM ops.stream_control").fetchall()
    assert [each["name"] for each in found] == ["sessionize"]
    return found[0]


def test_a_driver_that_is_found_again_is_no_restart_and_a_new_one_is(feature_db: str) -> None:
    record_running(feature_db, "sessionize", 10, STARTED, "run-1")
    first = row(feature_db)
    assert (first["driver_pid"], first["run_id"], first["desired_state"]) == (10, "run-1", "running")
    assert first["driver_started_at"].timestamp() == STARTED
    record_running(feature_db, "sessionize", 10, STARTED, "run-2")
    assert (row(feature_db)["restarts"], row(feature_db)["run_id"]) == (0, "run-2")
    record_running(feature_db, "sessionize", 11, STARTED + 60, "run-2")
    assert (row(feature_db)["restarts"], row(feature_db)["driver_pid"]) == (1, 11)


def test_a_stopped_driver_has_no_process(feature_db: str) -> None:
    record_running(feature_db, "sessionize", 10, STARTED, "run-1")
    record_stopped(feature_db, "sessionize")
    stopped = row(feature_db)
    assert (stopped["desired_state"], stopped["driver_pid"], stopped["restarts"]) == ("stopped", None, 0)
