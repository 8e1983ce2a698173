"""The staging folder of a slice, laid out as the tables are partitioned."""

from pathlib import Path
from typing import TYPE_CHECKING

from include.common.hive.schema import HiveTable, location_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def write_staged(rows: "DataFrame", table: HiveTable, folder: Path) -> None:
    """Write one file a partition, rows in (partition, offset) order: the same slice gives the same files."""
    partitions = [column.name for column in table.partitions]
    (
        rows.repartition(2, *partitions)
        .sortWithinPartitions(*partitions, "kafka_partition", "kafka_offset")
        .write.mode("overwrite")
        .partitionBy(*partitions)
        .parquet(location_of(folder))
    )
