"""Publications of Hive partitions: a new folder each time, then the partition points at it.

`ops.publications` says, for each partition and run, which folder it was pointed at and how many rows it
holds. A rebuilt day (`is_backfill`) is a publication that says nothing about how far the ledger is published. Folders that no partition points at any more are kept until the publication after the next one, and for an hour.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable, PartitionValues, path_of

_FOLDERS_KEPT = 2
_YOUNGEST_REMOVED_S = 3600.0


@dataclass(frozen=True)
class Publication:
    """One partition of one table, published by one run from one cut."""

    hive_table: str
    partition: str
    cut_id: int
    location: str
    row_count: int
    is_backfill: bool = False


def point_published(metastore: Metastore, table: HiveTable, folders: Mapping[PartitionValues, Path]) -> None:
    """Point the partitions. What they leave counts as young from now on: readers may be in it, and the publication that a
    repeated run replaces is not recorded any more."""
    for left in metastore.locations(table, list(folders)).values():
        with suppress(FileNotFoundError):
            os.utime(left)
    metastore.point_partitions(table, folders)


def record_publications(
    connection: psycopg.Connection, run_id: str, publications: Sequence[Publication]
) -> None:
    """Write what a run published, in one transaction; a repeated run replaces its own rows."""
    with connection.transaction():
        for entry in publications:
            connection.execute(
                "INSERT INTO ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count, is_backfill)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (hive_table, partition_spec, run_id) DO UPDATE SET"
                " cut_id = excluded.cut_id, location = excluded.location, row_count = excluded.row_count,"
                " published_at = excluded.published_at",
                (entry.hive_table, entry.partition, run_id, entry.cut_id, entry.location, entry.row_count,
                 entry.is_backfill),
            )  # fmt: skip


def latest_publications(connection: psycopg.Connection, run_id: str) -> list[Publication]:
    """The newest publication of every partition that run `run_id` touched (a later run may have followed)."""
    rows = connection.execute(
        "SELECT DISTINCT ON (hive_table, partition_spec) hive_table, partition_spec, cut_id, location, row_count"
        " FROM ops.publications WHERE (hive_table, partition_spec) IN"
        " (SELECT hive_table, partition_spec FROM ops.publications WHERE run_id = %s)"
        " ORDER BY hive_table, partition_spec, published_at DESC",
        (run_id,),
    )
    return [Publication(*row) for row in rows]


def published_position(connection: psycopg.Connection, hive_table: str, generation: int, run_id: str) -> int:
    """Ledger position up to which other runs than `run_id` have published `hive_table`; 0 for none."""
    row = connection.execute(
        "SELECT coalesce(max(cut.ledger_position), 0) FROM ops.publications AS publication"
        " INNER JOIN ops.model_cuts AS cut ON publication.cut_id = cut.cut_id"
        " WHERE publication.hive_table = %s AND cut.generation = %s AND publication.run_id <> %s"
        " AND NOT publication.is_backfill",
        (hive_table, generation, run_id),
    ).fetchone()
    return int(row[0]) if row else 0


def published_generation(connection: psycopg.Connection, hive_table: str, run_id: str) -> int | None:
    """Generation that the newest publication of `hive_table` by other runs than `run_id` is of; None for none."""
    row = connection.execute(
        "SELECT cut.generation FROM ops.publications AS publication"
        " INNER JOIN ops.model_cuts AS cut ON publication.cut_id = cut.cut_id"
        " WHERE publication.hive_table = %s AND publication.run_id <> %s AND NOT publication.is_backfill"
        " ORDER BY publication.published_at DESC LIMIT 1",
        (hive_table, run_id),
    ).fetchone()
    return int(row[0]) if row else None


def remove_unreferenced_folders(
    connection: psycopg.Connection, metastore: Metastore, table: HiveTable, warehouse: Path
) -> list[Path]:
    """Delete partition folders of the table that nothing needs; returns them.

    Kept: what a partition points at, the two newest recorded publications of each partition (a reader may
    still be in the older one), and anything younger than an hour (it may be in the making) or left within one
    (`point_published`).
    """
    rows = connection.execute(
        "SELECT location FROM (SELECT location, row_number() OVER (PARTITION BY partition_spec"
        " ORDER BY published_at DESC) AS place FROM ops.publications WHERE hive_table = %s) AS recorded"
        " WHERE place <= %s",
        (table.name, _FOLDERS_KEPT),
    )
    kept = {path_of(row[0]) for row in rows} | set(metastore.all_locations(table).values())
    young = time.time() - _YOUNGEST_REMOVED_S
    removed = []
    for folder in sorted(table.location(warehouse).glob("publication=*/*=*")):
        if folder not in kept and folder.stat().st_mtime < young:
            shutil.rmtree(folder)
            removed.append(folder)
    for publication in table.location(warehouse).glob("publication=*"):
        if publication.stat().st_mtime < young and not any(publication.glob("*=*")):
            shutil.rmtree(publication)
    return removed
