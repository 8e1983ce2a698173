"""Each row of quarantine names what it broke, and the way back gives the rows as they came."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.archive.quarantined_rows import (
    read_failed_rows,
    sample_offsets,
    stage_quarantined,
    stage_released,
    write_failed_rows,
)
from include.common.hive.files import data_files
from include.common.hive.tables import QUARANTINED_EVENTS, RAW_EVENTS

START = datetime(2026, 11, 24, 22, 50, tzinfo=UTC)
FAILED = {
    "unknown_episode_share": [(0, 3), (1, 0)],
    "platform_allowed": [(0, 3)],
    "dead_letter_share": [(2, 7)],
}


def rows() -> list[dict[str, Any]]:
    """Ten rows over three hours and two days, of two partitions."""
    found = []
    for number in range(10):
        row = dict.fromkeys(RAW_EVENTS.column_names())
        at = START + timedelta(minutes=15 * number)
        found.append(
            row
            | {
                "event_id": f"e{number}", "experiments": [("cover", "b")], "event_time": at, "value": b"{}",
                "timestamp": int(at.timestamp() * 1000), "topic": "t", "kafka_partition": number % 2,
                "kafka_offset": number // 2, "kafka_timestamp": at, "slice_id": "s",
            }
        )  # fmt: skip
    return found


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    folder = tmp_path / "events"
    for row in rows():
        at = row["event_time"]
        path = folder / f"dt={at:%Y-%m-%d}" / f"hour={at.hour}" / f"part-{row['event_id']}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist([row], schema=RAW_EVENTS.arrow_schema()), path)
    return folder


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "failed_rows.parquet"
    tables = {
        name: pa.table(
            {"kafka_partition": [key[0] for key in keys], "kafka_offset": [key[1] for key in keys]}
        )
        for name, keys in FAILED.items()
    }
    write_failed_rows(path, tables)
    return path


def broken(folder: Path) -> dict[tuple[int, int], list[str]]:
    """Expectations by (partition, offset)."""
    found = [row for path in data_files(folder) for row in pq.ParquetFile(path).read().to_pylist()]
    return {(row["kafka_partition"], row["kafka_offset"]): row["failed_expectations"] for row in found}


def test_rows_name_what_they_broke_and_what_the_whole_slice_did(
    staged: Path, kept: Path, tmp_path: Path
) -> None:
    names = ["unknown_episode_share", "volume", "platform_allowed", "dead_letter_share"]
    stage_quarantined(staged, tmp_path / "q", names, read_failed_rows(kept, names))
    found = broken(tmp_path / "q")
    assert len(found) == 10
    assert found[(0, 3)] == ["unknown_episode_share", "volume", "platform_allowed"]
    assert found[(1, 0)] == ["unknown_episode_share", "volume"]
    assert found[(0, 0)] == ["volume"]
    for path in data_files(tmp_path / "q"):
        assert pq.ParquetFile(path).schema_arrow.names == QUARANTINED_EVENTS.column_names()


def test_where_no_rows_were_kept_the_whole_slice_is_named(staged: Path, tmp_path: Path) -> None:
    assert read_failed_rows(tmp_path / "none.parquet", ["a"]) == {}
    stage_quarantined(staged, tmp_path / "q", ["a", "b"], {})
    assert list(broken(tmp_path / "q").values()) == [["a", "b"]] * 10


def test_samples_are_offsets_in_their_order(kept: Path) -> None:
    failed = read_failed_rows(kept, ["unknown_episode_share", "dead_letter_share", "unheard_of"])
    assert sample_offsets(failed, "events") == {
        "unknown_episode_share": ["events[0]@3", "events[1]@0"],
        "dead_letter_share": ["events[2]@7"],
    }
    assert sample_offsets(failed, "events", size=1)["unknown_episode_share"] == ["events[0]@3"]


def test_released_rows_are_the_rows_that_were_staged(staged: Path, tmp_path: Path) -> None:
    stage_quarantined(staged, tmp_path / "q", ["a"], {})
    stage_released(data_files(tmp_path / "q"), "s", tmp_path / "r")
    released = [row for path in data_files(tmp_path / "r") for row in pq.ParquetFile(path).read().to_pylist()]
    assert sorted(released, key=lambda row: row["event_id"]) == rows()
    assert {
        str(path.parent.relative_to(tmp_path / "r")): pq.read_metadata(path).num_rows
        for path in data_files(tmp_path / "r")
    } == {
        "dt=2026-11-24/hour=22": 1, "dt=2026-11-24/hour=23": 4, "dt=2026-11-25/hour=0": 4, "dt=2026-11-25/hour=1": 1,
    }  # fmt: skip


def test_a_table_from_before_the_column_can_be_released(tmp_path: Path) -> None:
    old = tmp_path / "old.parquet"
    pq.write_table(pa.Table.from_pylist(rows(), schema=RAW_EVENTS.arrow_schema()), old)
    stage_released([old], "s", tmp_path / "r")
    assert sum(pq.read_metadata(path).num_rows for path in data_files(tmp_path / "r")) == 10


def test_of_a_file_that_holds_other_slices_only_the_slice_is_released(tmp_path: Path) -> None:
    mixed = [row | {"slice_id": "s" if number % 2 else "other"} for number, row in enumerate(rows())]
    file = tmp_path / "compacted-1.parquet"
    pq.write_table(pa.Table.from_pylist(mixed, schema=RAW_EVENTS.arrow_schema()), file)
    stage_released([file], "s", tmp_path / "r")
    released = [row for path in data_files(tmp_path / "r") for row in pq.ParquetFile(path).read().to_pylist()]
    assert sorted(row["event_id"] for row in released) == ["e1", "e3", "e5", "e7", "e9"]
