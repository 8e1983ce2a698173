"""A reader's records taken out of the archive: raw events, quarantined events, dead letters, staged slices.

Where a record was stays, as a dead letter of reason `erased_reader` (include.common.erasure.records): so
produced = archived + quarantined + dead letters holds as before, by offset. Partitions that hold him are written to new
folders and pointed at them, one after the other, and what they left is removed at once. Whoever reads there at that
moment fails and reads again.

In this order, so that a repeat ends what a kill has cut short: staged slices; dead letters, with the places of all that
is to be taken out; then the events; then the counts; then the folders. A repeat finds the partitions that are left.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from include.common.archive.slice_files import StagedSlice
from include.common.erasure.letters import (
    PLACE,
    IsNamed,
    columns_of,
    emptied,
    lacking,
    letters_by_day,
    naming,
    write_letters,
)
from include.common.erasure.records import ERASED
from include.common.erasure.staged_slices import erase_staged
from include.common.hive.files import data_files, new_folder, sync_folder, visible_files
from include.common.hive.metastore import Metastore
from include.common.hive.parquet_rows import copy_changed, holds, is_user, may_hold_user, rows_where, without
from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.table_lock import table_lock
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS, SLICE_TABLES
from include.common.hive.unreferenced_folders import partition_folders, remove_folder

if TYPE_CHECKING:
    import pyarrow as pa

_Found = Mapping[PartitionValues, tuple[Path, list[Path]]]
"""Partitions that hold the reader: their folder, and the files in it that do."""


@dataclass(frozen=True)
class ArchiveStores:
    """What an erasure works on. `connection` must autocommit."""

    connection: psycopg.Connection
    metastore: Metastore
    warehouse: Path
    staging: Path


def erase_reader(stores: ArchiveStores, user_id: str) -> dict[str, int]:
    """Take the reader out of the archive; returns records by store. Waits for the archive's tables.

    Safe to repeat and to be killed. Raises OSError where a Spark job writes into a staging folder at that moment: repeat.
    """
    with table_lock(stores.connection, *SLICE_TABLES):
        for table in SLICE_TABLES:
            stores.metastore.ensure_table(table, stores.warehouse)
        found = {table: _files_with(stores, table, user_id) for table in (RAW_EVENTS, QUARANTINED_EVENTS)}
        files = [path for partitions in found.values() for _, paths in partitions.values() for path in paths]
        sessions = _sessions([*files, *_staged_files(stores.staging)], user_id)
        removed = {"staging": _erase_staging(stores.staging, user_id, sessions)}
        named = {user_id, *sessions}
        places = _places_to_keep(stores.connection, files, user_id)
        removed[DEAD_LETTERS.name] = _empty_letters(stores, named.__contains__, places)
        for table, partitions in found.items():
            removed[table.name] = _erase_from_table(stores, table, partitions, user_id)
        _settle_counts(stores)
        for table in SLICE_TABLES:
            _remove_left_files(stores, table, user_id)
    return removed


def _staged_files(staging: Path) -> list[Path]:
    return [path for staged in _whole(staging) for path in data_files(staged.events)]


def _whole(staging: Path) -> list[StagedSlice]:
    slices = [StagedSlice(folder) for folder in sorted(staging.glob("slice=*"))]
    return [it for it in slices if all((part / "_SUCCESS").exists() for part in (it.events, it.dead_letters))]


def _erase_staging(staging: Path, user_id: str, sessions: set[str]) -> int:
    """Staged slices that are whole are rewritten; halves, and what a killed release left, are removed."""
    whole = _whole(staging)
    for folder in [*staging.glob("release=*"), *staging.glob("slice=*")]:
        if StagedSlice(folder) not in whole:
            shutil.rmtree(folder)
    erased = 0
    for staged in whole:
        erased += erase_staged(staged, is_user(user_id), sessions)
        _remove_hidden(staged.folder)
    return erased


def _files_with(stores: ArchiveStores, table: HiveTable, user_id: str) -> _Found:
    found = {}
    for values, folder in stores.metastore.all_locations(table).items():
        files = [path for path in visible_files(folder) if holds(path, "user_id", user_id)]
        if files:
            found[values] = (folder, files)
    return found


def _sessions(files: Iterable[Path], user_id: str) -> set[str]:
    """His session_ids: dead letters may name them where they lack his own id."""
    return {
        session
        for rows in rows_where(files, "user_id", user_id, ["session_id"])
        for session in rows["session_id"].unique().to_pylist()
        if session
    }


def _places_to_keep(
    connection: psycopg.Connection, files: Iterable[Path], user_id: str
) -> "dict[PartitionValues, pa.Table]":
    """Dead letters for what is taken out, by partition. A slice that never ended gets its own when it is placed again."""
    import pyarrow as pa
    import pyarrow.compute as pc

    tables = rows_where(files, "user_id", user_id, PLACE)
    if not tables:
        return {}
    rows = pa.concat_tables(tables)
    ended = connection.execute(
        "SELECT slice_id FROM ops.archive_slices WHERE slice_id = ANY(%s)"
        " AND status IN ('published', 'quarantined', 'discarded')",
        (rows["slice_id"].unique().to_pylist(),),
    ).fetchall()
    rows = rows.filter(pc.is_in(rows["slice_id"], value_set=pa.array([row[0] for row in ended], pa.string())))
    return {(dt,): letters for dt, letters in letters_by_day(rows).items()}


def _empty_letters(
    stores: ArchiveStores, is_named: IsNamed, added: "Mapping[PartitionValues, pa.Table]"
) -> int:
    """Empty the dead letters that name him, and add those of `added` that the table lacks; returns how many were emptied."""
    shown = stores.metastore.all_locations(DEAD_LETTERS)
    root = DEAD_LETTERS.location(stores.warehouse)
    count = 0
    for values in sorted(set(shown) | set(added)):
        files = visible_files(shown[values]) if values in shown else []
        to_empty = {path: found for path in files if (found := naming(path, is_named))}
        new = lacking(added.get(values), files)
        if not to_empty and new is None:
            continue
        target = new_folder(root, DEAD_LETTERS, values)
        copy_changed(files, to_empty, target, emptied(is_named))
        if new is not None:
            name = target.parts[-len(values) - 1].partition("=")[2]
            write_letters(new, target / f"compacted-{name}-erased.parquet")
        sync_folder(target)
        stores.metastore.point_partitions(DEAD_LETTERS, {values: target})
        count += sum(to_empty.values())
    return count


def _erase_from_table(stores: ArchiveStores, table: HiveTable, found: _Found, user_id: str) -> int:
    removed = 0
    for values, (folder, files) in sorted(found.items()):
        target = new_folder(table.location(stores.warehouse), table, values)
        removed += sum(rows.num_rows for rows in rows_where(files, "user_id", user_id, ["kafka_offset"]))
        copy_changed(visible_files(folder), files, target, without("user_id", is_user(user_id)))
        sync_folder(target)
        stores.metastore.point_partitions(table, {values: target})
    return removed


def _settle_counts(stores: ArchiveStores) -> None:
    """Counts of ended slices of which something was erased, now or before: what the tables hold."""
    letters: dict[str, int] = defaultdict(int)
    touched: set[str] = set()
    for folder in stores.metastore.all_locations(DEAD_LETTERS).values():
        for path in visible_files(folder):
            for row in columns_of(path, ["slice_id", "reason"]).to_pylist():
                letters[row["slice_id"]] += 1
                if row["reason"] == ERASED:
                    touched.add(row["slice_id"])
    with stores.connection.transaction(), stores.connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE ops.archive_slices SET dead_letters = known.letters,"
            " archived = CASE WHEN status = 'published' THEN produced - known.letters ELSE 0 END,"
            " quarantined = CASE WHEN status = 'published' THEN 0 ELSE produced - known.letters END"
            " FROM (SELECT %s::bigint AS letters) AS known"
            " WHERE slice_id = %s AND status IN ('published', 'quarantined', 'discarded')",
            [(letters[slice_id], slice_id) for slice_id in sorted(touched)],
        )
        cursor.execute(
            "UPDATE quality.quarantine_slices AS entry SET row_count = slice.quarantined"
            " FROM ops.archive_slices AS slice WHERE entry.slice_id = slice.slice_id"
            " AND entry.status IN ('quarantined', 'discarded') AND slice.slice_id = ANY(%s)",
            (sorted(touched),),
        )


def _remove_left_files(stores: ArchiveStores, table: HiveTable, user_id: str) -> None:
    """Folders that no partition points at and that hold him or may; half-written files of killed jobs.

    Dead letters' all go: they are few, and which of them named his sessions is not known any more after a repeat.
    """
    shown = set(stores.metastore.all_locations(table).values())
    for folder in sorted(partition_folders(table, stores.warehouse)):
        if folder in shown:
            _remove_hidden(folder)
        elif table is DEAD_LETTERS or may_hold_user(folder, user_id):
            remove_folder(folder, table.location(stores.warehouse))


def _remove_hidden(folder: Path) -> None:
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)
