"""Files of an archive slice: staged, then placed into a table's folders under the slice's name.

A file becomes visible by one rename, whole; names start with the slice's id, so a repeat replaces its own
files. Readers of Hive tables (Spark, pyarrow, DuckDB by `*.parquet`) pass over names that start with a dot.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.archive_slices import SliceError
from include.common.hive import HiveTable, PartitionValues

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class StagedSlice:
    """`<data>/staging/slice=<id>` with `events/dt=*/hour=*` and `dead_letters/dt=*`, written by the Spark job."""

    folder: Path

    @classmethod
    def of(cls, staging_dir: Path, slice_id: str) -> "StagedSlice":
        """Where slice `slice_id` is staged."""
        return cls(staging_dir / f"slice={slice_id}")

    @property
    def events(self) -> Path:
        """Accepted events."""
        return self.folder / "events"

    @property
    def dead_letters(self) -> Path:
        """Refused records."""
        return self.folder / "dead_letters"

    @property
    def failed_rows(self) -> Path:
        """Which rows broke which expectation of the raw gate (include.common.quarantined_rows)."""
        return self.folder / "failed_rows.parquet"

    @property
    def quarantined(self) -> Path:
        """Accepted events on their way into quarantine: each with the expectations that it broke."""
        return self.folder / "quarantined"

    def check_whole(self) -> None:
        """Raise SliceError unless both folders were written to the end."""
        for part in (self.events, self.dead_letters):
            if not (part / "_SUCCESS").exists():
                raise SliceError(
                    f"{part} is not there or was not written to the end: clear task archive_slice of this run"
                )

    def remove(self) -> None:
        """Delete what was staged."""
        shutil.rmtree(self.folder, ignore_errors=True)


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


def is_compacted(path: Path) -> bool:
    """Whether the file may hold several slices."""
    return path.name.startswith("compacted-")


def files_of_slice(table_root: Path, slice_id: str) -> list[Path]:
    """A table's files that came with the slice, in whatever folder: what readers see is in `slice_placing`."""
    return sorted(table_root.glob(f"*/**/slice-{slice_id}-*.parquet"))


def read_slice(path: Path, slice_id: str, columns: Sequence[str] | None = None) -> "pa.Table":
    """Rows of the slice in a file: all of its own file, those that bear its id in a compacted one."""
    import pyarrow.parquet as pq

    if not is_compacted(path):
        return pq.ParquetFile(path).read(columns)
    mine = [("slice_id", "=", slice_id)]
    return pq.read_table(path, columns=columns, filters=mine, partitioning=None)


def staged_partitions(staged: Path, table: HiveTable) -> set[PartitionValues]:
    """Partitions of `table` that staged files belong to; staging may be partitioned deeper than the table."""
    return {_partition_of(source, staged, table) for source in data_files(staged)}


def place(
    staged: Path, table: HiveTable, folders: Mapping[PartitionValues, Path], slice_id: str
) -> list[Path]:
    """Copy staged files into their partitions' `folders`; returns what is visible now.

    What staging is partitioned by beyond the table (quarantine has no hour) goes into the file name.
    """
    placed: list[Path] = []
    counts: dict[Path, int] = {}
    for source in data_files(staged):
        number = counts[source.parent] = counts.get(source.parent, -1) + 1
        deeper = source.relative_to(staged).parts[len(table.partitions) : -1]
        rest = "".join(f"{part.replace('=', '')}-" for part in deeper)
        target = (
            folders[_partition_of(source, staged, table)] / f"slice-{slice_id}-{rest}{number:02d}.parquet"
        )
        _copy_whole(source, target)
        placed.append(target)
    return placed


def _partition_of(source: Path, staged: Path, table: HiveTable) -> PartitionValues:
    return table.partition_values("/".join(source.relative_to(staged).parts[: len(table.partitions)]))


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
        _copy_whole(source, target)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries, and its own in its parent, survive a crash of the machine."""
    for path in (folder, folder.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy_whole(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}.tmp")
    with source.open("rb") as read, hidden.open("wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())
    hidden.replace(target)
