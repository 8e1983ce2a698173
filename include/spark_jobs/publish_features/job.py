"""Publish to Hive: `spark-submit include/spark_jobs/publish_features/job.py --run-id ID`.

Brings Hive to the newest published model cut: closed readings of landing files listed in the ledger since the
last publication (their bytes checked against the ledger's hash) into session_features, the published marts
into *_features_daily. Touched partitions are written to new folders, old and new rows together, one a key;
then the partitions point at them. After stream__roll_out has swapped a generation in, its readings take the
place of those of the one before. Safe to repeat. Connections come from WEBTOON_POSTGRES_DSN,
WEBTOON_METASTORE_URI and WEBTOON_DATA_DIR.
"""

import argparse
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from include.common.hive import HiveTable, location_of
from include.common.hive_tables import DAILY_MARTS, SESSION_FEATURES
from include.common.lineage import folder_dataset, hive_dataset, job_run, postgres_dataset
from include.common.metastore import Metastore, MetastoreError, open_metastore
from include.common.names import Hive, Pg
from include.common.postgres import PostgresUnreachableError, connect
from include.common.publications import Publication, record_publications
from include.common.settings import Settings, SettingsError, require
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
    dt_of_start,
    kept,
    merged,
    of_their_generation,
    with_genre,
)
from include.spark_jobs.publish_features.writer import (
    Folders,
    publication_folder,
    row_count,
    write_daily,
    write_sessions,
)
from include.spark_jobs.session import JobError, batch_session, stopped_after


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="publish_features", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run-id", required=True, help="run that ops.publications names; a repeat replaces its rows"
    )
    parser.add_argument("--database", default=Hive.DATABASE, help="Hive database (default: %(default)s)")
    return parser.parse_args(argv)


def publish_sessions(
    snapshot: Snapshot, metastore: Metastore, warehouse: Path, publication_id: str
) -> Folders:
    """Write the touched dates of session_features; nothing points at the new folders yet."""
    replaced = _replaced_dates(metastore, snapshot.succession)
    if not snapshot.files and not replaced:
        return {}
    verify_files(snapshot.files)
    with stopped_after(batch_session(f"publish_features {publication_id}")) as spark:
        landed = read_landing(spark, snapshot.files)
        new = with_genre(landed, read_episodes(spark, snapshot)).persist()
        expected = sum(file.rows for file in snapshot.files)
        if (found := new.count()) != expected:
            raise JobError(
                f"landing files hold {found} closed readings, the ledger counts {expected}. More: versions of an "
                f"episode in reference.episode_metadata overlap; fewer: a file and its row count disagree"
            )
        new = of_their_generation(new, snapshot.succession)
        dates = {row[0] for row in new.select(dt_of_start()).distinct().collect()} | replaced
        current = metastore.locations(SESSION_FEATURES, [(date,) for date in sorted(dates)])
        old = kept(read_partitions(spark, list(current.values())), snapshot.succession) if current else None
        folder = publication_folder(warehouse, SESSION_FEATURES, publication_id)
        return write_sessions(merged(old, new), folder, replaced)


def _replaced_dates(metastore: Metastore, succession: Succession | None) -> set[str]:
    """Dates whose partitions may hold readings that the cut's generation publishes anew, or has not."""
    if succession is None:
        return set()
    return {date for (date,) in metastore.all_locations(SESSION_FEATURES) if date >= succession.from_dt}


def publish(
    settings: Settings, metastore: Metastore, connection: psycopg.Connection, run_id: str
) -> list[Publication]:
    """Write new folders, point the partitions, record; returns what was published."""
    snapshot = take_snapshot(connection, settings.landing_dir, run_id)
    if snapshot is None:
        return []
    warehouse, cut = settings.warehouse_dir, snapshot.cut
    for table in (SESSION_FEATURES, *DAILY_MARTS.values()):
        metastore.ensure_table(table, warehouse)
    publication_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"
    written: list[tuple[HiveTable, Folders]] = [
        (SESSION_FEATURES, publish_sessions(snapshot, metastore, warehouse, publication_id))
    ]
    day = f"{cut.as_of.astimezone(UTC):%Y-%m-%d}"
    for mart, table in DAILY_MARTS.items():
        folder = publication_folder(warehouse, table, publication_id)
        written.append((table, write_daily(snapshot.marts[mart], table, day, folder)))
    publications = []
    for table, folders in written:
        metastore.point_partitions(table, folders)
        publications += [
            Publication(
                table.name, table.partition_name(values), cut.cut_id, location_of(folder), row_count(folder)
            )
            for values, folder in folders.items()
        ]
    record_publications(connection, run_id, publications)
    return publications


def run(arguments: argparse.Namespace) -> None:
    """Check what the job needs, then publish. Raises JobError and the like."""
    require("WEBTOON_METASTORE_URI")
    settings = Settings.from_env()
    with (
        connect(settings.postgres_dsn, application_name="publish_features", autocommit=True) as connection,
        open_metastore(settings.metastore_uri) as metastore,
    ):
        metastore.database = arguments.database
        marts = [f"{Pg.MARTS_SCHEMA}.{mart}" for mart in DAILY_MARTS]
        reads = [
            folder_dataset(settings.landing_dir),
            *(postgres_dataset(settings.postgres_dsn, table) for table in (Pg.EPISODE_METADATA, *marts)),
        ]
        tables = (SESSION_FEATURES, *DAILY_MARTS.values())
        writes = [hive_dataset(settings.metastore_uri, table, arguments.database) for table in tables]
        try:
            with job_run("publish_features", reads, writes):
                publications = publish(settings, metastore, connection, arguments.run_id)
        except psycopg.errors.UndefinedTable as error:
            raise JobError(f"{error.diag.message_primary}: run DAG ops__migrate_store") from error
    if not publications:
        print("publish_features: no model cut is published yet, nothing to do", flush=True)
    for entry in publications:
        print(f"publish_features: {entry.hive_table}/{entry.partition}: {entry.row_count} rows", flush=True)


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
