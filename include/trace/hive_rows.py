"""Rows of Hive tables by SQL of DuckDB over the files that the partitions point at now."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.common.hive.files import data_files
from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable, PartitionValues
from include.trace.chain import Row

if TYPE_CHECKING:
    import duckdb


class HiveReader:
    """Reads through one metastore; a table that is not there yet has no rows."""

    def __init__(self, metastore: Metastore) -> None:
        self._metastore = metastore
        self._locations: dict[str, dict[PartitionValues, Path]] = {}

    def locations(self, table: HiveTable) -> dict[PartitionValues, Path]:
        """Folder of each partition, asked once."""
        if table.name not in self._locations:
            self._locations[table.name] = self._ask(table)
        return self._locations[table.name]

    def _ask(self, table: HiveTable) -> dict[PartitionValues, Path]:
        from hmsclient.genthrift.hive_metastore import ttypes

        try:
            return self._metastore.all_locations(table)
        except ttypes.NoSuchObjectException:
            return {}

    def rows(
        self,
        table: HiveTable,
        partitions: Collection[PartitionValues] | None,
        query: str,
        values: Mapping[str, Any],
    ) -> list[Row]:
        """Rows of `query`, which reads `rows`: the table's rows in `partitions` (None: in all of them)."""
        files = [
            str(path)
            for place, folder in self.locations(table).items()
            if partitions is None or place in partitions
            for path in data_files(folder)
        ]
        if not files:
            return []
        import duckdb

        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            source = "SELECT * FROM read_parquet($files, union_by_name = true, hive_partitioning = false)"
            return rows_of(connection, f"WITH rows AS ({source}) {query}", {"files": files, **values})


def rows_of(
    connection: "duckdb.DuckDBPyConnection", query: str, values: Mapping[str, Any] | None = None
) -> list[Row]:
    """Rows of a query, as dicts."""
    found = connection.execute(query, values)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
