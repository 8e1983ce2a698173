"""One consistent look at PostgreSQL, and the landing files that the ledger lists.

Cut, ledger, marts and reference are read in one REPEATABLE READ transaction: the marts are those of the
newest published cut, because features__model moves both in one transaction.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from include.common.hive import Column, HiveTable, HiveType, spark_schema
from include.common.hive_tables import DAILY_MARTS, SESSION_FEATURES
from include.common.publications import published_position
from include.spark_jobs.session import JobError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_ADDED = {"genre", "generation", "ledger_position"}
_EPISODES = (
    Column("known_episode_id", HiveType.TEXT),
    Column("genre", HiveType.TEXT),
    Column("valid_from_us", HiveType.BIGINT),
    Column("valid_to_us", HiveType.BIGINT),
)


@dataclass(frozen=True)
class Cut:
    """The published model cut that is brought to Hive."""

    cut_id: int
    generation: int
    ledger_position: int
    as_of: datetime


@dataclass(frozen=True)
class LandingFile:
    """A file that the ledger lists: `position` of its micro-batch, rows and SHA-256 as committed."""

    path: Path
    position: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """What one look at PostgreSQL found. `episodes`: rows in the order of `episode_schema`."""

    cut: Cut
    files: list[LandingFile]
    episodes: list[tuple[str, str, int, int]]
    marts: "dict[str, pa.Table]"


def take_snapshot(connection: psycopg.Connection, landing_dir: Path, run_id: str) -> Snapshot | None:
    """Everything to publish after what other runs have; None where no cut was published yet.

    `connection` must not be in a transaction. Raises JobError for marts that lack a column.
    """
    connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
    with connection.transaction():
        row = connection.execute(
            # by published_at as the serving views: a reopened cut is still what marts hold
            "SELECT cut_id, generation, ledger_position, as_of FROM ops.model_cuts WHERE published_at IS NOT NULL"
            " ORDER BY published_at DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return None
        cut = Cut(*row)
        done = published_position(connection, SESSION_FEATURES.name, cut.generation, run_id)
        return Snapshot(
            cut,
            _listed_files(connection, cut, done, landing_dir),
            _episodes(connection),
            {mart: _mart(connection, mart, table, cut) for mart, table in DAILY_MARTS.items()},
        )


def _listed_files(
    connection: psycopg.Connection, cut: Cut, done: int, landing_dir: Path
) -> list[LandingFile]:
    rows = connection.execute(
        "SELECT landing_path, position, landing_rows, landing_sha256 FROM ops.stream_batches"
        " WHERE generation = %s AND position > %s AND position <= %s AND landing_path IS NOT NULL"
        " ORDER BY position",
        (cut.generation, done, cut.ledger_position),
    )
    return [
        LandingFile(landing_dir / path, position, count, sha256) for path, position, count, sha256 in rows
    ]


def _episodes(connection: psycopg.Connection) -> list[tuple[str, str, int, int]]:
    """Versions of each episode's genre; validity in epoch microseconds, so that infinity fits."""
    bound = (
        "CASE {0} WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN -9223372036854775808"
        " ELSE (extract(epoch FROM {0}) * 1000000)::bigint END"
    )
    rows = connection.execute(
        f"SELECT episode_id, genre, {bound.format('valid_from')}, {bound.format('valid_to')}"  # noqa: S608  constants
        " FROM reference.episode_metadata"
    )
    return [(str(row[0]), str(row[1]), int(row[2]), int(row[3])) for row in rows]


def _mart(connection: psycopg.Connection, mart: str, table: HiveTable, cut: Cut) -> "pa.Table":
    import pyarrow as pa

    names = [column.name for column in table.columns if column.name not in ("cut_id", "as_of")]
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(names)} FROM marts.{mart} ORDER BY {', '.join(table.key)}")  # noqa: S608
            rows = cursor.fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise JobError(
            f"marts.{mart} does not have what {table.name} takes from it ({error.diag.message_primary}): run "
            f"features__model, or bring include.common.hive_tables and the dbt model together"
        ) from error
    schema = table.arrow_schema()
    values = list(zip(*rows, strict=True)) or [()] * len(names)
    columns = {"cut_id": [cut.cut_id] * len(rows), "as_of": [cut.as_of] * len(rows)}
    columns |= {name: list(column) for name, column in zip(names, values, strict=True)}
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def verify_files(files: list[LandingFile]) -> None:
    """Raise JobError unless each file's bytes are those whose hash the ledger committed."""
    with ThreadPoolExecutor(4) as pool:
        faults = [fault for fault in pool.map(_fault, files) if fault]
    if faults:
        raise JobError(
            f"{len(faults)} of {len(files)} landing files differ from the ledger (ops.stream_batches), nothing was "
            f"published: {'; '.join(faults[:5])}. Restore them; see docs/runbooks/features_publish_batch.md"
        )


def _fault(file: LandingFile) -> str | None:
    try:
        with file.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except FileNotFoundError:
        return f"{file.path} is missing"
    return None if digest == file.sha256 else f"{file.path} has another SHA-256"


def read_landing(spark: "SparkSession", files: list[LandingFile], generation: int) -> "DataFrame":
    """Closed readings of the files, with the generation and the ledger position of their micro-batch."""
    from pyspark.sql import functions as F

    columns = [
        Column(column.name, HiveType.TEXT if column.type is HiveType.TEXT_MAP else column.type)
        for column in SESSION_FEATURES.columns
        if column.name not in _ADDED
    ]
    positions = spark.createDataFrame(
        [(file.path.name, file.position) for file in files], "landing_name string, ledger_position bigint"
    )
    readings = (
        spark.read.schema(spark_schema(columns))
        .parquet(*(str(file.path) for file in files))
        .select("*", F.col("_metadata.file_name").alias("landing_name"))
    )
    return (
        readings.join(F.broadcast(positions), on="landing_name", how="left")
        .drop("landing_name")
        .withColumn("experiments", F.from_json(F.col("experiments"), HiveType.TEXT_MAP.value))
        .withColumn("generation", F.lit(generation))
    )


def read_episodes(spark: "SparkSession", snapshot: Snapshot) -> "DataFrame":
    """Episode versions: known_episode_id, genre, valid_from_us, valid_to_us."""
    return spark.createDataFrame(snapshot.episodes, spark_schema(_EPISODES))


def read_partitions(spark: "SparkSession", folders: list[Path]) -> "DataFrame":
    """What the partitions in `folders` hold now; files of an older schema read null in new columns."""
    return spark.read.schema(SESSION_FEATURES.spark_schema()).parquet(*(str(folder) for folder in folders))
