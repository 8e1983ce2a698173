"""Rows of ops.freshness: the newest ones, the last day, and how new ones are written."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import psycopg

from include.common.freshness_slos import PUBLISHED
from include.common.names import Pg
from include.common.thresholds import in_force
from include.orchestration.freshness.judge import Freshness

KEEP = timedelta(days=90)
_COLUMNS = "table_name, published, p50_s, p99_s, max_s, waiting_s, value_age_s, slo_s, missed_since, told_at, measured_at"
_NEWEST = f"SELECT DISTINCT ON (table_name) {_COLUMNS} FROM {Pg.FRESHNESS} ORDER BY table_name DESC, measured_at DESC"  # noqa: S608  constants
_SINCE = (
    f"SELECT {_COLUMNS} FROM {Pg.FRESHNESS} WHERE measured_at >= %s AND measured_at < %s ORDER BY measured_at"  # noqa: S608  constants
)
_INSERT = f"INSERT INTO {Pg.FRESHNESS} ({_COLUMNS}, met) VALUES ({', '.join(['%s'] * 12)})"  # noqa: S608  constants


def slos(connection: psycopg.Connection, at: datetime) -> dict[str, float]:
    """SLO in force by table, seconds; the default of one that was never loaded."""
    values = in_force(connection, at)
    return {table.name: values[table.threshold] for table in PUBLISHED}


def newest_rows(connection: psycopg.Connection) -> dict[str, Freshness]:
    """The newest measurement of each table that was ever measured."""
    return {row[0]: Freshness(*row[:-1]) for row in connection.execute(_NEWEST)}


def rows_between(
    connection: psycopg.Connection, start: datetime, end: datetime
) -> dict[str, list[tuple[datetime, Freshness]]]:
    """Measurements of [start, end) by table of PUBLISHED, oldest first."""
    found: dict[str, list[tuple[datetime, Freshness]]] = {table.name: [] for table in PUBLISHED}
    for *row, measured_at in connection.execute(_SINCE, (start, end)):
        found.setdefault(row[0], []).append((measured_at, Freshness(*row)))
    return found


def record(connection: psycopg.Connection, at: datetime, rows: Iterable[Freshness]) -> None:
    """Write one measurement of each table, and drop those older than KEEP, in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            _INSERT,
            [
                (
                    row.table, row.published, row.p50_s, row.p99_s, row.max_s, row.waiting_s, row.value_age_s, row.slo_s,
                    row.missed_since, row.told_at, at, row.met,
                )
                for row in rows
            ],
        )  # fmt: skip
        cursor.execute(f"DELETE FROM {Pg.FRESHNESS} WHERE measured_at < %s", (at - KEEP,))  # noqa: S608  constants


def mark_told(connection: psycopg.Connection, tables: Sequence[str], told_at: datetime | None) -> None:
    """Note in the newest row of each of `tables` when its breach was told, or (None) that its end was.

    The next row takes it over.
    """
    connection.execute(
        f"UPDATE {Pg.FRESHNESS} AS row SET told_at = %(told_at)s,"  # noqa: S608  constants
        " missed_since = CASE WHEN %(told_at)s::timestamptz IS NOT NULL THEN missed_since END"
        f" FROM (SELECT table_name, max(measured_at) AS measured_at FROM {Pg.FRESHNESS}"
        " WHERE table_name = ANY(%(tables)s) GROUP BY table_name) AS newest"
        " WHERE row.table_name = newest.table_name AND row.measured_at = newest.measured_at",
        {"tables": list(tables), "told_at": told_at},
    )
