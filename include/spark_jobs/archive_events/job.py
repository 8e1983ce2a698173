"""Stage one recorded slice: `spark-submit include/spark_jobs/archive_events/job.py --slice-id ID`.

Reads the offsets of ops.archive_slices, nothing before or after them, and writes
<data>/staging/slice=<id>/{events,dead_letters}. Safe to repeat: the same slice gives the same files.
Connections come from WEBTOON_KAFKA (WEBTOON_KAFKA_SECURITY), WEBTOON_POSTGRES_DSN, WEBTOON_DATA_DIR and
WEBTOON_JARS_DIR, the key that erased readers are told by from WEBTOON_ERASURE_KEY.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import psycopg

from include.common.archive.accounting import check_slice_accounting
from include.common.archive.slice_files import StagedSlice
from include.common.archive.slices import Slice, SliceError, load_slice, mark_staged
from include.common.erasure.erasures import ErasedReaders, erased_readers, erasure_key
from include.common.erasure.records import ERASED
from include.common.hive.files import data_files
from include.common.hive.tables import DEAD_LETTERS, RAW_EVENTS, event_columns
from include.common.kafka.offsets import KafkaUnreachableError, watermarks
from include.common.lineage.events import folder_dataset, job_run, topic_dataset
from include.common.postgres import PostgresUnreachableError, connect
from include.common.settings import Settings, SettingsError
from include.spark_jobs.session import JobError, batch_session, kafka_source, stopped_after


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="archive_events", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slice-id", required=True, help="slice_id of a row in ops.archive_slices")
    return parser.parse_args(argv)


def check_held(settings: Settings, piece: Slice) -> None:
    """Raise JobError unless Kafka still holds every offset of the slice."""
    held = watermarks(settings.kafka_client, piece.topic)
    for number, end in piece.end.items():
        low, high = held.get(number, (0, 0))
        start = piece.start[number]
        if start < end and (start < low or end > high):
            raise JobError(
                f"slice {piece.slice_id} needs offsets {start} to {end - 1} of {piece.topic}[{number}], Kafka holds "
                f"{low} to {high - 1}: is WEBTOON_KAFKA the broker the slice was recorded on? If retention dropped "
                f"them, see docs/runbooks/events_archive.md"
            )


def stage(
    settings: Settings, source: dict[str, str], piece: Slice, erased: ErasedReaders
) -> tuple[int, int, int]:
    """Write the staging folder, reading by `source` (session.kafka_source); return accepted events, dead letters and
    records of erased readers in it."""
    from pyspark import StorageLevel

    from include.spark_jobs.archive_events.reader import read_slice
    from include.spark_jobs.archive_events.transform import decode, rows_of
    from include.spark_jobs.archive_events.writer import write_staged

    staged = StagedSlice.of(settings.staging_dir, piece.slice_id)
    with stopped_after(batch_session(f"archive_events {piece.slice_id}")) as spark:
        decoded = decode(read_slice(spark, source, piece), erased).persist(StorageLevel.DISK_ONLY)
        for table, folder in ((RAW_EVENTS, staged.events), (DEAD_LETTERS, staged.dead_letters)):
            write_staged(rows_of(decoded, table, piece.slice_id), table, folder)
    staged.check_whole()
    events, letters = data_files(staged.events), data_files(staged.dead_letters)
    total = check_slice_accounting(piece, [*events, *letters])
    reasons = _reasons(letters)
    refused, gone = sum(reasons.values()), reasons[ERASED]
    return total - refused, refused - gone, gone


def _reasons(files: list[Path]) -> Counter[str]:
    import pyarrow.parquet as pq

    return Counter(
        reason for path in files for reason in pq.ParquetFile(path).read(["reason"])[0].to_pylist()
    )


def run(arguments: argparse.Namespace) -> None:
    """Check what the job needs, cheapest first, then stage. Raises JobError and the like."""
    settings = Settings.from_env()
    source = kafka_source(settings)
    with connect(settings.postgres_dsn, application_name="archive_events", autocommit=True) as connection:
        try:
            piece = load_slice(connection, arguments.slice_id)
            erased = erased_readers(connection, erasure_key(required=False))
        except psycopg.errors.UndefinedTable as error:
            raise JobError(f"{error.diag.message_primary}: run DAG ops__migrate_store") from error
        check_held(settings, piece)
        with job_run(
            "archive_events",
            [topic_dataset(settings.bootstrap_servers, piece.topic, event_columns())],
            [folder_dataset(settings.staging_dir, RAW_EVENTS.columns)],
        ):
            events, letters, gone = stage(settings, source, piece, erased)
        mark_staged(connection, piece)
    print(
        f"archive_events: slice {piece.slice_id}: {events} events, {letters} dead letters staged"
        + (f", {gone} records of erased readers left out" if gone else ""),
        flush=True,
    )


def main(argv: list[str] | None = None) -> int:
    """Exit status 0 when the slice is staged, 1 with one line on stderr otherwise."""
    arguments = parse_arguments(argv)
    try:
        run(arguments)
    except (JobError, SliceError, SettingsError, PostgresUnreachableError, KafkaUnreachableError) as error:
        print(f"archive_events: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
