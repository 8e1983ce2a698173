"""Small files of a partition of slices, put together into few large ones.

A compacted file holds rows of several slices, in order of (Kafka partition, offset), and names these slices in
its footer: what it holds is known from the file alone, whatever else was lost. DuckDB sorts and spills to disk
(`memory_limit`), so memory does not grow with the partition; Arrow writes, so the schema is the table's own.
"""

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from include.common.archive.slice_files import is_compacted
from include.common.hive.files import sync_folder, visible_files
from include.common.hive.schema import HiveTable

if TYPE_CHECKING:
    import pyarrow as pa

MIB: Final = 1 << 20
SLICES_KEY: Final = b"webtoon.slices"
"""In the footer of a compacted file: JSON list of the slices that it holds rows of."""
_SLICE_NAME: Final = re.compile(r"slice-(\d{8}T\d{6}Z-[0-9a-f]{12})-.*\.parquet")


class CompactionError(RuntimeError):
    """Files cannot be put together; nothing that readers see was changed."""


@dataclass(frozen=True)
class CompactionLimits:
    """Sizes in bytes. A file is small below half of `target_bytes`; `min_files` small ones are worth a rewrite."""

    target_bytes: int = 128 * MIB
    min_files: int = 8
    row_group_rows: int = 100_000
    memory_limit: str = "384MB"

    @property
    def small_bytes(self) -> int:
        """Smaller files are put together."""
        return self.target_bytes // 2


def slice_of(path: Path) -> str | None:
    """Slice that the archive named the file by; None for a compacted file, or any other."""
    found = _SLICE_NAME.fullmatch(path.name)
    return found[1] if found else None


def slices_in(path: Path) -> frozenset[str]:
    """Slices whose rows a compacted file holds, by its footer. Raises CompactionError for a file without them."""
    import pyarrow.parquet as pq

    stored = (pq.read_metadata(path).metadata or {}).get(SLICES_KEY)
    if stored is None:
        raise CompactionError(
            f"{path} does not say which slices it holds: it was not written by a compaction"
        )
    return frozenset(json.loads(stored))


def small_files(folder: Path, settled: Collection[str], limits: CompactionLimits) -> list[Path]:
    """What to put together: small compacted files, and small ones of `settled` slices; empty if too few."""
    found = [
        path
        for path in visible_files(folder)
        if (is_compacted(path) or slice_of(path) in settled) and path.stat().st_size < limits.small_bytes
    ]
    return found if len(found) >= limits.min_files else []


def merge_files(
    inputs: Sequence[Path],
    table: HiveTable,
    folder: Path,
    name: str,
    limits: CompactionLimits,
    *,
    without: str | None = None,
) -> list[Path]:
    """Write the rows of `inputs` to `<folder>/compacted-<name>-NN.parquet`, durably; leave out slice `without`.

    Each column of the table is there, null where a file is older than the column. Raises CompactionError where a
    file has a column that the table lacks, or rows were lost or doubled.
    """
    import pyarrow.parquet as pq

    stored = sorted({column for path in inputs for column in pq.read_schema(path).names})
    if unknown := set(stored) - set(table.column_names()):
        raise CompactionError(
            f"files of {table.name} have columns that include.common.hive.tables lacks: {', '.join(sorted(unknown))}. "
            f"A newer release wrote them; compact with that one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Roller(folder, name, limits)
    written = 0
    with writer:
        for batch in _sorted_rows(inputs, stored, folder, limits, without):
            written += batch.num_rows
            writer.write(_as_table(batch, table))
    if without is None and written != (wanted := sum(pq.read_metadata(path).num_rows for path in inputs)):
        raise CompactionError(f"{folder}: {wanted} rows to put together, {written} written")
    sync_folder(folder)
    return writer.files


def _sorted_rows(
    inputs: Sequence[Path],
    columns: Sequence[str],
    folder: Path,
    limits: CompactionLimits,
    without: str | None,
) -> "Iterator[pa.RecordBatch]":
    import duckdb

    names = ", ".join(f'"{column}"' for column in columns)
    with (
        tempfile.TemporaryDirectory(prefix=".spill-", dir=folder) as spill,
        duckdb.connect(
            config={"memory_limit": limits.memory_limit, "threads": 1, "temp_directory": spill}
        ) as engine,
    ):
        rows = engine.sql(
            f"SELECT {names} FROM read_parquet($files, union_by_name = true, hive_partitioning = false)"  # noqa: S608  names of the files' own columns
            " WHERE slice_id IS DISTINCT FROM $without ORDER BY kafka_partition, kafka_offset",
            params={"files": [str(path) for path in inputs], "without": without},
        )
        yield from rows.to_arrow_reader(limits.row_group_rows)


def _as_table(batch: "pa.RecordBatch", table: HiveTable) -> "pa.Table":
    import pyarrow as pa

    schema = table.arrow_schema()
    columns = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class _Roller:
    """Writes row groups into files of at most about `target_bytes`, and into each footer its slices."""

    def __init__(self, folder: Path, name: str, limits: CompactionLimits) -> None:
        self.files: list[Path] = []
        self._folder, self._name, self._limits = folder, name, limits
        self._sink: pa.NativeFile | None = None
        self._writer: pa.parquet.ParquetWriter | None = None
        self._slices: set[str] = set()
        self._largest_group = 0

    def __enter__(self) -> "_Roller":
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def write(self, rows: "pa.Table") -> None:
        """Add one row group; a new file begins where it would not fit."""
        before = self._sink.tell() if self._sink else 0
        if before + self._largest_group > self._limits.target_bytes:
            self._close()
            before = 0
        if self._writer is None:
            self._open(rows.schema)
        assert self._writer is not None
        assert self._sink is not None
        self._writer.write_table(rows, row_group_size=rows.num_rows)
        self._slices.update(rows["slice_id"].unique().to_pylist())
        self._largest_group = max(self._largest_group, self._sink.tell() - before)

    def _open(self, schema: "pa.Schema") -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.files.append(self._folder / f"compacted-{self._name}-{len(self.files):02d}.parquet")
        self._sink = pa.OSFile(str(self.files[-1]), "wb")
        self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd")

    def _close(self) -> None:
        if self._writer is None or self._sink is None:
            return
        self._writer.add_key_value_metadata({SLICES_KEY: json.dumps(sorted(self._slices)).encode()})
        self._writer.close()
        self._sink.close()
        with self.files[-1].open("rb") as written:
            os.fsync(written.fileno())
        self._writer = self._sink = None
        self._slices = set()
