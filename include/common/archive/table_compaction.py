"""Compaction of a Hive table of slices: which partitions, and the step from the old folder to the new one.

The new folder is written without a lock, while the archive goes on. Then, under the table's lock, files that came
meanwhile are linked into it and the partition is pointed at it, in one metastore call. Where a file that was put
together has changed meanwhile (its slice was placed again), the new folder is dropped and the next run tries
again. The old folder stays for those who read in it (`unreferenced_folders` removes it later).
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from include.common.archive.compaction import CompactionLimits, merge_files, slice_of, small_files
from include.common.hive.files import link_or_copy, new_folder, sync_folder, visible_files
from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.table_lock import table_lock


@dataclass(frozen=True)
class Plan:
    """Files of one partition, in the folder that it points at, that are to be put together."""

    values: PartitionValues
    folder: Path
    inputs: tuple[Path, ...]

    @property
    def bytes(self) -> int:
        """Size of what is read."""
        return sum(path.stat().st_size for path in self.inputs)


@dataclass(frozen=True)
class Compacted:
    """What became of a plan. `files_after` 0: another change came first, nothing was done."""

    partition: str
    files_before: int
    files_after: int


def plan_compaction(
    connection: psycopg.Connection,
    metastore: Metastore,
    table: HiveTable,
    settled_before: datetime,
    limits: CompactionLimits,
) -> list[Plan]:
    """Partitions with enough small files of slices that were closed before `settled_before`, oldest first."""
    folders = metastore.all_locations(table)
    many = {
        values: folder for values, folder in folders.items() if len(visible_files(folder)) >= limits.min_files
    }
    settled = _settled(connection, many, settled_before)
    plans = [
        Plan(values, folder, tuple(small_files(folder, settled, limits)))
        for values, folder in sorted(many.items())
    ]
    return [plan for plan in plans if plan.inputs]


def _settled(
    connection: psycopg.Connection, folders: Mapping[PartitionValues, Path], before: datetime
) -> set[str]:
    found = {slice_of(path) for folder in folders.values() for path in visible_files(folder)} - {None}
    rows = connection.execute(
        "SELECT slice_id FROM ops.archive_slices WHERE slice_id = ANY(%s) AND finished_at < %s"
        " AND status IN ('published', 'quarantined', 'discarded')",
        (list(found), before),
    )
    return {row[0] for row in rows}


def compact_partition(
    connection: psycopg.Connection,
    metastore: Metastore,
    table: HiveTable,
    warehouse: Path,
    plan: Plan,
    limits: CompactionLimits,
) -> Compacted:
    """Carry out one plan. Readers see the files as they were or as they are then, at any moment.

    Raises CompactionError; what was written is then no partition's and is removed later.
    """
    name = table.partition_name(plan.values)
    files_before = len(visible_files(plan.folder))
    inputs_before = _identities(plan)
    target = new_folder(table.location(warehouse), table, plan.values)
    written = merge_files(
        plan.inputs, table, target, target.parts[-len(plan.values) - 1].partition("=")[2], limits
    )
    with table_lock(connection, table):
        moved = metastore.locations(table, [plan.values]).get(plan.values) != plan.folder
        if moved or _identities(plan) != inputs_before:
            shutil.rmtree(target)
            return Compacted(name, files_before, 0)
        others = [path for path in visible_files(plan.folder) if path not in plan.inputs]
        for path in others:
            link_or_copy(path, target / path.name)
        sync_folder(target)
        metastore.point_partitions(table, {plan.values: target})
    return Compacted(name, files_before, len(written) + len(others))


def _identities(plan: Plan) -> list[tuple[int, int, int] | None]:
    """Inode, size and time of each input; None for one that is gone."""
    found: list[tuple[int, int, int] | None] = []
    for path in plan.inputs:
        try:
            status = path.stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return found
