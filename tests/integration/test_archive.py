"""The archive on a real broker, PostgreSQL, Spark and Hive metastore: three slices, the second one corrupted."""

from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from include.common.archive.accounting import SliceAccountingError, check_slice_accounting
from include.common.archive.slices import SliceError, record_slice
from include.common.hive.files import data_files
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS
from include.common.kafka.offsets import watermarks
from include.orchestration.archive import (
    publish_slice_files,
    quarantine_slice_files,
    remove_old_staging,
)
from tests.integration.archive_story import Story
from tests.integration.batch_support import as_records, event, produce

pytestmark = pytest.mark.timeout(600)  # the first one starts the parts and stages three slices


@pytest.fixture
def story(archive_story: Story) -> Story:
    return archive_story


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
    # its events are five hours old: that warns, and does not block
    assert [outcome.expectation for outcome in story.accepted if outcome.failed] == ["newest_event_is_fresh"]
    assert not any(outcome.blocks for outcome in story.accepted)


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
