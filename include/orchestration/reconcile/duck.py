"""DuckDB: opening it, and what every query of the reconciliation does."""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.common.hive.schema import HiveTable

if TYPE_CHECKING:
    import duckdb

_SQL = Path(__file__).parent / "sql"


@contextmanager
def open_duckdb(scratch: Path, memory_limit: str) -> "Iterator[duckdb.DuckDBPyConnection]":
    """A DuckDB in memory that spills to folder `scratch` beyond `memory_limit` (`4GB`)."""
    import duckdb

    settings = {
        "memory_limit": memory_limit,
        "temp_directory": str(scratch),
        "TimeZone": "UTC",
        "preserve_insertion_order": "false",
        "enable_progress_bar": "false",
    }
    with duckdb.connect(config={"autoinstall_known_extensions": False}) as connection:
        for name, value in settings.items():
            connection.execute(f"SET {name} = '{value}'")
        # DuckDB has none
        connection.create_function("crc32", _crc32, ["VARCHAR"], "BIGINT")
        yield connection


def _crc32(text: str) -> int:
    return zlib.crc32(text.encode())


def run_file(connection: "duckdb.DuckDBPyConnection", name: str) -> None:
    """Run the statements of a file in `sql/`."""
    connection.execute(sql_text(name)).fetchall()


def sql_text(name: str) -> str:
    """A file in `sql/`."""
    return (_SQL / name).read_text(encoding="utf-8")


def one(
    connection: "duckdb.DuckDBPyConnection", query: str, parameters: Sequence[Any] = ()
) -> tuple[Any, ...]:
    """The one row of a query."""
    (row,) = connection.execute(query, parameters).fetchall()
    return tuple(row)


def rows_of_files(
    connection: "duckdb.DuckDBPyConnection", table: HiveTable, files: Sequence[str]
) -> "duckdb.DuckDBPyRelation":
    """The rows of a Hive table's files; none, of the same shape, where there is no file."""
    if files:
        return connection.read_parquet(list(files), union_by_name=True, hive_partitioning=False)
    return connection.from_arrow(table.arrow_schema().empty_table())


def row_count(connection: "duckdb.DuckDBPyConnection", files: Sequence[str]) -> int:
    """Rows in Parquet files, by their footers."""
    if not files:
        return 0
    return int(one(connection, "SELECT sum(num_rows) FROM parquet_file_metadata(?)", [list(files)])[0])
