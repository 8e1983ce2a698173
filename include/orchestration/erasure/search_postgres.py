"""Every table of a database, as COPY gives it, byte by byte: what `pg_dump` would hold, and the planner's statistics.

Not pg_dump itself: an image has the wrong version of it or none, and refuses a newer server. COPY gives the same rows,
streamed. Numbers, times and booleans are left out: no id of a contract that says text can stand in them.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Final

import psycopg
from psycopg import sql

from include.common.erasure.needles import Needles
from include.common.postgres import connect
from include.orchestration.erasure.finding import Finding, NotSearchedError, Progress

log = logging.getLogger(__name__)

_BLOCK: Final = 1 << 20
_TABLES: Final = """
SELECT n.nspname, c.relname,
       array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE t.typname <> 'bytea'),
       array_agg(t.typcategory = 'A' ORDER BY a.attnum) FILTER (WHERE t.typname <> 'bytea'),
       array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE t.typname = 'bytea')
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
  AND t.typcategory NOT IN ('B', 'D', 'N', 'T')
GROUP BY 1, 2
ORDER BY 1, 2
"""
_STATISTICS: Final = """
SELECT schemaname, tablename, attname, most_common_vals::text, histogram_bounds::text, most_common_elems::text
FROM pg_stats
WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
"""
_CLEAR_STATISTICS_SINCE: Final = 180_000
"""PostgreSQL 18: pg_clear_attribute_stats. ANALYZE alone leaves the old values of a table that is empty now."""


def search_database(finding: Finding, dsn: str, needles: Needles) -> None:
    """Look through all rows of all tables, and the samples of them in pg_stats.

    Raises NotSearchedError where a table may not be read, or there are large objects, which nobody here writes.
    """
    progress = Progress(finding)
    with connect(dsn, application_name="privacy search", autocommit=True) as connection:
        connection.execute("SET lock_timeout = '60s'")
        for schema, table, columns, are_lists, of_bytes in connection.execute(_TABLES).fetchall():
            name = f"{schema}.{table}"
            try:
                for block in _rows_of(
                    connection, schema, table, zip(columns or (), are_lists or (), strict=True)
                ):
                    finding.bytes += len(block)
                    finding.add(name, needles.count(block))
                    progress.say(name)
                for column in of_bytes or ():
                    finding.add(f"{name}.{column}", _count_bytes(connection, schema, table, column, needles))
            except psycopg.errors.UndefinedTable:
                continue  # dropped meanwhile
            except psycopg.Error as error:
                raise NotSearchedError(
                    f"{finding.store}: {name} cannot be read ({type(error).__name__}): let the role of this connection "
                    f"read every table, and clear this task when nobody holds a lock on it"
                ) from None
        _require_no_large_objects(connection, finding.store)
        for schema, table, column in statistics_with(connection, needles):
            finding.add(f"pg_stats of {schema}.{table}.{column}", 1)
    progress.say("the end", at_once=True)


def _rows_of(
    connection: psycopg.Connection, schema: str, table: str, columns: Iterable[tuple[str, bool]]
) -> Iterator[bytes]:
    """The table's rows as CSV with every value in quotes, lists as JSON, in blocks of whole rows."""
    values = [
        sql.SQL("to_jsonb({})" if is_list else "{}").format(sql.Identifier(name)) for name, is_list in columns
    ]
    if not values:
        return
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)").format(
        sql.SQL(", ").join(values), sql.Identifier(schema, table)
    )
    rows: list[bytes] = []
    size = 0
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for row in copy:
            rows.append(bytes(row))
            size += len(row)
            if size >= _BLOCK:
                yield b"".join(rows)
                rows, size = [], 0
    yield b"".join(rows)


def _count_bytes(
    connection: psycopg.Connection, schema: str, table: str, column: str, needles: Needles
) -> int:
    """Values of a bytea column that hold the id; COPY would write them in hexadecimal."""
    query = sql.SQL("SELECT {0} FROM {1} WHERE {2}").format(
        sql.Identifier(column),
        sql.Identifier(schema, table),
        sql.SQL(" OR ").join(
            [sql.SQL("position(%s::bytea in {}) > 0").format(sql.Identifier(column))] * len(needles.spellings)
        ),
    )
    return sum(needles.is_in_cell(bytes(row[0])) for row in connection.execute(query, needles.spellings))


def statistics_with(connection: psycopg.Connection, needles: Needles) -> list[tuple[str, str, str]]:
    """(schema, table, column) of samples in the planner's statistics that hold the id."""
    return [
        (row[0], row[1], row[2])
        for row in connection.execute(_STATISTICS)
        if any(value is not None and needles.is_in_cell(value.replace(",", '","')) for value in row[3:])
    ]


def refresh_statistics(dsn: str, needles: Needles) -> int:
    """Have the planner's statistics forget the id; returns how many columns' did. Raises psycopg.Error without the right."""
    with connect(dsn, application_name="privacy statistics", autocommit=True) as connection:
        held = statistics_with(connection, needles)
        for schema, table, column in held:
            if connection.info.server_version >= _CLEAR_STATISTICS_SINCE:
                connection.execute(
                    "SELECT pg_clear_attribute_stats(%s, %s, %s, false)", (schema, table, column)
                )
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
            log.info("statistics of %s.%s are made anew", schema, table)
    return len(held)


def _require_no_large_objects(connection: psycopg.Connection, store: str) -> None:
    row = connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone()
    if row is not None and row[0]:
        raise NotSearchedError(
            f"{store}: {row[0]} large objects, which this search does not read: remove them (lo_unlink); nothing of this "
            f"project writes any"
        )
