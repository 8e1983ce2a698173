"""Small files put together: same rows, in order, in files of the size wanted, and each says which slices it holds."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.archive.compaction import (
    CompactionError,
    CompactionLimits,
    merge_files,
    slice_of,
    slices_in,
    small_files,
)
from include.common.hive.files import link_or_copy, visible_files
from include.common.hive.partition_statistics import partition_statistics
from include.common.hive.tables import RAW_EVENTS
from tests.integration.hive_store import raw_rows

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FEW = CompactionLimits(target_bytes=200_000, min_files=2, row_group_rows=500)


def slice_id(number: int) -> str:
    return f"20261123T{number // 60:02d}{number % 60:02d}00Z-{number:012x}"


def write_slice(folder: Path, number: int, rows: int, *, without: tuple[str, ...] = ()) -> Path:
    """Slice `number` of two Kafka partitions, `rows` each."""
    keys = [(partition, number * rows + row) for partition in (0, 1) for row in range(rows)]
    table = raw_rows(keys, [NOON + timedelta(seconds=offset) for _, offset in keys], slice_id(number))
    path = folder / f"slice-{slice_id(number)}-00.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.drop_columns(list(without)), path)
    return path


def rows_of(files: list[Path]) -> pa.Table:
    return pa.concat_tables([pq.ParquetFile(path).read() for path in files])


def test_the_same_rows_in_order_of_offset_in_files_of_the_size_wanted(tmp_path: Path) -> None:
    inputs = [write_slice(tmp_path / "old", number, 2_000) for number in reversed(range(6))]
    written = merge_files(inputs, RAW_EVENTS, tmp_path / "new", "id", FEW)
    assert written == visible_files(tmp_path / "new")
    assert len(written) > 2
    footers = {path: pq.read_metadata(path).serialized_size for path in written}
    assert all(path.stat().st_size - footers[path] <= FEW.target_bytes for path in written)
    order = [("kafka_partition", "ascending"), ("kafka_offset", "ascending")]
    assert rows_of(written).equals(rows_of(inputs).sort_by(order).combine_chunks())
    assert rows_of(written).schema.equals(RAW_EVENTS.arrow_schema())
    assert frozenset.union(*map(slices_in, written)) == {slice_id(number) for number in range(6)}
    for path in written:
        held = set(pq.ParquetFile(path).read(["slice_id"])["slice_id"].to_pylist())
        assert slices_in(path) == held, "the footer says what is in the file and nothing else"


def test_one_slice_can_be_left_out(tmp_path: Path) -> None:
    inputs = [write_slice(tmp_path / "old", number, 10) for number in range(3)]
    (whole,) = merge_files(inputs, RAW_EVENTS, tmp_path / "new", "id", FEW)
    (rest,) = merge_files([whole], RAW_EVENTS, tmp_path / "next", "id", FEW, without=slice_id(1))
    assert slices_in(rest) == {slice_id(0), slice_id(2)}
    assert rows_of([rest]).num_rows == 40
    assert merge_files([inputs[1]], RAW_EVENTS, tmp_path / "none", "id", FEW, without=slice_id(1)) == []


def test_a_file_from_before_a_column_gets_nulls_and_one_with_an_unknown_column_is_refused(
    tmp_path: Path,
) -> None:
    old = write_slice(tmp_path / "old", 0, 5, without=("ui_version", "experiments"))
    new = write_slice(tmp_path / "old", 1, 5)
    (written,) = merge_files([new, old], RAW_EVENTS, tmp_path / "new", "id", FEW)
    rows = pq.ParquetFile(written).read()
    assert rows.schema.equals(RAW_EVENTS.arrow_schema())
    known = rows.group_by("slice_id").aggregate([("experiments", "count"), ("event_id", "count")])
    assert {row["slice_id"]: row["experiments_count"] for row in known.to_pylist()} == {
        slice_id(0): 0,
        slice_id(1): 6,
    }
    assert known["event_id_count"].to_pylist() == [10, 10]
    later = pq.read_table(new, partitioning=None).append_column("mood", pa.array(["x"] * 10))
    pq.write_table(later, tmp_path / "old" / "slice-20261123T000000Z-abcdefabcdef-00.parquet")
    with pytest.raises(CompactionError, match="lacks: mood"):
        merge_files(visible_files(tmp_path / "old"), RAW_EVENTS, tmp_path / "no", "id", FEW)
    assert not (tmp_path / "no").exists()


def test_only_small_files_of_settled_slices_and_small_compacted_ones_are_taken(tmp_path: Path) -> None:
    settled = [write_slice(tmp_path, number, 10) for number in range(2)]
    write_slice(tmp_path, 2, 10)  # its run may still be repeated
    big = write_slice(tmp_path, 3, 6_000)
    hidden = tmp_path / ".slice-x-00.parquet"
    hidden.write_bytes(b"half")
    (compacted,) = merge_files(settled, RAW_EVENTS, tmp_path, "id", FEW)
    names = {slice_id(number) for number in (0, 1, 3)}
    assert big.stat().st_size > FEW.small_bytes
    assert small_files(tmp_path, names, FEW) == [compacted, *settled]
    assert small_files(tmp_path, names, CompactionLimits(target_bytes=200_000, min_files=4)) == []
    assert (slice_of(settled[0]), slice_of(compacted), slice_of(hidden)) == (slice_id(0), None, None)


def test_a_file_that_no_compaction_wrote_is_not_guessed_at(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "compacted-x-00.parquet")
    with pytest.raises(CompactionError, match="does not say which slices it holds"):
        slices_in(tmp_path / "compacted-x-00.parquet")


def test_statistics_are_those_of_the_visible_files(tmp_path: Path) -> None:
    paths = [write_slice(tmp_path, number, 10) for number in range(2)]
    (tmp_path / ".slice-x.parquet.tmp").write_bytes(b"half")
    found = partition_statistics(tmp_path)
    assert (found["numFiles"], found["numRows"]) == ("2", "40")
    assert int(found["totalSize"]) == sum(os.path.getsize(path) for path in paths)
    assert int(found["rawDataSize"]) > 0
    assert partition_statistics(tmp_path / "absent")["numRows"] == "0"


def test_a_second_name_of_a_file_outlives_the_first(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "old", 0, 10)
    (tmp_path / "new").mkdir()
    second = tmp_path / "new" / path.name
    link_or_copy(path, second)
    with pytest.raises(FileExistsError):
        link_or_copy(path, second)
    path.unlink()
    assert rows_of([second]).num_rows == 20
