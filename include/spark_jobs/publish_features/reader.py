"""One consistent look at PostgreSQL, and the landing files that the ledger lists.

Cut, ledger, marts and reference are read in one REPEATABLE READ transaction: the marts are those of the
newest published cut, because features__model moves both in one transaction.

Where the cut is of another generation than what was published last, sessions that began when the two differ
are published anew (`lineage`), and what Hive holds of them is replaced.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from include.common.backfills import Backfill, newest_backfills
from include.common.erasure.erasures import ErasedReaders, erased_readers, erasure_key
from include.common.hive.mart_changes import MartPublication, waiting_publications
from include.common.hive.publications import published_generation, published_position
from include.common.hive.schema import Column, HiveTable, HiveType, spark_schema
from include.common.hive.tables import DAILY_MARTS, MART_HISTORIES, SESSION_FEATURES
from include.contract.event import MAX_FUTURE_MS
from include.spark_jobs.publish_features.lineage import Origin, Succession, succession
from include.spark_jobs.session import JobError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

_ADDED = {"genre", "episode_rating", "generation", "ledger_position"}
_EPISODES = (
    Column("known_episode_id", HiveType.TEXT),
    Column("genre", HiveType.TEXT),
    Column("episode_rating", HiveType.DOUBLE),
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
    """A file that the ledger lists: generation and `position` of its micro-batch, rows and SHA-256 as
    committed."""

    path: Path
    generation: int
    position: int
    rows: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """What one look at PostgreSQL found. `episodes`: rows in the order of `episode_schema`. `succession`:
    only where the generation changed since the last publication. `changes`: by mart, what its history lacks.
    `backfills`: the newest one of every day that was rebuilt, by dt."""

    cut: Cut
    succession: Succession | None
    files: list[LandingFile]
    episodes: list[tuple[str, str, float, int, int]]
    marts: "dict[str, pa.Table]"
    changes: dict[str, list[MartPublication]]
    backfills: dict[str, Backfill]
    erased: ErasedReaders = field(default_factory=ErasedReaders)
    """Whose rows are left out wherever they still stand."""


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
        erased = erased_readers(connection, erasure_key(required=False))
        changed = _succession(connection, cut, run_id)
        return Snapshot(
            cut,
            changed,
            _listed_files(connection, cut, changed, landing_dir, run_id),
            _episodes(connection),
            {mart: _mart(connection, mart, table, cut, erased) for mart, table in DAILY_MARTS.items()},
            {mart: waiting_publications(connection, mart) for mart in MART_HISTORIES},
            newest_backfills(connection),
            erased,
        )


def _succession(connection: psycopg.Connection, cut: Cut, run_id: str) -> Succession | None:
    before = published_generation(connection, SESSION_FEATURES.name, run_id)
    if before is None:
        return None
    rows = connection.execute(
        "SELECT generation, (rules ->> 'publish_from_ms')::bigint, (rules ->> 'follows')::integer"
        " FROM ops.stream_generations"
    )
    return succession(before, cut.generation, {row[0]: Origin(row[1], row[2]) for row in rows})


def _listed_files(
    connection: psycopg.Connection, cut: Cut, changed: Succession | None, landing_dir: Path, run_id: str
) -> list[LandingFile]:
    """Files not yet published; after a succession also all that may hold sessions which are published
    anew."""

    def done(generation: int) -> int:
        return published_position(connection, SESSION_FEATURES.name, generation, run_id)

    files = _files(connection, landing_dir, cut.generation, done(cut.generation), cut.ledger_position)
    if changed is None:
        return files
    anew = {
        span.generation: _first_position(connection, span.generation, max(span.from_ms, changed.from_ms))
        for span in changed.spans
        if span.to_ms > changed.from_ms
    }
    after = {changed.before: done(changed.before)} | {cut.generation: done(cut.generation)}
    wanted = {number: min(after.get(number, position), position) for number, position in anew.items()}
    return [
        file
        for number, position in (after | wanted).items()
        for file in _files(
            connection,
            landing_dir,
            number,
            position,
            cut.ledger_position if number == cut.generation else None,
        )
    ]


def _first_position(connection: psycopg.Connection, generation: int, began_ms: int) -> int:
    """Ledger position after which a generation's files may hold sessions that began at `began_ms` or later.

    A session begins at most MAX_FUTURE_MS after the newest record of its micro-batch and of those before.
    """
    row = connection.execute(
        "SELECT min(position) FROM (SELECT position, max(max_kafka_at) OVER (ORDER BY position) AS newest"
        " FROM ops.stream_batches WHERE generation = %s) AS ledger"
        " WHERE extract(epoch FROM newest) * 1000 >= %s OR newest IS NULL",
        (generation, began_ms - MAX_FUTURE_MS),
    ).fetchone()
    return 0 if row is None or row[0] is None else int(row[0]) - 1


def _files(
    connection: psycopg.Connection, landing_dir: Path, generation: int, after: int, to: int | None
) -> list[LandingFile]:
    """Landing files of a generation with a position above `after`, up to `to` where given."""
    rows = connection.execute(
        "SELECT landing_path, generation, position, landing_rows, landing_sha256 FROM ops.stream_batches"
        " WHERE generation = %(generation)s AND position > %(after)s"
        " AND (%(to)s::bigint IS NULL OR position <= %(to)s) AND landing_path IS NOT NULL ORDER BY position",
        {"generation": generation, "after": after, "to": to},
    )
    return [LandingFile(landing_dir / path, *others) for path, *others in rows]


def _episodes(connection: psycopg.Connection) -> list[tuple[str, str, float, int, int]]:
    """Versions of each episode's genre and rating; validity in epoch microseconds, so that infinity fits."""
    bound = (
        "CASE {0} WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN -9223372036854775808"
        " ELSE (extract(epoch FROM {0}) * 1000000)::bigint END"
    )
    rows = connection.execute(
        f"SELECT episode_id, genre, rating, {bound.format('valid_from')}, {bound.format('valid_to')}"  # noqa: S608  constants
        " FROM reference.episode_metadata"
    )
    return [(str(row[0]), str(row[1]), float(row[2]), int(row[3]), int(row[4])) for row in rows]


def _mart(
    connection: psycopg.Connection, mart: str, table: HiveTable, cut: Cut, erased: ErasedReaders
) -> "pa.Table":
    import pyarrow as pa

    names = [column.name for column in table.columns if column.name not in ("cut_id", "as_of")]
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(names)} FROM marts.{mart} ORDER BY {', '.join(table.key)}")  # noqa: S608  names of hive_tables
            rows = cursor.fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise JobError(
            f"marts.{mart} does not have what {table.name} takes from it ({error.diag.message_primary}): run "
            f"features__model, or bring include.common.hive.tables and the dbt model together"
        ) from error
    if erased and "user_id" in names:
        rows = [row for row in rows if row[names.index("user_id")] not in erased]
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


def read_landing(spark: "SparkSession", files: list[LandingFile]) -> "DataFrame":
    """Final readings of the files, with the generation and the ledger position of their micro-batch."""
    from pyspark.sql import functions as F

    columns = [
        Column(column.name, HiveType.TEXT if column.type is HiveType.TEXT_MAP else column.type)
        for column in SESSION_FEATURES.columns
        if column.name not in _ADDED
    ]
    if not files:
        own = [Column("generation", HiveType.INT), Column("ledger_position", HiveType.BIGINT)]
        every = [Column(it.name, it.type) for it in SESSION_FEATURES.columns if it.name not in _ADDED]
        return spark.createDataFrame([], spark_schema([*every, *own]))
    # two generations may have files of one name: the same micro-batch of the same readings
    positions = spark.createDataFrame(
        [(f"{file.path.parent.name}/{file.path.name}", file.generation, file.position) for file in files],
        "landing_name string, generation int, ledger_position bigint",
    )
    name = F.regexp_extract(F.col("_metadata.file_path"), "([^/]+/[^/]+)$", 1)
    readings = (
        spark.read.schema(spark_schema(columns))
        .parquet(*(str(file.path) for file in files))
        .select("*", name.alias("landing_name"))
    )
    return (
        readings.join(F.broadcast(positions), on="landing_name", how="left")
        .drop("landing_name")
        .withColumn("experiments", F.from_json(F.col("experiments"), HiveType.TEXT_MAP.value))
    )


def read_episodes(spark: "SparkSession", snapshot: Snapshot) -> "DataFrame":
    """Episode versions: known_episode_id, genre, episode_rating, valid_from_us, valid_to_us."""
    return spark.createDataFrame(snapshot.episodes, spark_schema(_EPISODES))


def read_partitions(spark: "SparkSession", folders: list[Path]) -> "DataFrame":
    """What the partitions in `folders` hold now; files of an older schema read null in new columns."""
    return spark.read.schema(SESSION_FEATURES.spark_schema()).parquet(*(str(folder) for folder in folders))
