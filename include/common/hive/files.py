"""Folders and Parquet files of Hive's partitions: which there are, which readers see, and copies that appear whole."""

import os
import shutil
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from include.common.hive.schema import HiveTable, PartitionValues


def partition_of(folder: Path, table: HiveTable) -> PartitionValues:
    """Partition that a folder of the table is, or was, of. Raises ValueError for another folder."""
    return table.partition_values("/".join(folder.parts[-len(table.partitions) :]))


def new_folder(root: Path, table: HiveTable, values: PartitionValues) -> Path:
    """A folder for a partition's next contents, under a name that is never used twice."""
    name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    return root / f"compaction={name}" / table.partition_name(values)


def data_files(folder: Path) -> list[Path]:
    """Parquet files below `folder`, hidden ones left out, in order of their path."""
    return sorted(
        path for path in folder.rglob("*.parquet")
        if not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)
    )  # fmt: skip


def row_count(folder: Path) -> int:
    """Rows in the Parquet files of a folder, by their footers."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in data_files(folder))


def visible_files(folder: Path) -> list[Path]:
    """Parquet files that readers of a partition's folder see, by name."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith(("_", ".")))


def remove_files(paths: Iterable[Path]) -> None:
    """Delete files, those already gone passed over."""
    for path in paths:
        path.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Show a file in a second folder: a hard link, or a copy where the file system has none."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:
        copy_whole(source, target)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries, and its own in its parent, survive a crash of the machine."""
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that readers see it whole or not at all, also after a crash of the machine."""
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}.tmp")
    with source.open("rb") as read, hidden.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())
    hidden.replace(target)
