"""Files of an archive slice: staged, then placed into a table's folders under the slice's name.

A file becomes visible by one rename, whole; names start with the slice's id, so a repeat replaces its own
files. Readers of Hive tables (Spark, pyarrow, DuckDB by `*.parquet`) pass over names that start with a dot.
"""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from include.common.archive.slices import SliceError
from include.common.hive.files import copy_whole, data_files
from include.common.hive.schema import HiveTable, PartitionValues

if TYPE_CHECKING:
    import pyarrow as pa


_SLICE_FILE: Final = re.compile(r"slice-(.+Z-[0-9a-f]{12})-")


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
        """Which rows broke which expectation of the raw gate (include.common.archive.quarantined_rows)."""
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


def is_compacted(path: Path) -> bool:
    """Whether the file may hold several slices."""
    return path.name.startswith("compacted-")


def slice_of_file(path: Path) -> str:
    """The slice that a file came with, by its name; not of a compacted one."""
    found = _SLICE_FILE.match(path.name)
    if found is None:
        raise SliceError(f"{path} is neither of a slice nor compacted: move it out of the folder")
    return found[1]


def files_of_slice(table_root: Path, slice_id: str) -> list[Path]:
    """A table's files that came with the slice, in whatever folder: what readers see is in `placing`."""
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
        copy_whole(source, target)
        placed.append(target)
    return placed


def _partition_of(source: Path, staged: Path, table: HiveTable) -> PartitionValues:
    return table.partition_values("/".join(source.relative_to(staged).parts[: len(table.partitions)]))
