"""A slice in quarantine on real stores: its rows name what they broke; it is released, discarded, or refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.common.archive.accounting import SliceAccountingError, check_slice_accounting
from include.common.archive.slices import Decision, load_slice
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS
from include.orchestration.archive import (
    quarantine_slice_files,
)
from include.orchestration.release_slice import (
    DecisionError,
    discard_slice_files,
    plan_files,
    release_slice_files,
)
from tests.integration.archive_story import Story

pytestmark = pytest.mark.timeout(600)  # the first one starts the parts and stages three slices
ADA = Decision("ada", "the reference was late")
ADA_TOLD = (ADA.by, ADA.reason, True)
"""Who, why, and that the time is noted."""


@pytest.fixture
def story(archive_story: Story) -> Story:
    return archive_story


def test_rows_in_quarantine_name_what_they_broke(story: Story) -> None:
    archive = story.archive
    rows = [
        row
        for path in archive.files(QUARANTINED_EVENTS, story.bad)
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    broke = {
        (row["kafka_partition"], row["kafka_offset"])
        for row in rows
        if row["failed_expectations"] == ["unknown_episode_share"]
    }
    assert broke == {
        (row["kafka_partition"], row["kafka_offset"]) for row in rows if row["episode_id"] == "undefined"
    }
    assert len(broke) == 100
    assert [row["failed_expectations"] for row in rows if row["episode_id"] != "undefined"] == [[]] * 100
    ((samples,),) = archive.stores.connection.execute(
        "SELECT sample_offsets FROM quality.quarantine_slices WHERE slice_id = %s", (story.bad.slice_id,)
    ).fetchall()
    first = [f"{archive.topic}[{partition}]@{offset}" for partition, offset in sorted(broke)[:5]]
    assert samples == {"unknown_episode_share": first}


@contextmanager
def without_staging(story: Story) -> Iterator[None]:
    """The bad slice when its staging folder is gone; afterwards it waits in quarantine again."""
    archive = story.archive
    staged = archive.stores.staged(story.bad).folder
    if not staged.exists():  # removed as old by an earlier test: the archive's run is cleared
        archive.stage(story.bad)
        archive.gate(story.bad)
        quarantine_slice_files(archive.stores, story.bad, story.refused)
    aside = staged.with_name("aside")
    staged.rename(aside)
    try:
        yield
    finally:
        aside.rename(staged)
        quarantine_slice_files(archive.stores, story.bad, story.refused)


def _rows(paths: list[Path]) -> list[dict[str, Any]]:
    names = RAW_EVENTS.column_names()
    rows = [row for path in paths for row in pq.ParquetFile(path).read(names).to_pylist()]
    return sorted(rows, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))


@pytest.mark.parametrize("stopped", ["before", "raw events half placed", "quarantine half removed"])
def test_a_released_slice_flows_as_if_it_had_passed(story: Story, stopped: str) -> None:
    archive, stores = story.archive, story.archive.stores
    with without_staging(story):
        quarantined = archive.files(QUARANTINED_EVENTS, story.bad)
        wanted = _rows(quarantined)
        plan = plan_files(stores, story.bad)
        assert plan["quarantined"] == sum(plan["partitions"].values()) == len(wanted) == 200
        if stopped != "before":
            release_slice_files(stores, story.bad, ADA)
            raw = archive.files(RAW_EVENTS, story.bad)
            assert len(raw) == len(quarantined) == 3
            kept = {path: path.read_bytes() for path in raw}
            quarantine_files_again(
                story, quarantined[:1] if stopped.startswith("quarantine") else quarantined
            )
            for path in raw[1:] if stopped.startswith("raw") else raw:
                path.write_bytes(kept[path])
        if stopped.startswith("quarantine"):
            with pytest.raises(SliceAccountingError, match="missing"):
                discard_slice_files(stores, story.bad, ADA)
            assert archive.files(RAW_EVENTS, story.bad) == raw, "some rows are nowhere else"
        done = release_slice_files(stores, story.bad, ADA)
        assert done == {
            "slice_id": story.bad.slice_id, "produced": 201, "archived": 200, "quarantined": 0, "dead_letters": 1,
        }  # fmt: skip
        raw = archive.files(RAW_EVENTS, story.bad)
        assert archive.files(QUARANTINED_EVENTS, story.bad) == []
        assert _rows(raw) == wanted
        assert check_slice_accounting(story.bad, [*raw, *archive.files(DEAD_LETTERS, story.bad)]) == 201
        shown = set(stores.metastore.all_locations(RAW_EVENTS).values())
        assert {path.parent for path in raw} <= shown
        for path in raw:
            for time in pq.ParquetFile(path).read(["event_time"])["event_time"].to_pylist():
                assert f"dt={time:%Y-%m-%d}/hour={time.hour}" in str(path)
        assert archive.status(story.bad) == ("published", 200, 0, 1)
        for table, status in (("ops.archive_slices", "published"), ("quality.quarantine_slices", "released")):
            assert decided(story, table) == [(status, *ADA_TOLD)]

        before = {path: path.stat().st_mtime_ns for path in raw}
        assert release_slice_files(stores, story.bad, Decision("bob", "again")) == done
        assert {path: path.stat().st_mtime_ns for path in archive.files(RAW_EVENTS, story.bad)} == before
        assert decided(story, "quality.quarantine_slices")[0][1] == "ada"
        with pytest.raises(
            DecisionError, match=r"is not in quarantine: it was released by ada at .*clear task"
        ):
            discard_slice_files(stores, story.bad, ADA)
    assert archive.status(story.bad) == ("quarantined", 0, 200, 1)
    assert decided(story, "quality.quarantine_slices") == [("quarantined", None, None, False)]


def quarantine_files_again(story: Story, files: list[Path]) -> None:
    """As a release leaves it that was killed: `files` are in quarantine, and it is marked so."""
    aside = story.archive.stores.data / "staging" / "aside"
    staged = story.archive.stores.staged(story.bad).folder
    aside.rename(staged)
    quarantine_slice_files(story.archive.stores, story.bad, story.refused)
    staged.rename(aside)
    for path in set(story.archive.files(QUARANTINED_EVENTS, story.bad)) - set(files):
        path.unlink()


def decided(story: Story, table: str) -> list[tuple[Any, ...]]:
    """Status, who, why, and whether the time is noted."""
    return story.archive.stores.connection.execute(
        f"SELECT status, decided_by, decision_reason, decided_at IS NOT NULL FROM {table} WHERE slice_id = %s",
        (story.bad.slice_id,),
    ).fetchall()


def test_a_discarded_slice_stays_in_quarantine_marked(story: Story) -> None:
    archive, stores = story.archive, story.archive.stores
    with without_staging(story):
        files = archive.files(QUARANTINED_EVENTS, story.bad)
        for _ in range(2):
            done = discard_slice_files(stores, story.bad, ADA)
            assert (done["archived"], done["quarantined"], done["dead_letters"]) == (0, 200, 1)
            assert archive.files(QUARANTINED_EVENTS, story.bad) == files
            assert archive.status(story.bad) == ("discarded", 0, 200, 1)
            assert decided(story, "quality.quarantine_slices") == [("discarded", *ADA_TOLD)]
            assert decided(story, "ops.archive_slices") == [("discarded", *ADA_TOLD)]
        with pytest.raises(DecisionError, match="it was discarded by ada"):
            release_slice_files(stores, story.bad, ADA)
        assert archive.files(RAW_EVENTS, story.bad) == []


def test_what_is_not_in_quarantine_or_not_whole_is_refused(story: Story) -> None:
    archive, stores = story.archive, story.archive.stores
    for work in (release_slice_files, discard_slice_files):
        with pytest.raises(DecisionError, match="was never in quarantine, it is published"):
            work(stores, load_slice(stores.connection, story.good.slice_id), ADA)
    with without_staging(story):
        archive.files(QUARANTINED_EVENTS, story.bad)[0].unlink()
        for work in (release_slice_files, discard_slice_files):
            with pytest.raises(SliceAccountingError, match="missing"):
                work(stores, story.bad, ADA)
        assert archive.files(RAW_EVENTS, story.bad) == []
        assert archive.status(story.bad) == ("quarantined", 0, 200, 1)
