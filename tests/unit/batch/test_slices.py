"""Where slices start and end, and how their files become visible."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.common.archive.accounting import SliceAccountingError, check_slice_accounting
from include.common.archive.slice_files import StagedSlice, files_of_slice, place, staged_partitions
from include.common.archive.slices import Slice, SliceError, plan_offsets
from include.common.hive.files import data_files
from include.common.hive.tables import QUARANTINED_EVENTS, RAW_EVENTS
from include.common.kafka.offsets import Watermarks

ranges = st.dictionaries(
    st.integers(0, 9),
    st.tuples(st.integers(0, 500), st.integers(0, 500)).map(sorted),
    min_size=1,
)


@given(ranges=ranges, max_records=st.integers(1, 400))
def test_slices_cover_every_offset_once_whatever_their_size(
    ranges: dict[int, list[int]], max_records: int
) -> None:
    held = {number: Watermarks(low, high) for number, (low, high) in ranges.items()}
    done: dict[int, int] = {}
    seen: dict[int, list[int]] = {number: [] for number in held}
    for _ in range(10_000):
        start, end = plan_offsets(done, held, max_records)
        if start == end:
            break
        assert sum(end.values()) - sum(start.values()) <= max_records + len(held)
        for number in held:
            seen[number] += range(start[number], end[number])
        done = end
    assert seen == {number: list(range(low, high)) for number, (low, high) in held.items()}


def test_new_partition_starts_at_its_low_watermark() -> None:
    held = {0: Watermarks(5, 20), 1: Watermarks(3, 9)}
    assert plan_offsets({0: 10}, held, 100) == ({0: 10, 1: 3}, {0: 20, 1: 9})


@pytest.mark.parametrize(
    ("done", "held", "message"),
    [
        ({0: 4}, {0: Watermarks(6, 9)}, "offsets 4 to 5 were never archived"),
        ({0: 10}, {0: Watermarks(0, 9)}, "deleted and made again"),
        (
            {0: 1, 1: 1},
            {0: Watermarks(0, 9)},
            r"partitions \[1\] were archived but the topic no longer has them",
        ),
    ],
)
def test_what_kafka_lost_is_said(done: dict[int, int], held: dict[int, Watermarks], message: str) -> None:
    with pytest.raises(SliceError, match=message):
        plan_offsets(done, held, 100)


def _write(path: Path, partition: int, *offsets: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "kafka_partition": pa.array([partition] * len(offsets), pa.int32()),
        "kafka_offset": pa.array(offsets, pa.int64()),
    }
    pq.write_table(pa.table(columns), path)
    return path


def _slice(start: dict[int, int], end: dict[int, int]) -> Slice:
    return Slice("id", "run", "topic", start, end, "recorded")


def test_accounting_names_what_is_wrong(tmp_path: Path) -> None:
    piece = _slice({0: 0, 1: 5}, {0: 3, 1: 5})
    whole = [_write(tmp_path / "a.parquet", 0, 0, 2), _write(tmp_path / "b.parquet", 0, 1)]
    assert check_slice_accounting(piece, whole) == 3
    with pytest.raises(SliceAccountingError, match=r"partition 0: 1 missing \(1\)"):
        check_slice_accounting(piece, whole[:1])
    with pytest.raises(SliceAccountingError, match=r"partition 0: 1 twice or more \(1\)"):
        check_slice_accounting(piece, [*whole, whole[1]])
    with pytest.raises(SliceAccountingError, match=r"partition 1: 1 outside the slice \(5\)"):
        check_slice_accounting(piece, [*whole, _write(tmp_path / "c.parquet", 1, 5)])
    with pytest.raises(SliceAccountingError, match="partition 7 is not of the slice"):
        check_slice_accounting(piece, [*whole, _write(tmp_path / "d.parquet", 7, 0)])
    with pytest.raises(SliceAccountingError, match="partition 0: 3 missing"):
        check_slice_accounting(piece, [])


def test_placing_twice_is_placing_once_and_leftovers_of_a_crash_stay_hidden(tmp_path: Path) -> None:
    staged, root = tmp_path / "staged", tmp_path / "raw_events"
    _write(staged / "dt=2026-11-24" / "hour=5" / "part-00001-x.parquet", 0, 0)
    _write(staged / "dt=2026-11-24" / "hour=13" / "part-00000-x.parquet", 0, 1)
    (staged / "_SUCCESS").touch()
    partitions = staged_partitions(staged, RAW_EVENTS)
    assert partitions == {("2026-11-24", "5"), ("2026-11-24", "13")}
    folders = {values: root / RAW_EVENTS.partition_name(values) for values in partitions}
    folders[("2026-11-24", "5")].mkdir(parents=True)
    (folders[("2026-11-24", "5")] / ".slice-id-00.parquet.tmp").write_bytes(b"half")
    first = place(staged, RAW_EVENTS, folders, "id")
    assert place(staged, RAW_EVENTS, folders, "id") == first
    assert sorted(first) == files_of_slice(root, "id") == data_files(root)
    assert check_slice_accounting(_slice({0: 0}, {0: 2}), first) == 2


def test_quarantine_has_no_hour_but_keeps_its_files_apart(tmp_path: Path) -> None:
    staged, root = tmp_path / "staged", tmp_path / "quarantined_events"
    for hour in (5, 13):
        _write(staged / "dt=2026-11-24" / f"hour={hour}" / "part-0.parquet", 0, hour)
    assert staged_partitions(staged, QUARANTINED_EVENTS) == {("2026-11-24",)}
    placed = place(staged, QUARANTINED_EVENTS, {("2026-11-24",): root / "dt=2026-11-24"}, "id")
    assert sorted(path.name for path in placed) == ["slice-id-hour13-00.parquet", "slice-id-hour5-00.parquet"]


def test_half_written_staging_is_refused(tmp_path: Path) -> None:
    staged = StagedSlice.of(tmp_path, "id")
    staged.events.mkdir(parents=True)
    (staged.events / "_SUCCESS").touch()
    with pytest.raises(
        SliceError, match="dead_letters is not there or was not written to the end: clear task"
    ):
        staged.check_whole()
