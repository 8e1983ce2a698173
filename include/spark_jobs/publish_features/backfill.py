"""Publish rebuilt days: the rows that features__backfill has staged, and content_quality_daily of the same days.

Day by day: a new folder each, recorded first (ops.backfills, ops.publications), then the partitions point at it,
content_quality_daily before session_features. So after a crash a partition is old or new, and a new run finds a day whose
session_features are old different still.
"""

import os
import shutil
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from include.common.backfills import MANIFEST, StagedDay, read_manifest, record_backfill
from include.common.erasure.erasures import erased_readers, erasure_key
from include.common.hive.files import data_files, row_count
from include.common.hive.metastore import Metastore
from include.common.hive.publications import Publication, point_published, record_publications
from include.common.hive.schema import location_of
from include.common.hive.table_lock import table_lock
from include.common.hive.tables import CONTENT_QUALITY_DAILY, SESSION_FEATURES
from include.common.names import Dag, Pg
from include.common.settings import Settings
from include.spark_jobs.publish_features.reader import Cut, read_partitions
from include.spark_jobs.publish_features.transform import content_quality
from include.spark_jobs.publish_features.writer import publication_folder, write_by_date
from include.spark_jobs.session import JobError, batch_session, stopped_after

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TABLES = (CONTENT_QUALITY_DAILY, SESSION_FEATURES)
"""In the order in which their partitions are pointed at the new folders."""


def publish_rebuilt(
    settings: Settings, metastore: Metastore, connection: psycopg.Connection, run_id: str, staging: Path
) -> list[Publication]:
    """Publish the days of the manifest in `staging`; returns what was published. `connection` must autocommit.

    A day waits for a publication that is under way (the tables' locks). Raises JobError where a day was published
    otherwise since it was compared.
    """
    try:
        days = read_manifest(staging)
    except OSError as error:
        raise JobError(
            f"{staging / MANIFEST} cannot be read ({error.strerror}): clear plan_days of the run, which rebuilds its days"
        ) from error
    if not days:
        return []
    _require_nobody_erased(connection, days)
    for day in days:  # before Spark starts; again under the lock
        _published_cut(connection, day)
        _is_published(metastore, connection, run_id, day)
    published = []
    with stopped_after(batch_session(f"publish_features backfill {run_id}")) as spark:
        for day in days:
            with table_lock(connection, *TABLES):
                _require_nobody_erased(connection, [day])
                published += _publish_day(spark, settings.warehouse_dir, metastore, connection, run_id, day)
    return published


def _publish_day(
    spark: "SparkSession",
    warehouse: Path,
    metastore: Metastore,
    connection: psycopg.Connection,
    run_id: str,
    day: StagedDay,
) -> list[Publication]:
    for table in TABLES:
        metastore.ensure_table(table, warehouse)
    cut = _published_cut(connection, day)
    if _is_published(metastore, connection, run_id, day):
        return []
    publication_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    sessions = _place_rows(publication_folder(warehouse, SESSION_FEATURES, publication_id), day)
    quality = write_by_date(
        content_quality(read_partitions(spark, [sessions]), cut),
        CONTENT_QUALITY_DAILY,
        publication_folder(warehouse, CONTENT_QUALITY_DAILY, publication_id),
        {day.dt},
    )[(day.dt,)]
    folders = dict(zip(TABLES, (quality, sessions), strict=True))
    publications = [
        Publication(
            table.name,
            table.partition_name((day.dt,)),
            cut.cut_id,
            location_of(folder),
            row_count(folder),
            is_backfill=True,
        )
        for table, folder in folders.items()
    ]
    with connection.transaction():
        record_backfill(connection, run_id, day, str(sessions))
        record_publications(connection, run_id, publications)
    for table, folder in folders.items():
        point_published(metastore, table, {(day.dt,): folder})
    return publications


def _require_nobody_erased(connection: psycopg.Connection, days: Sequence[StagedDay]) -> None:
    """An erasure may have passed the partition while the rows were staged. Raises JobError."""
    import pyarrow.parquet as pq

    erased = erased_readers(connection, erasure_key(required=False))
    for day in days if erased else ():
        for path in data_files(Path(day.folder)):
            if erased.among(pq.read_table(path, columns=["user_id"])["user_id"].unique().to_pylist()):
                raise JobError(
                    f"{day.dt} was rebuilt with rows of a reader who was erased since: clear rebuild_day of {day.dt}"
                )


def _published_cut(connection: psycopg.Connection, day: StagedDay) -> Cut:
    """The newest cut that is in Hive: content_quality_daily names one. Raises JobError for another generation's."""
    row = connection.execute(
        f"SELECT cut.cut_id, cut.generation, cut.ledger_position, cut.as_of FROM {Pg.PUBLICATIONS} AS publication"  # noqa: S608  constants
        f" INNER JOIN {Pg.MODEL_CUTS} AS cut ON publication.cut_id = cut.cut_id"
        " WHERE publication.hive_table = %s AND NOT publication.is_backfill"
        " ORDER BY publication.published_at DESC LIMIT 1",
        (SESSION_FEATURES.name,),
    ).fetchone()
    if row is None or row[1] != day.generation:
        raise JobError(
            f"{day.dt} was rebuilt for generation {day.generation}, and {row[1] if row else 'none'} is published now: "
            f"trigger {Dag.BACKFILL} again"
        )
    return Cut(*row)


def _is_published(metastore: Metastore, connection: psycopg.Connection, run_id: str, day: StagedDay) -> bool:
    """Has this run published the day, before it was cleared? Raises JobError unless the partition is otherwise what the
    rebuilt rows were compared with."""
    folder = metastore.locations(SESSION_FEATURES, [(day.dt,)]).get((day.dt,))
    location = None if folder is None else str(folder)
    own = connection.execute(
        f"SELECT location FROM {Pg.BACKFILLS} WHERE dt = %s AND run_id = %s",  # noqa: S608  a constant
        (day.dt, run_id),
    ).fetchone()
    if own is not None and location == own[0]:
        return True
    if location != day.location:
        raise JobError(
            f"{SESSION_FEATURES.partition_name((day.dt,))} points at {location}, not at {day.location} any more, which the "
            f"rebuilt rows were compared with: trigger {Dag.BACKFILL} again"
        )
    return False


def _place_rows(folder: Path, day: StagedDay) -> Path:
    """The staged files in the day's new folder: linked, so that they stay when staging goes. Raises JobError where
    rows are missing."""
    part = folder / SESSION_FEATURES.partition_name((day.dt,))
    part.mkdir(parents=True)
    staged = Path(day.folder)
    for path in data_files(staged) if staged.is_dir() else ():
        try:
            os.link(path, part / path.name)
        except OSError:  # a mounted store that knows no hard links
            shutil.copy2(path, part / path.name)
    if (found := row_count(part)) != day.rows:
        raise JobError(f"{staged} holds {found} rows instead of {day.rows}: clear rebuild_day of {day.dt}")
    return part
