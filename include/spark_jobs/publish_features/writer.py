"""New folders for touched partitions: `<table>/publication=<id>/dt=<date>`, written before anything points at
them."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.hive.schema import HiveTable, PartitionValues, location_of
from include.common.hive.tables import DT

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

Folders = dict[PartitionValues, Path]
"""Partition -> its new folder."""


def publication_folder(warehouse: Path, table: HiveTable, publication_id: str) -> Path:
    """Where a publication of `table` is written; never used twice."""
    return table.location(warehouse) / f"publication={publication_id}"


def write_by_date(rows: "DataFrame", table: HiveTable, folder: Path, dates: Collection[str] = ()) -> Folders:
    """Write rows by `dt`, one file a date, in the order of the key; of `dates` also those without a row."""
    (
        rows.repartition(DT.name)
        .sortWithinPartitions(DT.name, *table.key)
        .write.mode("errorifexists")
        .partitionBy(DT.name)
        .parquet(location_of(folder))
    )
    for date in dates:
        (folder / table.partition_name((date,))).mkdir(exist_ok=True)
    return {table.partition_values(part.name): part for part in sorted(folder.glob(f"{DT.name}=*"))}


def write_daily(rows: "pa.Table", table: HiveTable, dt: str, folder: Path) -> Folders:
    """Write a mart's rows as the partition of day `dt`."""
    import pyarrow.parquet as pq

    values = (dt,)
    part = folder / table.partition_name(values)
    part.mkdir(parents=True)
    pq.write_table(rows, part / "part-00000.parquet", compression="zstd")
    return {values: part}
