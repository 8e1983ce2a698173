"""ops.stream_control: what a supervised driver is meant to do, for dashboards and people. Written here only."""

from datetime import UTC, datetime

from include.common.names import Pg
from include.common.postgres import connect

_RUNNING = f"""
INSERT INTO {Pg.STREAM_CONTROL} AS old (name, driver_pid, driver_started_at, run_id, desired_state)
VALUES (%s, %s, %s, %s, 'running')
ON CONFLICT (name) DO UPDATE SET
    restarts = old.restarts + (old.driver_started_at IS DISTINCT FROM excluded.driver_started_at)::int,
    driver_pid = excluded.driver_pid, driver_started_at = excluded.driver_started_at,
    run_id = excluded.run_id, desired_state = 'running', updated_at = now()
"""  # noqa: S608 - a constant
_STOPPED = f"UPDATE {Pg.STREAM_CONTROL} SET desired_state = 'stopped', driver_pid = NULL, updated_at = now() WHERE name = %s"  # noqa: S608 - a constant


def record_running(dsn: str, name: str, pid: int, started_at: float, run_id: str) -> None:
    """The driver that started at `started_at` (epoch seconds) runs; a new one counts as a restart.

    Raises PostgresUnreachableError, psycopg.Error.
    """
    started = datetime.fromtimestamp(started_at, UTC)
    with connect(dsn, application_name="supervised_spark") as connection:
        connection.execute(_RUNNING, (name, pid, started, run_id))


def record_stopped(dsn: str, name: str, *, connect_timeout_s: int = 10) -> None:
    """It was asked to stop. Raises PostgresUnreachableError, psycopg.Error."""
    with connect(dsn, application_name="supervised_spark", connect_timeout_s=connect_timeout_s) as connection:
        connection.execute(_STOPPED, (name,))
