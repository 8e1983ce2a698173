"""Folders of a Hive table that no partition points at: noted, and removed when they were so for long enough.

They are what compaction, dropped partitions and crashes leave. A folder counts from when it was first found
(ops.unreferenced_folders), so whoever reads in one that was left just now keeps it for at least the grace.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import psycopg

from include.common.hive.files import partition_of
from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable, location_of, path_of
from include.common.hive.table_lock import table_lock
from include.common.hive.tables import SLICE_TABLES

GRACE = timedelta(days=1)
"""Longer than a reader stays in a folder, and than the publisher takes from writing one to pointing at it."""


def partition_folders(table: HiveTable, warehouse: Path) -> set[Path]:
    """Every folder that is, was or will be a partition's: below the table's root, or in one folder in it."""
    shape = "/".join(f"{column.name}=*" for column in table.partitions)
    root = table.location(warehouse)
    return {path for pattern in (shape, f"*=*/{shape}") for path in root.glob(pattern) if path.is_dir()}


def unreferenced_folders(metastore: Metastore, table: HiveTable, warehouse: Path) -> set[Path]:
    """Folders that nothing needs. Of a published partition that is there the publisher keeps and removes them
    itself."""
    shown = metastore.all_locations(table)
    found = partition_folders(table, warehouse) - set(shown.values())
    if table in SLICE_TABLES:
        return found
    return {folder for folder in found if partition_of(folder, table) not in shown}


def sweep_folders(
    connection: psycopg.Connection,
    metastore: Metastore,
    table: HiveTable,
    warehouse: Path,
    now: datetime,
    *,
    grace: timedelta = GRACE,
    dry_run: bool = False,
) -> list[Path]:
    """Note what is unreferenced, remove what has been since before `now - grace`; returns what was removed.

    `dry_run` notes and removes nothing, and returns what would be removed. Safe to repeat.
    """
    with table_lock(connection, table):
        found = unreferenced_folders(metastore, table, warehouse)
        old = sorted(found & _noted_before(connection, table, now - grace))
        if dry_run:
            return old
        _note(connection, table, found, now)
        for folder in old:
            remove_folder(folder, table.location(warehouse))
        _forget(connection, table, found - set(old))
    return old


def _noted_before(connection: psycopg.Connection, table: HiveTable, moment: datetime) -> set[Path]:
    rows = connection.execute(
        "SELECT folder FROM ops.unreferenced_folders WHERE hive_table = %s AND found_at <= %s",
        (table.name, moment),
    )
    return {path_of(row[0]) for row in rows}


def _note(connection: psycopg.Connection, table: HiveTable, found: Iterable[Path], now: datetime) -> None:
    connection.execute(
        "INSERT INTO ops.unreferenced_folders (hive_table, folder, found_at)"
        " SELECT %s, folder, %s FROM unnest(%s::text[]) AS folder ON CONFLICT DO NOTHING",
        (table.name, now, [location_of(folder) for folder in found]),
    )


def _forget(connection: psycopg.Connection, table: HiveTable, waiting: Iterable[Path]) -> None:
    """Drop notes of folders that are gone or that a partition points at again."""
    connection.execute(
        "DELETE FROM ops.unreferenced_folders WHERE hive_table = %s AND NOT folder = ANY(%s)",
        (table.name, [location_of(folder) for folder in waiting]),
    )


def remove_folder(folder: Path, root: Path) -> None:
    """Delete a partition's folder, and those above it, below `root`, that are empty then."""
    shutil.rmtree(folder)
    for parent in folder.parents:
        if parent == root:
            return
        with suppress(OSError):  # not empty: it holds other partitions
            parent.rmdir()
