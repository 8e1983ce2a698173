"""What Airflow itself keeps of a reader: forms and values of runs, their logs, and pages that tasks wrote."""

import csv
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from include.common.erasure.needles import Needles
from include.common.postgres import connect
from include.orchestration.erasure.search_files import files_with

log = logging.getLogger(__name__)

_TABLES_OF_RUNS: Final = """
SELECT c.table_schema, c.table_name,
       array_agg(c.column_name::text ORDER BY c.ordinal_position)
           FILTER (WHERE c.data_type NOT IN ('integer', 'bigint', 'double precision', 'boolean',
                                             'timestamp with time zone'))
FROM information_schema.columns AS c
JOIN information_schema.tables AS t USING (table_schema, table_name)
WHERE t.table_type = 'BASE TABLE' AND c.table_schema NOT IN ('pg_catalog', 'information_schema')
  AND c.table_name <> 'log'
GROUP BY 1, 2
HAVING count(*) FILTER (WHERE c.column_name IN ('dag_id', 'run_id')) = 2
ORDER BY 1, 2
"""


def runs_with(dsn: str, needles: Needles) -> set[tuple[str, str]]:
    """(dag_id, run_id) of runs whose form, fields, XComs or other values hold the id.

    Not the audit log (`log`): it outlives its run, and nothing removes a row of it.
    """
    found: set[tuple[str, str]] = set()
    with connect(dsn, application_name="privacy runs", autocommit=True) as connection:
        for schema, table, columns in connection.execute(_TABLES_OF_RUNS).fetchall():
            found |= _runs_in(connection, sql.Identifier(schema, table), columns, needles)
    return found


def erase_runs(runs: set[tuple[str, str]], delete: Callable[[str, str], bool], logs_dir: Path | None) -> int:
    """Delete runs, with the folders of their logs; returns how many were there."""
    removed = 0
    for dag_id, run_id in sorted(runs):
        removed += delete(dag_id, run_id)
        if logs_dir is not None:
            remove_folder(logs_dir / f"dag_id={dag_id}" / f"run_id={run_id}", logs_dir)
        log.info("a run of %s that held the id is deleted", dag_id)
    return removed


def erase_files(root: Path, needles: Needles) -> int:
    """Remove the files under `root` that hold the id; returns how many."""
    found = files_with(root, needles)
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        log.info("%d files under %s that held the id are removed", len(found), root)
    return len(found)


def remove_folder(folder: Path, below: Path) -> None:
    """Remove `folder` if it lies below `below`."""
    import shutil

    if below.resolve() in folder.resolve().parents:
        shutil.rmtree(folder, ignore_errors=True)


def _runs_in(
    connection: psycopg.Connection, table: sql.Identifier, columns: list[str], needles: Needles
) -> set[tuple[str, str]]:
    wanted = ["dag_id", "run_id", *(name for name in columns if name not in ("dag_id", "run_id"))]
    query = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT csv, FORCE_QUOTE *)").format(
        sql.SQL(", ").join(map(sql.Identifier, wanted)), table
    )
    found = set()
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for row in copy:
            if needles.is_in(bytes(row)):
                dag_id, run_id = next(csv.reader([bytes(row).decode()]))[:2]
                found.add((dag_id, run_id))
    return found
