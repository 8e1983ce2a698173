"""Publish to Hive: `spark-submit include/spark_jobs/publish_features/job.py --run-id ID`.

Brings Hive to the newest published model cut: closed readings of landing files listed in the ledger since the
last publication (their bytes checked against the ledger's hash) into session_features, and from its touched days
content_quality_daily; the published marts into *_features_daily; what changed in them into *_feature_history. Touched
partitions are written to new folders, old and new rows together, one a key; then the partitions point at them. After
stream__roll_out has swapped a generation in, its readings take the place of those of the one before. Safe to repeat.
With `--backfill FOLDER` it publishes the days that features__backfill has rebuilt there, and nothing else.
Connections come from WEBTOON_POSTGRES_DSN, WEBTOON_METASTORE_URI and WEBTOON_DATA_DIR, the key that erased readers
are told by from WEBTOON_ERASURE_KEY.
"""

import argparse
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from include.common.hive.files import row_count
from include.common.hive.mart_changes import remove_erased_changes
from include.common.hive.metastore import Metastore, MetastoreError, open_metastore
from include.common.hive.publications import Publication, point_published, record_publications
from include.common.hive.schema import HiveTable, location_of
from include.common.hive.table_lock import table_lock
from include.common.hive.tables import (
    CONTENT_QUALITY_DAILY,
    DAILY_MARTS,
    MART_HISTORIES,
    PUBLISHED_TABLES,
    SESSION_FEATURES,
)
from include.common.lineage.events import Dataset, folder_dataset, hive_dataset, job_run, postgres_dataset
from include.common.names import Hive, Pg
from include.common.postgres import PostgresUnreachableError, connect
from include.common.settings import Settings, SettingsError, require
from include.spark_jobs.publish_features.backfill import publish_rebuilt
from include.spark_jobs.publish_features.history import write_history
from include.spark_jobs.publish_features.lineage import Succession
from include.spark_jobs.publish_features.reader import (
    Snapshot,
    read_episodes,
    read_landing,
    read_partitions,
    take_snapshot,
    verify_files,
)
from include.spark_jobs.publish_features.transform import (
    content_quality,
    dt_of_start,
    kept,
    merged,
    of_their_generation,
    unsettled,
    with_reference,
    without_erased,
)
from include.spark_jobs.publish_features.writer import (
    Folders,
    publication_folder,
    write_by_date,
    write_daily,
)
from include.spark_jobs.session import JobError, batch_session, stopped_after

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="publish_features", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run-id", required=True, help="run that ops.publications names; a repeat replaces its rows"
    )
    parser.add_argument("--database", default=Hive.DATABASE, help="Hive database (default: %(default)s)")
    parser.add_argument(
        "--backfill",
        type=Path,
        metavar="FOLDER",
        help="staging folder of rebuilt days, to publish these alone",
    )
    return parser.parse_args(argv)


def write_readings(
    snapshot: Snapshot, metastore: Metastore, warehouse: Path, publication_id: str
) -> list[tuple[HiveTable, Folders]]:
    """Write the touched dates of session_features, and content_quality_daily of the same; nothing points at the
    new folders yet."""
    replaced = _replaced_dates(metastore, snapshot.succession)
    present = metastore.all_locations(SESSION_FEATURES)
    known = metastore.all_locations(CONTENT_QUALITY_DAILY)
    lacking = {values: folder for values, folder in present.items() if values not in known}
    if not snapshot.files and not replaced and not lacking:
        return []
    verify_files(snapshot.files)
    with stopped_after(batch_session(f"publish_features {publication_id}")) as spark:
        written: Folders = {}
        if snapshot.files or replaced:
            rows = _merged_readings(spark, snapshot, metastore, replaced)
            folder = publication_folder(warehouse, SESSION_FEATURES, publication_id)
            written = write_by_date(rows, SESSION_FEATURES, folder, replaced)
        readings = lacking | written
        quality = content_quality(read_partitions(spark, list(readings.values())), snapshot.cut)
        folder = publication_folder(warehouse, CONTENT_QUALITY_DAILY, publication_id)
        return [
            (SESSION_FEATURES, written),
            (
                CONTENT_QUALITY_DAILY,
                write_by_date(quality, CONTENT_QUALITY_DAILY, folder, {date for (date,) in readings}),
            ),
        ]


def _merged_readings(
    spark: "SparkSession", snapshot: Snapshot, metastore: Metastore, replaced: set[str]
) -> "DataFrame":
    """Old and new readings of the touched dates; of a date in `replaced` there may be none left."""
    new = with_reference(read_landing(spark, snapshot.files), read_episodes(spark, snapshot)).persist()
    expected = sum(file.rows for file in snapshot.files)
    if (found := new.count()) != expected:
        raise JobError(
            f"landing files hold {found} closed readings, the ledger counts {expected}. More: versions of an "
            f"episode in reference.episode_metadata overlap; fewer: a file and its row count disagree"
        )
    new = of_their_generation(new, snapshot.succession)
    new = without_erased(unsettled(new, snapshot.backfills, snapshot.succession), snapshot.erased)
    dates = {row[0] for row in new.select(dt_of_start()).distinct().collect()} | replaced
    current = metastore.locations(SESSION_FEATURES, [(date,) for date in sorted(dates)])
    old = kept(read_partitions(spark, list(current.values())), snapshot.succession) if current else None
    return merged(old, new)


def _replaced_dates(metastore: Metastore, succession: Succession | None) -> set[str]:
    """Dates whose partitions may hold readings that the cut's generation publishes anew, or has not."""
    if succession is None:
        return set()
    return {date for (date,) in metastore.all_locations(SESSION_FEATURES) if date >= succession.from_dt}


def publish(
    settings: Settings, metastore: Metastore, connection: psycopg.Connection, run_id: str
) -> list[Publication]:
    """Write new folders, point the partitions, record; returns what was published. One publisher at a time.

    `connection` must autocommit.
    """
    with table_lock(connection, *PUBLISHED_TABLES):
        snapshot = take_snapshot(connection, settings.landing_dir, run_id)
        if snapshot is None:
            return []
        remove_erased_changes(connection, snapshot.erased.__contains__)
        publications = []
        for table, folders in _write(settings.warehouse_dir, snapshot, metastore, connection):
            point_published(metastore, table, folders)
            publications += [
                Publication(
                    table.name,
                    table.partition_name(values),
                    snapshot.cut.cut_id,
                    location_of(folder),
                    row_count(folder),
                )
                for values, folder in folders.items()
            ]
        record_publications(connection, run_id, publications)
        return publications


def _write(
    warehouse: Path, snapshot: Snapshot, metastore: Metastore, connection: psycopg.Connection
) -> list[tuple[HiveTable, Folders]]:
    """Write all new folders; nothing points at them yet."""
    for table in PUBLISHED_TABLES:
        metastore.ensure_table(table, warehouse)
    publication_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    written = write_readings(snapshot, metastore, warehouse, publication_id)
    day = f"{snapshot.cut.as_of.astimezone(UTC):%Y-%m-%d}"
    for mart, table in DAILY_MARTS.items():
        folder = publication_folder(warehouse, table, publication_id)
        written.append((table, write_daily(snapshot.marts[mart], table, day, folder)))
    for mart, table in MART_HISTORIES.items():
        folder = publication_folder(warehouse, table, publication_id)
        waiting = snapshot.changes[mart]
        written.append((table, write_history(connection, metastore, mart, table, waiting, folder)))
    return written


def run(arguments: argparse.Namespace) -> None:
    """Check what the job needs, then publish. Raises JobError and the like."""
    require("WEBTOON_METASTORE_URI")
    settings = Settings.from_env()
    with (
        connect(settings.postgres_dsn, application_name="publish_features", autocommit=True) as connection,
        open_metastore(settings.metastore_uri) as metastore,
    ):
        metastore.database = arguments.database
        backfill = arguments.backfill
        reads, writes = _datasets(settings, arguments.database, backfill)
        try:
            with job_run("publish_features", reads, writes):
                publications = (
                    publish(settings, metastore, connection, arguments.run_id)
                    if backfill is None
                    else publish_rebuilt(settings, metastore, connection, arguments.run_id, backfill)
                )
        except psycopg.errors.UndefinedTable as error:
            raise JobError(f"{error.diag.message_primary}: run DAG ops__migrate_store") from error
    if not publications:
        why = "no model cut is published yet" if arguments.backfill is None else "no day differs"
        print(f"publish_features: {why}, nothing to do", flush=True)
    for entry in publications:
        print(f"publish_features: {entry.hive_table}/{entry.partition}: {entry.row_count} rows", flush=True)


def _datasets(
    settings: Settings, database: str, backfill: Path | None
) -> tuple[list[Dataset], list[Dataset]]:
    """What the job reads and writes, for its lineage."""
    if backfill is None:
        tables: tuple[HiveTable, ...] = (SESSION_FEATURES, *DAILY_MARTS.values())
        marts = [f"{Pg.MARTS_SCHEMA}.{mart}" for mart in DAILY_MARTS]
        reads = [
            folder_dataset(settings.landing_dir),
            *(postgres_dataset(settings.postgres_dsn, table) for table in (Pg.EPISODE_METADATA, *marts)),
        ]
    else:
        tables = (SESSION_FEATURES, CONTENT_QUALITY_DAILY)
        reads = [folder_dataset(backfill)]
    return reads, [hive_dataset(settings.metastore_uri, table, database) for table in tables]


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 when Hive is at the newest published cut, 1 with one line on stderr otherwise."""
    arguments = parse_arguments(argv)
    try:
        run(arguments)
    except (JobError, SettingsError, PostgresUnreachableError, MetastoreError) as error:
        print(f"publish_features: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
