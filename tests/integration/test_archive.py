"""The archive on a real broker, PostgreSQL, Spark and Hive metastore: three slices, the second one corrupted."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from include.common.archive_slices import Slice, SliceError, load_slice, record_slice
from include.common.hive import HiveTable
from include.common.hive_tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS
from include.common.kafka_offsets import watermarks
from include.common.metastore import open_metastore
from include.common.postgres import connect
from include.common.slice_accounting import SliceAccountingError, check_slice_accounting
from include.common.slice_files import data_files, files_of_slice
from include.gx.checkpoints import Subject, build_checkpoint
from include.gx.results import ExpectationOutcome
from include.gx.suites.raw_events import RawGateLimits, build_suite, raw_frame
from include.orchestration.archive import (
    Stores,
    publish_slice_files,
    quarantine_slice_files,
    reference_of_gate,
    remove_old_staging,
)
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
        suite = build_suite(RawGateLimits.of(thresholds))
        found: list[ExpectationOutcome] = []
        context = gx.get_context(mode="ephemeral")
        subject = Subject("slice", lambda: suite, lambda _: frame)
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


@pytest.fixture(scope="module")
def story(
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

        broken = [event(1000 + n, episode_id="undefined" if n % 2 else "ep1") for n in range(200)]
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


def test_produced_equals_archived_quarantined_and_dead_letters_by_offset(story: Story) -> None:
    archive = story.archive
    tables = (RAW_EVENTS, QUARANTINED_EVENTS, DEAD_LETTERS)
    for piece in (story.good, story.bad, story.next_good):
        visible = [path for table in tables for path in archive.files(table, piece)]
        assert check_slice_accounting(piece, visible) == piece.produced
    held = watermarks({"bootstrap.servers": archive.kafka}, archive.topic)
    assert {number: mark.high for number, mark in held.items()} == story.next_good.end
    assert story.bad.start == story.good.end
    assert story.next_good.start == story.bad.end
    assert archive.status(story.good) == ("published", 400, 0, 5)
    assert archive.status(story.bad) == ("quarantined", 0, 200, 1)
    assert archive.status(story.next_good) == ("published", 50, 0, 0)


def test_cleared_run_gives_the_same_files(story: Story) -> None:
    assert len(story.first_files) >= 8  # events of seven hours at least, and dead letters
    assert story.first_files == story.second_files


def test_corrupted_slice_is_kept_out_with_the_reason(story: Story) -> None:
    archive = story.archive
    assert story.refused == ["unknown_episode_share"]
    assert archive.files(RAW_EVENTS, story.bad) == []
    assert (
        sum(pq.read_metadata(path).num_rows for path in archive.files(QUARANTINED_EVENTS, story.bad)) == 200
    )
    row = archive.stores.connection.execute(
        "SELECT gate, run_id, row_count, failed_expectations, status FROM quality.quarantine_slices"
    ).fetchall()
    assert row == [("raw_events", "run-2", 200, ["unknown_episode_share"], "quarantined")]


def test_next_good_slice_passes_the_gate(story: Story) -> None:
    assert len(story.accepted) > 25
    assert [outcome.describe() for outcome in story.accepted if not outcome.success] == []


def test_dead_letters_keep_bytes_and_reason(story: Story) -> None:
    files = story.archive.files(DEAD_LETTERS, story.good)
    rows = [row for path in files for row in pq.ParquetFile(path).read().to_pylist()]
    assert sorted((row["reason"], row["value"] or b"") for row in rows) == [
        ("empty_value", b""),
        ("missing_field", b"{}"),
        ("not_json", b"not json"),
        ("not_json", b"\xff"),
        ("null_key", b'{"x": 1}'),
    ]


def test_partitions_are_by_event_time_and_readable_by_their_metastore_entry(story: Story) -> None:
    stores = story.archive.stores
    locations = stores.metastore.all_locations(RAW_EVENTS)
    rows = 0
    for (dt, hour), folder in locations.items():
        for path in data_files(folder):
            times = pq.ParquetFile(path).read(["event_time"])["event_time"].to_pylist()
            assert {(f"{time:%Y-%m-%d}", str(time.hour)) for time in times} == {(dt, hour)}
            rows += len(times)
    assert rows == 450
    schema = pq.ParquetFile(data_files(next(iter(locations.values())))[0]).schema_arrow
    assert schema.names == RAW_EVENTS.arrow_schema().names


def test_a_missing_offset_fails_loudly(story: Story) -> None:
    files = [path for table in (RAW_EVENTS, DEAD_LETTERS) for path in story.archive.files(table, story.good)]
    with pytest.raises(SliceAccountingError, match=r"does not add up: partition \d: \d+ missing"):
        check_slice_accounting(story.good, files[1:])
    with pytest.raises(SliceAccountingError, match="twice or more"):
        check_slice_accounting(story.good, [*files, files[0]])
    with pytest.raises(SliceAccountingError, match="outside the slice"):
        check_slice_accounting(story.good, [*files, *story.archive.files(RAW_EVENTS, story.next_good)])


def test_a_slice_can_be_cut_and_goes_on_where_it_ended(story: Story) -> None:
    archive = story.archive
    produce(archive.kafka, archive.topic, as_records([event(3000 + n) for n in range(90)]))
    first = archive.record("run-4", max_records=30)
    second = archive.record("run-5", max_records=10**6)
    assert first is not None
    assert second is not None
    assert 30 <= first.produced <= 32
    assert first.produced + second.produced == 90
    assert second.start == first.end


def test_topic_that_lost_or_never_had_the_offsets_is_refused(story: Story) -> None:
    archive = story.archive
    connection = archive.stores.connection
    held = watermarks({"bootstrap.servers": archive.kafka}, archive.topic)
    lost = {number: mark._replace(low=mark.high) for number, mark in held.items()}
    produce(archive.kafka, archive.topic, as_records([event(5000 + n) for n in range(30)]))
    lost = {number: mark._replace(low=mark.high + 1, high=mark.high + 1) for number, mark in lost.items()}
    with pytest.raises(SliceError, match="never archived and Kafka no longer holds"):
        record_slice(connection, "run-lost", archive.topic, lost, 100)
    fresh = {number: mark._replace(low=0, high=0) for number, mark in held.items()}
    with pytest.raises(SliceError, match="deleted and made again"):
        record_slice(connection, "run-fresh", archive.topic, fresh, 100)


def test_a_refused_slice_that_passes_later_leaves_quarantine(story: Story) -> None:
    archive = story.archive
    publish_slice_files(archive.stores, story.bad)
    try:
        assert archive.files(QUARANTINED_EVENTS, story.bad) == []
        assert archive.status(story.bad) == ("published", 200, 0, 1)
        row = archive.stores.connection.execute("SELECT status FROM quality.quarantine_slices").fetchall()
        assert row == [("released",)]
    finally:
        quarantine_slice_files(archive.stores, story.bad, story.refused)
    assert archive.files(RAW_EVENTS, story.bad) == []
    assert archive.status(story.bad) == ("quarantined", 0, 200, 1)


def test_staging_is_removed_after_a_day(story: Story) -> None:
    stores = story.archive.stores
    remove_old_staging(stores, datetime.now(UTC))
    assert stores.staged(story.next_good).folder.exists()
    remove_old_staging(stores, datetime.now(UTC) + timedelta(days=2))
    assert not stores.staged(story.next_good).folder.exists()


def test_another_broker_is_said_before_spark_starts(story: Story) -> None:
    piece = story.next_good.slice_id
    done = story.archive.submit.plain("archive_events", "--slice-id", piece, WEBTOON_KAFKA="127.0.0.1:1")
    assert (done.returncode, done.stderr.count("Traceback")) == (1, 0)
    assert "no answer from Kafka at 127.0.0.1:1 within 10 s" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["--slice-id", "nonesuch"], {}, "slice 'nonesuch' is not recorded"),
        (["--slice-id", "x"], {"WEBTOON_POSTGRES_DSN": ""}, "WEBTOON_POSTGRES_DSN is not set"),
        (["--slice-id", "x"], {"WEBTOON_JARS_DIR": "/nonexistent"}, "run `make jars`"),
        (["--slice", "x", "--colour"], {}, "unrecognized arguments: --colour"),
        (
            ["--slice-id", "x"],
            {"WEBTOON_POSTGRES_DSN": "postgresql://a@127.0.0.1:1/b"},
            "cannot connect to PostgreSQL",
        ),
    ],
)
def test_bad_input_is_one_clear_line(
    story: Story, arguments: list[str], env: dict[str, str], message: str
) -> None:
    done = story.archive.submit.plain("archive_events", *arguments, **env)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
