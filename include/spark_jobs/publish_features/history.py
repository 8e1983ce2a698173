"""Histories of the marts: what waits in the outbox is added to the partition of the day it came to be known.

A partition is written as the others are (new folder, then point), but its rows are only ever added to. Files of
the folder before are linked into the new one, the small ones are merged with what is new, so that each file has more
rows than all smaller ones together: a partition of n rows has at most log2(n) + 1 files, and no row is written
more than log2(n) + 1 times.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from include.common.hive.files import data_files, sync_folder
from include.common.hive.mart_changes import PUBLICATION_ID, MartPublication, held_publications
from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable
from include.spark_jobs.publish_features.writer import Folders
from include.spark_jobs.session import JobError

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 20_000
_ROW_GROUP_ROWS = 200_000
_ABOUT = {
    PUBLICATION_ID: "change.publication_id",
    "cut_id": "publication.cut_id",
    "generation": "publication.generation",
    "event_time": "publication.as_of",
    "known_at": "publication.known_at",
    "is_removed": "change.is_removed",
}


def write_history(
    connection: psycopg.Connection,
    metastore: Metastore,
    mart: str,
    table: HiveTable,
    waiting: list[MartPublication],
    folder: Path,
) -> Folders:
    """Write partitions with what they hold and what waits; one that holds it already keeps its folder.

    `connection` must not be in a transaction. Raises JobError for a mart that lacks a column.
    """
    partitions: Folders = {}
    current = metastore.locations(table, [(dt,) for dt in sorted({it.dt for it in waiting})])
    for dt in sorted({it.dt for it in waiting}):
        values = (dt,)
        of_day = [it for it in waiting if it.dt == dt]
        old = current.get(values)
        held = held_publications(old, [it.publication_id for it in of_day]) if old else set()
        new = [it for it in of_day if it.publication_id not in held]
        if old and not new:
            partitions[values] = old
            continue
        part = folder / table.partition_name(values)
        part.mkdir(parents=True)
        _write_partition(connection, mart, table, new, data_files(old) if old else [], part)
        partitions[values] = part
    return partitions


def _write_partition(
    connection: psycopg.Connection,
    mart: str,
    table: HiveTable,
    new: list[MartPublication],
    files: list[Path],
    part: Path,
) -> None:
    import pyarrow.parquet as pq

    merged, linked = split_by_size(files, sum(it.rows for it in new))
    for path in linked:
        _link(path, part / path.name)
    schema = table.arrow_schema()
    target = part / f"part-{max(it.publication_id for it in new):012d}.parquet"
    with target.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for rows in _row_groups(_all_rows(connection, mart, table, new, merged)):
                writer.write_table(rows, row_group_size=_ROW_GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())  # the outbox lets go of these rows
    sync_folder(part)


def split_by_size(files: list[Path], rows: int) -> tuple[list[Path], list[Path]]:
    """Files to merge with `rows` new rows, and files to leave as they are: each larger than all before it together."""
    import pyarrow.parquet as pq

    counts = {path: pq.read_metadata(path).num_rows for path in files}
    by_size = sorted(files, key=lambda path: (counts[path], path.name))
    merge = 0
    for place, path in enumerate(by_size, start=1):
        if counts[path] <= rows:
            merge = place
        rows += counts[path]
    return sorted(by_size[:merge]), by_size[merge:]


def _all_rows(
    connection: psycopg.Connection,
    mart: str,
    table: HiveTable,
    new: list[MartPublication],
    merged: list[Path],
) -> Iterator["pa.RecordBatch"]:
    import pyarrow.parquet as pq

    for path in merged:
        for batch in pq.ParquetFile(path).iter_batches(_BATCH_ROWS):
            yield _with_all_columns(batch, table.arrow_schema())
    yield from _changed_rows(connection, mart, table, new)


def _row_groups(batches: Iterable["pa.RecordBatch"]) -> Iterator["pa.Table"]:
    """Few large row groups, whatever the size of the batches."""
    import pyarrow as pa

    gathered: list[pa.RecordBatch] = []
    for batch in batches:
        gathered.append(batch)
        if sum(map(len, gathered)) >= _ROW_GROUP_ROWS:
            yield pa.Table.from_batches(gathered)
            gathered = []
    if gathered:
        yield pa.Table.from_batches(gathered)


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:  # a mounted store that knows no hard links
        shutil.copy2(path, target)


def _with_all_columns(batch: "pa.RecordBatch", schema: "pa.Schema") -> "pa.RecordBatch":
    """A batch of an older file, null in columns that came later."""
    import pyarrow as pa

    known = set(batch.schema.names)
    arrays = [
        batch.column(field.name).cast(field.type) if field.name in known else pa.nulls(len(batch), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _changed_rows(
    connection: psycopg.Connection, mart: str, table: HiveTable, publications: list[MartPublication]
) -> Iterator["pa.RecordBatch"]:
    """Rows of the publications in the outbox; one that was removed has its key alone."""
    import pyarrow as pa

    keys = [name for name in table.key if name != PUBLICATION_ID]
    expressions = [
        _ABOUT.get(name)
        or (f"mart.{name}" if name in keys else f"CASE WHEN NOT change.is_removed THEN mart.{name} END")
        for name in table.column_names()
    ]
    order = ", ".join(f"mart.{name}" for name in keys)
    query = (
        f"SELECT {', '.join(expressions)} FROM ops.mart_changes AS change"  # noqa: S608  names of hive_tables
        " INNER JOIN ops.mart_publications AS publication USING (publication_id)"
        f" CROSS JOIN LATERAL jsonb_populate_record(NULL::marts.{mart}, change.features) AS mart"
        f" WHERE change.mart = %s AND change.publication_id = ANY(%s) ORDER BY change.publication_id, {order}"
    )
    schema = table.arrow_schema()
    try:
        with connection.transaction(), connection.cursor(name="mart_changes") as cursor:
            cursor.execute(query.encode(), (mart, [it.publication_id for it in publications]))
            while rows := cursor.fetchmany(_BATCH_ROWS):
                arrays = (
                    pa.array(values, field.type)
                    for values, field in zip(zip(*rows, strict=True), schema, strict=True)
                )
                yield pa.RecordBatch.from_arrays(list(arrays), schema=schema)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise JobError(
            f"marts.{mart} does not have what {table.name} takes from it ({error.diag.message_primary}): run "
            f"ops__migrate_store, or bring include.common.hive.tables and the dbt model together"
        ) from error
