"""A reader's rows taken out of the tables that features__publish_batch writes, in every folder of theirs.

Partitions that hold him are written to new folders and pointed at them, one after the other, so a repeat finds those that
are left. What they left is removed at once; so are older folders that readers may still be in and that hold him. Whoever reads there at that moment fails and reads again. What
ops.publications counts becomes what readers see.
"""

import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from include.common.hive.files import data_files, row_count, sync_folder
from include.common.hive.mart_changes import remove_erased_changes
from include.common.hive.metastore import Metastore
from include.common.hive.parquet_rows import copy_changed, holds, is_user, may_hold_user, rows_where, without
from include.common.hive.schema import HiveTable, location_of
from include.common.hive.table_lock import table_lock
from include.common.hive.tables import PUBLISHED_TABLES
from include.common.hive.unreferenced_folders import partition_folders, remove_folder

TABLES_OF_READERS = tuple(table for table in PUBLISHED_TABLES if "user_id" in table.column_names())
"""The others (episodes, segments, content quality) hold counts and means of many readers, and no id: they stay."""


def erase_reader(
    connection: psycopg.Connection, metastore: Metastore, warehouse: Path, user_id: str
) -> dict[str, int]:
    """Take the reader out of every published table and the outbox of the histories; returns rows by table.

    Waits for a publisher at work. Safe to repeat and to be killed. `connection` must autocommit.
    """
    with table_lock(connection, *PUBLISHED_TABLES):
        removed = {"ops.mart_changes": remove_erased_changes(connection, is_user(user_id))}
        for table in TABLES_OF_READERS:
            metastore.ensure_table(table, warehouse)
            removed[table.name] = _erase_from_table(metastore, table, warehouse, user_id)
            _settle_publications(connection, metastore, table)
            _remove_left_folders(metastore, table, warehouse, user_id)
    return removed


def remove_rebuilt_days(staging: Path, user_id: str) -> list[Path]:
    """Remove what runs of features__backfill have staged and not published, where it may hold the reader; returns the runs'
    folders. Raises OSError where a day is written at that moment: repeat."""
    removed = [folder for folder in sorted(staging.glob("backfill=*")) if may_hold_user(folder, user_id)]
    for folder in removed:
        shutil.rmtree(folder)
    return removed


def _erase_from_table(metastore: Metastore, table: HiveTable, warehouse: Path, user_id: str) -> int:
    name = f"publication={datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    removed = 0
    for values, folder in sorted(metastore.all_locations(table).items()):
        files = data_files(folder)
        holding = [path for path in files if holds(path, "user_id", user_id)]
        if not holding:
            continue
        target = table.location(warehouse) / name / table.partition_name(values)
        removed += sum(rows.num_rows for rows in rows_where(holding, "user_id", user_id, table.key[:1]))
        copy_changed(files, holding, target, without("user_id", is_user(user_id)))
        sync_folder(target)
        metastore.point_partitions(table, {values: target})
    return removed


def _settle_publications(connection: psycopg.Connection, metastore: Metastore, table: HiveTable) -> None:
    """Each partition's newest publication names the folder that readers see, and its rows; also after a kill."""
    newest = connection.execute(
        "SELECT DISTINCT ON (partition_spec) partition_spec, location FROM ops.publications WHERE hive_table = %s"
        " ORDER BY partition_spec, published_at DESC",
        (table.name,),
    ).fetchall()
    shown = metastore.all_locations(table)
    for partition, location in newest:
        folder = shown.get(table.partition_values(partition))
        if folder is not None and location_of(folder) != location:
            connection.execute(
                "UPDATE ops.publications SET location = %s, row_count = %s"
                " WHERE hive_table = %s AND partition_spec = %s AND location = %s",
                (location_of(folder), row_count(folder), table.name, partition, location),
            )


def _remove_left_folders(metastore: Metastore, table: HiveTable, warehouse: Path, user_id: str) -> None:
    root = table.location(warehouse)
    shown = set(metastore.all_locations(table).values())
    for folder in partition_folders(table, warehouse) - shown:
        if may_hold_user(folder, user_id):
            remove_folder(folder, root)
    # what Spark had not moved into place when it was killed; nobody publishes now
    for half_written in root.glob("*=*/_temporary"):
        shutil.rmtree(half_written)
