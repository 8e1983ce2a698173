"""How the day went, from PostgreSQL: gates, quarantine, freshness, deadlines; the cut and titles of what is shown."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
from psycopg.rows import class_row

from include.common.names import Hive, Pg
from include.orchestration.daily_report.day import (
    Cut,
    DeadlineMiss,
    FailedExpectation,
    GateDay,
    Operations,
    QuarantinedSlice,
)
from include.orchestration.freshness.history import rows_between

_GATES = f"""
SELECT
    gate,
    count(DISTINCT run_id) AS runs,
    count(DISTINCT run_id) FILTER (WHERE NOT success AND severity = 'critical') AS blocked,
    count(DISTINCT run_id) FILTER (WHERE NOT success AND severity = 'warning') AS warned
FROM {Pg.GATE_RESULTS} WHERE checked_at >= %(start)s AND checked_at < %(end)s GROUP BY gate ORDER BY gate
"""  # noqa: S608 - constants, here and below
_FAILED = f"""
SELECT
    gate,
    expectation || coalesce(' on ' || column_name, '') AS expectation,
    severity,
    count(DISTINCT run_id) AS runs,
    coalesce(sum(unexpected_count), 0)::bigint AS rows
FROM {Pg.GATE_RESULTS} WHERE checked_at >= %(start)s AND checked_at < %(end)s AND NOT success
GROUP BY gate, expectation, column_name, severity ORDER BY severity, runs DESC, gate, expectation
"""  # noqa: S608  constants
_QUARANTINE = f"""
SELECT slice_id, row_count AS rows, status, failed_expectations AS failed
FROM {Pg.QUARANTINE_SLICES} WHERE quarantined_at >= %(start)s AND quarantined_at < %(end)s ORDER BY quarantined_at
"""  # noqa: S608  constants
_DEADLINES = f"""
SELECT dag_id, run_id, allowed_s, missed_at
FROM {Pg.DEADLINE_MISSES} WHERE missed_at >= %(start)s AND missed_at < %(end)s ORDER BY missed_at, dag_id
"""  # noqa: S608  constants
_CUT = f"""
SELECT c.cut_id, c.as_of, c.ledger_position, p.published_at
FROM {Pg.PUBLICATIONS} AS p INNER JOIN {Pg.MODEL_CUTS} AS c ON p.cut_id = c.cut_id
WHERE p.hive_table = %(table)s AND p.partition_spec = %(partition)s ORDER BY p.published_at DESC LIMIT 1
"""  # noqa: S608  constants
_TITLES = f"""
SELECT DISTINCT ON (episode_id) episode_id, title, episode_number
FROM {Pg.EPISODE_METADATA} WHERE episode_id = ANY(%(episodes)s) AND valid_from < %(end)s
ORDER BY episode_id, valid_from DESC
"""  # noqa: S608  constants


def bounds(dt: date) -> dict[str, datetime]:
    """The UTC day [start, end)."""
    start = datetime.combine(dt, time(), UTC)
    return {"start": start, "end": start + timedelta(days=1)}


def read_operations(connection: psycopg.Connection, dt: date) -> Operations:
    """Of the UTC day `dt`."""
    day = bounds(dt)

    def rows(kind: type[Any], statement: str) -> list[Any]:
        with connection.cursor(row_factory=class_row(kind)) as cursor:
            return cursor.execute(statement.encode(), day).fetchall()

    return Operations(
        gates=rows(GateDay, _GATES),
        failed=rows(FailedExpectation, _FAILED),
        quarantine=rows(QuarantinedSlice, _QUARANTINE),
        freshness=rows_between(connection, day["start"], day["end"]),
        deadline_misses=rows(DeadlineMiss, _DEADLINES),
    )


def read_cut(connection: psycopg.Connection, dt: date) -> Cut | None:
    """What the partition of Hive session_features of day `dt` was published from; None where it never was."""
    with connection.cursor(row_factory=class_row(Cut)) as cursor:
        wanted = {"table": Hive.SESSION_FEATURES, "partition": f"dt={dt.isoformat()}"}
        return cursor.execute(_CUT.encode(), wanted).fetchone()


def read_titles(connection: psycopg.Connection, episodes: Collection[str], dt: date) -> dict[str, str]:
    """`Title, 12` by episode id, as known at the end of the day; without those that reference does not know."""
    values = {"episodes": list(episodes), "end": bounds(dt)["end"]}
    return {row[0]: f"{row[1]}, {row[2]}" for row in connection.execute(_TITLES.encode(), values)}
