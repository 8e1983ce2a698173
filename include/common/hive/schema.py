"""What a Hive table is here: columns and partitions, from which DDL, Arrow and Spark schemas derive.

The tables themselves stand in include.common.hive.tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.names import Hive

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql.types import DataType, StructType

PartitionValues = tuple[str, ...]
"""Values of the partition columns, in their order, as text."""


class HiveType(StrEnum):
    """Column types in use; the value is what stands in DDL (Hive and Spark SQL agree on all of them)."""

    TEXT = "string"
    INT = "int"
    BIGINT = "bigint"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    BINARY = "binary"
    INSTANT = "timestamp"
    DATE = "date"
    TEXT_MAP = "map<string,string>"
    TEXT_LIST = "array<string>"

    def arrow(self) -> "pa.DataType":
        """The Arrow type; instants are microseconds in UTC, as Spark holds them."""
        import pyarrow as pa

        types: dict[HiveType, pa.DataType] = {
            HiveType.TEXT: pa.string(),
            HiveType.INT: pa.int32(),
            HiveType.BIGINT: pa.int64(),
            HiveType.DOUBLE: pa.float64(),
            HiveType.BOOLEAN: pa.bool_(),
            HiveType.BINARY: pa.binary(),
            HiveType.INSTANT: pa.timestamp("us", tz="UTC"),
            HiveType.DATE: pa.date32(),
            HiveType.TEXT_MAP: pa.map_(pa.string(), pa.string()),
            HiveType.TEXT_LIST: pa.list_(pa.string()),
        }
        return types[self]

    def spark(self) -> "DataType":
        """The Spark type."""
        from pyspark.sql import types as spark

        types: dict[HiveType, DataType] = {
            HiveType.TEXT: spark.StringType(),
            HiveType.INT: spark.IntegerType(),
            HiveType.BIGINT: spark.LongType(),
            HiveType.DOUBLE: spark.DoubleType(),
            HiveType.BOOLEAN: spark.BooleanType(),
            HiveType.BINARY: spark.BinaryType(),
            HiveType.INSTANT: spark.TimestampType(),
            HiveType.DATE: spark.DateType(),
            HiveType.TEXT_MAP: spark.MapType(spark.StringType(), spark.StringType()),
            HiveType.TEXT_LIST: spark.ArrayType(spark.StringType()),
        }
        return types[self]


@dataclass(frozen=True)
class Column:
    """One column; every one may be null in the files, the gates decide what may not."""

    name: str
    type: HiveType
    comment: str = ""


@dataclass(frozen=True)
class HiveTable:
    """One external Parquet table under `<warehouse>/<name>`. `key` identifies a row."""

    name: str
    columns: tuple[Column, ...]
    partitions: tuple[Column, ...]
    key: tuple[str, ...]
    comment: str

    def location(self, warehouse: Path) -> Path:
        """Root folder of the table."""
        return warehouse / self.name

    def partition_name(self, values: PartitionValues) -> str:
        """`dt=2026-11-24/hour=5`: the partition's name in the metastore and its default folder."""
        names = (column.name for column in self.partitions)
        return "/".join(f"{name}={value}" for name, value in zip(names, values, strict=True))

    def partition_values(self, name: str) -> PartitionValues:
        """Inverse of `partition_name`; raises ValueError for a name of another table's shape."""
        pairs = [part.partition("=") for part in name.split("/")]
        if [pair[0] for pair in pairs] != [column.name for column in self.partitions]:
            raise ValueError(f"{name!r} is no partition of {self.name}")
        return tuple(pair[2] for pair in pairs)

    def ddl(self, warehouse: Path) -> str:
        """CREATE EXTERNAL TABLE, as Hive and Spark SQL read it."""
        columns = ",\n  ".join(_column_ddl(column) for column in self.columns)
        partitions = ", ".join(_column_ddl(column) for column in self.partitions)
        return (
            f"CREATE EXTERNAL TABLE IF NOT EXISTS `{Hive.DATABASE}`.`{self.name}` (\n  {columns}\n)\n"
            f"COMMENT '{_quoted(self.comment)}'\nPARTITIONED BY ({partitions})\n"
            f"STORED AS PARQUET\nLOCATION '{location_of(self.location(warehouse))}'"
        )

    def arrow_schema(self, *, with_partitions: bool = False) -> "pa.Schema":
        """Schema of the files; `with_partitions` adds the partition columns, which files leave out."""
        return arrow_schema(self.columns + (self.partitions if with_partitions else ()))

    def spark_schema(self, *, with_partitions: bool = False) -> "StructType":
        """The same for Spark."""
        return spark_schema(self.columns + (self.partitions if with_partitions else ()))

    def column_names(self) -> list[str]:
        """Names of the columns in the files."""
        return [column.name for column in self.columns]


def arrow_schema(columns: Sequence[Column]) -> "pa.Schema":
    """Arrow schema of `columns`."""
    import pyarrow as pa

    return pa.schema([(column.name, column.type.arrow()) for column in columns])


def spark_schema(columns: Sequence[Column]) -> "StructType":
    """Spark schema of `columns`."""
    from pyspark.sql.types import StructField, StructType

    return StructType([StructField(column.name, column.type.spark()) for column in columns])


def _quoted(text: str) -> str:
    return text.replace("'", "\\'")


def _column_ddl(column: Column) -> str:
    comment = f" COMMENT '{_quoted(column.comment)}'" if column.comment else ""
    return f"`{column.name}` {column.type}{comment}"


def location_of(path: Path) -> str:
    """`path` as Hive and Hadoop write a location: nothing is percent-encoded (`dt=...` keeps its sign)."""
    return f"file://{path}"


def path_of(location: str) -> Path:
    """Inverse of `location_of`; Hadoop also writes `file:/...`. Raises ValueError for another file system."""
    scheme, colon, rest = location.partition(":")
    if not colon:
        return Path(location)
    if scheme != "file":
        raise ValueError(f"{location}: only local and mounted folders are supported")
    return Path("/" + rest.lstrip("/"))
