"""Placing an archive slice into a table, whatever became of its rows since it was placed the last time.

A slice that is placed again replaces its own files. Where a compaction has put its rows into a file with
others', that file is written anew without them, in a new folder that holds the slice's new files too; the
partition then points at that folder, so readers see the slice once, before and after. Whoever calls holds the
table's lock (`table_lock`).
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from include.common.archive.accounting import check_slice_accounting
from include.common.archive.compaction import CompactionLimits, merge_files, slices_in
from include.common.archive.slice_files import files_of_slice, is_compacted, place, staged_partitions
from include.common.archive.slices import Slice
from include.common.hive.files import (
    link_or_copy,
    new_folder,
    partition_of,
    remove_files,
    sync_folder,
    visible_files,
)
from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable, PartitionValues

_NEVER_ENDED = ("recorded", "staged")
"""Only rows of slices that have once ended are ever compacted, and a slice that has never loses that."""


def shown_of_slice(metastore: Metastore, table: HiveTable, warehouse: Path, slice_id: str) -> list[Path]:
    """The slice's own files that readers see: those in folders that partitions point at."""
    found = files_of_slice(table.location(warehouse), slice_id)
    partitions = {path.parent: partition_of(path.parent, table) for path in found}
    shown = metastore.locations(table, sorted(set(partitions.values()))) if found else {}
    return [path for path in found if shown.get(partitions[path.parent]) == path.parent]


def compacted_with(metastore: Metastore, table: HiveTable, warehouse: Path, piece: Slice) -> list[Path]:
    """Compacted files that readers see and that hold rows of the slice; none if its status says that it has never
    ended (load it under the lock)."""
    if piece.status in _NEVER_ENDED:
        return []
    found = sorted(table.location(warehouse).glob("compaction=*/**/compacted-*.parquet"))
    if not found:
        return []
    shown = set(metastore.all_locations(table).values())
    return [path for path in found if path.parent in shown and piece.slice_id in slices_in(path)]


def shown_files(metastore: Metastore, table: HiveTable, warehouse: Path, piece: Slice) -> list[Path]:
    """Every file in which readers see rows of the slice: its own, and compacted ones that hold others', too
    (`slice_files.read_slice` takes only its rows)."""
    own = shown_of_slice(metastore, table, warehouse, piece.slice_id)
    return own + compacted_with(metastore, table, warehouse, piece)


def check_placed(metastore: Metastore, tables: Iterable[HiveTable], warehouse: Path, piece: Slice) -> int:
    """produced = archived + quarantined + dead letters, in what readers see now; returns rows.

    Raises SliceAccountingError.
    """
    files = [path for table in tables for path in shown_files(metastore, table, warehouse, piece)]
    return check_slice_accounting(piece, files)


def place_slice(
    metastore: Metastore, table: HiveTable, warehouse: Path, piece: Slice, staged: Path | None
) -> int:
    """Make the table show `staged` as all there is of the slice (None: nothing of it); returns rows.

    Safe to repeat. Partitions that are touched point at their files when it returns.
    """
    import pyarrow.parquet as pq

    metastore.ensure_table(table, warehouse)
    root = table.location(warehouse)
    partitions = sorted(staged_partitions(staged, table)) if staged else []
    shown = metastore.locations(table, partitions)
    folders = {
        values: shown.get(values) or _first_folder(root, table, values, piece.slice_id)
        for values in partitions
    }
    compacted = compacted_with(metastore, table, warehouse, piece)
    left = {path.parent for path in compacted}
    # a folder that a partition leaves stays as it is: readers may be in it
    before = [
        path
        for path in shown_of_slice(metastore, table, warehouse, piece.slice_id)
        if path.parent not in left
    ]
    folders |= _without_slice(compacted, table, root, piece)
    placed = place(staged, table, folders, piece.slice_id) if staged else []
    remove_files(set(before) - set(placed))
    emptied = {partition_of(path.parent, table): path.parent for path in before}
    metastore.point_partitions(table, {**emptied, **folders})
    return sum(pq.read_metadata(path).num_rows for path in placed)


def _first_folder(root: Path, table: HiveTable, values: PartitionValues, slice_id: str) -> Path:
    """Folder of a partition that is not there yet. Its usual one may hold files that nobody shall see again: of a
    dropped partition, or of a slice whose placing was cut short."""
    usual = root / table.partition_name(values)
    if all(path.name.startswith(f"slice-{slice_id}-") for path in visible_files(usual)):
        return usual
    return root / f"slice={slice_id}" / table.partition_name(values)


def _without_slice(
    files: Iterable[Path], table: HiveTable, root: Path, piece: Slice
) -> dict[PartitionValues, Path]:
    """New folders that hold what the files' folders hold, less the slice; nothing points at them yet."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        by_folder[path.parent].append(path)
    folders: dict[PartitionValues, Path] = {}
    for folder, holding in by_folder.items():
        values = partition_of(folder, table)
        target = folders[values] = new_folder(root, table, values)
        target.mkdir(parents=True)
        for number, path in enumerate(holding):
            name = f"{target.parts[-len(values) - 1].removeprefix('compaction=')}-{number:02d}"
            merge_files([path], table, target, name, CompactionLimits(), without=piece.slice_id)
        for path in visible_files(folder):
            own = not is_compacted(path) and path.name.startswith(f"slice-{piece.slice_id}-")
            if path not in holding and not own:
                link_or_copy(path, target / path.name)
        sync_folder(target)
    return folders
