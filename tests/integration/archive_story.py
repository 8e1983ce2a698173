"""What tests of the archive share: three slices on real parts, the second one corrupted (fixture archive_story)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from include.common.archive.slice_files import files_of_slice
from include.common.archive.slices import Slice, load_slice, record_slice
from include.common.hive.files import data_files
from include.common.hive.metastore import open_metastore
from include.common.hive.schema import HiveTable
from include.common.kafka.offsets import watermarks
from include.common.postgres import connect
from include.gx.checkpoints import Subject, build_checkpoint
from include.gx.results import ExpectationOutcome
from include.gx.suites.raw_events import DRIFT_COLUMNS, RawGateLimits, build_suite, raw_frame
from include.orchestration.archive import (
    Stores,
    keep_failing_rows,
    publish_slice_files,
    quarantine_slice_files,
    reference_of_gate,
)
from include.orchestration.gate_history.history import slice_history
from tests.integration.batch_support import NOW_MS, SparkSubmit, as_records, event, produce

HOUR_MS = 3_600_000
BAD_RECORDS = [(None, b'{"x": 1}'), (b"s1", b"{}"), (b"s1", None), (b"s1", b"\xff"), (b"s1", b"not json")]


@dataclass
class Archive:
    """The archive's parts, driven one step at a time."""

    dsn: str
    kafka: str
    topic: str
    stores: Stores
    submit: SparkSubmit

    def record(self, run_id: str, max_records: int = 10**6) -> Slice | None:
        held = watermarks({"bootstrap.servers": self.kafka}, self.topic)
        return record_slice(self.stores.connection, run_id, self.topic, held, max_records)

    def stage(self, piece: Slice) -> None:
        done = self.submit("archive_events", "--slice-id", piece.slice_id)
        assert done.returncode == 0, done.stderr[-3000:]

    def gate(self, piece: Slice) -> list[ExpectationOutcome]:
        """Outcomes of the raw gate's checkpoint on the staged slice."""
        import great_expectations as gx

        staged = self.stores.staged(piece)
        episodes, thresholds = reference_of_gate(self.stores.connection)
        frame = raw_frame(data_files(staged.events), data_files(staged.dead_letters), episodes)
        history = slice_history(
            self.stores.connection, piece.slice_id, "raw_events", DRIFT_COLUMNS, thresholds
        )
        suite = build_suite(RawGateLimits.of(thresholds), history)
        found: list[ExpectationOutcome] = []
        context = gx.get_context(mode="ephemeral")
        told = keep_failing_rows(frame, staged, self.topic)
        subject = Subject("slice", lambda: suite, lambda _: frame, failing_rows=told)
        checkpoint, parameters = build_checkpoint(
            context, "raw", [subject], lambda some, _: found.extend(some)
        )
        checkpoint.run(batch_parameters=parameters)
        return found

    def files(self, table: HiveTable, piece: Slice) -> list[Path]:
        return files_of_slice(table.location(self.stores.warehouse), piece.slice_id)

    def status(self, piece: Slice) -> tuple[str, int, int, int]:
        row = self.stores.connection.execute(
            "SELECT status, archived, quarantined, dead_letters FROM ops.archive_slices WHERE slice_id = %s",
            (piece.slice_id,),
        ).fetchone()
        assert row is not None
        return row


@dataclass
class Story:
    """What happened: a good slice (staged twice), a corrupted one, a good one."""

    archive: Archive
    good: Slice
    bad: Slice
    next_good: Slice
    first_files: dict[str, list[dict[str, Any]]]
    second_files: dict[str, list[dict[str, Any]]]
    refused: list[str]
    accepted: list[ExpectationOutcome]


def _load_reference(connection: psycopg.Connection) -> None:
    for number in range(5):
        connection.execute(
            "INSERT INTO reference.episode_metadata (episode_id, title_id, title, episode_number, genre, tags,"
            " rating, launch_date, valid_from) VALUES (%s, 't', 'T', %s, 'drama', '{}', 8, '2026-01-01', '2026-01-01')",
            (f"ep{number}", number + 1),
        )


def _contents(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows by file, in their order. (Not bytes: Parquet's Java writer lists encodings in the order of a hash.)"""
    return {
        f"{path.parent.relative_to(folder)}/{path.name.split('-')[1]}": pq.ParquetFile(path)
        .read()
        .to_pylist()
        for path in data_files(folder)
    }


@pytest.fixture(scope="session")
def archive_story(
    kafka: str,
    metastore: str,
    topic_factory: Callable[..., str],
    feature_db_factory: Callable[[], str],
    data_dir_factory: Callable[[], Path],
    stack_env: dict[str, str],
    spark_jars: str,
) -> Story:
    dsn, data, topic = feature_db_factory(), data_dir_factory(), topic_factory()
    overrides = {"WEBTOON_POSTGRES_DSN": dsn, "WEBTOON_KAFKA": kafka, "WEBTOON_DATA_DIR": str(data)}
    submit = SparkSubmit(stack_env, spark_jars, overrides)
    with (
        connect(dsn, application_name="test", autocommit=True) as connection,
        open_metastore(metastore) as client,
    ):
        client.database = f"webtoon_{topic[-10:]}"
        _load_reference(connection)
        archive = Archive(dsn, kafka, topic, Stores(connection, client, data), submit)
        assert archive.record("run-0") is None, "an empty topic has no slice"

        early = [event(n, at_ms=NOW_MS - n * 60_000, scroll_ratio=0.5) for n in range(400)]
        produce(kafka, topic, [*as_records(early), *BAD_RECORDS])
        good = archive.record("run-1")
        assert good is not None
        archive.stage(good)
        first = _contents(archive.stores.staged(good).folder)
        publish_slice_files(archive.stores, good)

        broken = [
            event(1000 + n, at_ms=NOW_MS - n % 3 * HOUR_MS, episode_id="undefined" if n % 2 else "ep1")
            for n in range(200)
        ]
        produce(kafka, topic, [*as_records(broken), BAD_RECORDS[0]])
        # a cleared run finds its own offsets although the topic has grown
        assert archive.record("run-1") == load_slice(connection, good.slice_id)
        archive.stage(good)
        second = _contents(archive.stores.staged(good).folder)
        publish_slice_files(archive.stores, good)

        bad = archive.record("run-2")
        assert bad is not None
        archive.stage(bad)
        refused = [outcome.expectation for outcome in archive.gate(bad) if outcome.blocks]
        quarantine_slice_files(archive.stores, bad, refused)

        produce(kafka, topic, as_records([event(2000 + n, at_ms=NOW_MS - 5 * HOUR_MS) for n in range(50)]))
        next_good = archive.record("run-3")
        assert next_good is not None
        archive.stage(next_good)
        accepted = archive.gate(next_good)
        publish_slice_files(archive.stores, next_good)
        yield Story(archive, good, bad, next_good, first, second, refused, accepted)
