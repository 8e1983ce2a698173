"""Reading Hive tables without Hive: which files readers see, and an Arrow dataset over them.

Only the metastore knows which folders count: others below a table's root are old, or not yet whole. How to use
this and the other ways is in docs/reading-the-batch-store.md.
"""

import functools
import operator
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.common.hive.files import visible_files
from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable, HiveType, PartitionValues

if TYPE_CHECKING:
    import pyarrow.dataset as ds


def partition_files(
    metastore: Metastore, table: HiveTable, wanted: Callable[[PartitionValues], bool] = lambda _: True
) -> dict[PartitionValues, list[Path]]:
    """Files of each partition whose values `wanted` accepts, as they are at this moment.

    They stay on disk after the partition has moved on: for a day, of a published table until the publication after
    the next one.
    """
    return {
        values: visible_files(folder)
        for values, folder in sorted(metastore.all_locations(table).items())
        if wanted(values)
    }


def hive_dataset(
    metastore: Metastore, table: HiveTable, wanted: Callable[[PartitionValues], bool] = lambda _: True
) -> "ds.Dataset":
    """Arrow dataset of the table with its partition columns; a column that a file is older than is null.

    Filters on partition columns open only the files that they need.
    """
    import pyarrow.dataset as ds
    from pyarrow import fs

    files, form = fs.LocalFileSystem(), ds.ParquetFileFormat()
    fragments = [
        form.make_fragment(str(path), files, partition_expression=_is_partition(table, values))
        for values, paths in partition_files(metastore, table, wanted).items()
        for path in paths
    ]
    return ds.FileSystemDataset(fragments, table.arrow_schema(with_partitions=True), form, files)


def _is_partition(table: HiveTable, values: PartitionValues) -> "ds.Expression":
    import pyarrow.dataset as ds

    equal: list[Any] = [
        ds.field(column.name) == (int(value) if column.type is HiveType.INT else value)
        for column, value in zip(table.partitions, values, strict=True)
    ]
    return functools.reduce(operator.and_, equal)
