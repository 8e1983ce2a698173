"""Files without a reader: rows, footers, and staged slices whose events become dead letters."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.archive.accounting import check_slice_accounting
from include.common.archive.compaction import SLICES_KEY, slices_in
from include.common.archive.slice_files import StagedSlice
from include.common.archive.slices import Slice
from include.common.erasure import publications as publication_erasure
from include.common.erasure import staged_slices as staged_erasure
from include.common.erasure.publications import remove_rebuilt_days
from include.common.erasure.staged_slices import erase_staged
from include.common.hive.files import data_files
from include.common.hive.metastore import Metastore
from include.common.hive.parquet_rows import holds, is_user, may_hold_user, rewrite, without
from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.tables import DEAD_LETTERS, RAW_EVENTS, USER_FEATURE_HISTORY
from tests.integration.hive_store import letter_rows, raw_rows, write_by_partition

AT = datetime(2026, 11, 23, 5, tzinfo=UTC)
HIM = "u1"


def rows(count: int, slice_id: str = "s") -> pa.Table:
    return raw_rows([(0, offset) for offset in range(count)], [AT] * count, slice_id)


def test_a_rewritten_file_lacks_the_rows_and_its_footer_the_id(tmp_path: Path) -> None:
    source, target = tmp_path / "compacted-a.parquet", tmp_path / "new" / "compacted-a.parquet"
    table = rows(120)
    pq.write_table(table.replace_schema_metadata({SLICES_KEY: b'["s", "t"]'}), source, row_group_size=50)
    assert holds(source, "user_id", HIM)
    assert HIM.encode() in source.read_bytes()
    wanted = [row for row in table.to_pylist() if row["user_id"] != HIM]
    assert rewrite(source, target, without("user_id", is_user(HIM))) == len(wanted) < 120
    written = pq.ParquetFile(target)
    assert written.read().to_pylist() == wanted
    assert written.schema_arrow.remove_metadata().equals(RAW_EVENTS.arrow_schema())
    assert slices_in(target) == {"s", "t"}, "what the footer says stays"
    assert not holds(target, "user_id", HIM)
    assert holds(target, "user_id", "u10")
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_statistics_alone_say_no_and_a_column_that_is_not_there_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": ["b", "d", None]}), tmp_path / "a.parquet")
    found = [holds(tmp_path / "a.parquet", "user_id", name) for name in "abcde"]
    assert found == [False, True, False, True, False]
    assert not holds(tmp_path / "a.parquet", "session_id", "b")


@pytest.mark.parametrize(
    ("name", "may"), [("a.parquet", True), (".spill", True), (".a.parquet.crc", False), (None, False)]
)
def test_a_folder_of_which_not_all_is_known_may_hold_him(tmp_path: Path, name: str | None, may: bool) -> None:
    if name is not None:
        (tmp_path / name).write_bytes(b"PAR1 cut off")
    assert may_hold_user(tmp_path, HIM) is may


def test_rebuilt_days_that_may_hold_him_go(tmp_path: Path) -> None:
    """A run's whole days, one with him; a day that was not written to its end."""
    for run, first in (("his", 0), ("others", 2)):
        day = tmp_path / f"backfill={run}" / "dt=2026-11-23"
        day.mkdir(parents=True)
        keys = [(0, offset) for offset in range(first, 9)]
        pq.write_table(raw_rows(keys, [AT] * len(keys), "s"), day / "part-00000.parquet")
    half = tmp_path / "backfill=half" / ".dt=2026-11-23.tmp"
    half.mkdir(parents=True)
    (half / "generation-1.parquet").write_bytes(b"PAR1 cut off")
    (tmp_path / "slice=s").mkdir()
    assert [folder.name for folder in remove_rebuilt_days(tmp_path, HIM)] == ["backfill=half", "backfill=his"]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["backfill=others", "slice=s"]
    assert remove_rebuilt_days(tmp_path, HIM) == []
    assert remove_rebuilt_days(tmp_path / "nowhere", HIM) == []


class Pointed(Metastore):
    """Partitions without a metastore; the process ends at the second call that points some, if it is `dying`."""

    def __init__(self, folders: dict[PartitionValues, Path]) -> None:
        super().__init__(None)
        self.folders = folders
        self.dying = True
        self.calls = 0

    def all_locations(self, table: HiveTable) -> dict[PartitionValues, Path]:
        return dict(self.folders)

    def point_partitions(self, table: HiveTable, folders: Mapping[PartitionValues, Path]) -> None:
        self.calls += 1
        if self.dying and self.calls == 2:
            raise KeyboardInterrupt
        self.folders |= folders


def test_a_repeat_rewrites_only_the_published_partitions_that_are_left(tmp_path: Path) -> None:
    folders: dict[PartitionValues, Path] = {}
    for day in ("2026-11-21", "2026-11-22", "2026-11-23"):
        folders[(day,)] = tmp_path / USER_FEATURE_HISTORY.name / "publication=1" / f"dt={day}"
        folders[(day,)].mkdir(parents=True)
        table = pa.table({"user_id": [HIM, "u2"]})
        pq.write_table(table, folders[(day,)] / "part-0.parquet")
    metastore = Pointed(dict(folders))
    with pytest.raises(KeyboardInterrupt):
        publication_erasure._erase_from_table(metastore, USER_FEATURE_HISTORY, tmp_path, HIM)
    first = metastore.folders[("2026-11-21",)]
    assert first != folders[("2026-11-21",)]
    metastore.dying = False
    assert publication_erasure._erase_from_table(metastore, USER_FEATURE_HISTORY, tmp_path, HIM) == 2
    assert metastore.folders[("2026-11-21",)] == first
    shown = [path for folder in metastore.folders.values() for path in data_files(folder)]
    assert [pq.ParquetFile(path).read()["user_id"].to_pylist() for path in shown] == [["u2"]] * 3


def stage(folder: Path) -> tuple[StagedSlice, Slice]:
    """100 events over two hours, two of HIM; four dead letters, one of which names HIM."""
    staged = StagedSlice(folder)
    keys = [(0, offset) for offset in range(100)]
    times = [AT + timedelta(minutes=offset) for offset in range(100)]
    write_by_partition(raw_rows(keys, times, "s"), times, RAW_EVENTS, staged.events)
    letters = letter_rows([(0, offset) for offset in range(100, 104)], [AT] * 4, "s")
    value = pa.array([b"{}", b'{"user_id": "u1"}', b"{}", b'{"user_id": "u11"}'], pa.binary())
    letters = letters.set_column(letters.schema.get_field_index("value"), "value", value)
    write_by_partition(letters, [AT] * 4, DEAD_LETTERS, staged.dead_letters)
    return staged, Slice("s", "r", "events", {0: 0}, {0: 104}, "staged")


def letters_of(staged: StagedSlice) -> list[tuple[int, str, bytes | None]]:
    found = [
        row for path in data_files(staged.dead_letters) for row in pq.ParquetFile(path).read().to_pylist()
    ]
    return sorted((row["kafka_offset"], row["reason"], row["value"]) for row in found)


EXPECTED = [
    (1, "erased_reader", None), (51, "erased_reader", None),
    (100, "not_json", b"{}"), (101, "not_json", None), (102, "not_json", b"{}"), (103, "not_json", b'{"user_id": "u11"}'),
]  # fmt: skip


def test_a_staged_slice_adds_up_as_before(tmp_path: Path) -> None:
    staged, piece = stage(tmp_path)
    crc = next(iter(data_files(staged.events)))
    crc.with_name(f".{crc.name}.crc").touch()
    assert erase_staged(staged, is_user(HIM)) == 3
    assert letters_of(staged) == EXPECTED
    assert check_slice_accounting(piece, data_files(tmp_path)) == 104
    assert not any(holds(path, "user_id", HIM) for path in data_files(staged.events))
    assert not list(staged.events.rglob("*.crc")), "it is of the file as it was"
    assert erase_staged(staged, is_user(HIM)) == 0
    assert erase_staged(staged, is_user("u2")) == 2
    assert check_slice_accounting(piece, data_files(tmp_path)) == 104


def test_a_kill_between_letters_and_events_is_repeated_without_doubling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, piece = stage(tmp_path)

    def die(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
        if path.is_relative_to(staged.events):
            raise KeyboardInterrupt
        rewrite(path, path, change)

    with monkeypatch.context() as crash:
        crash.setattr(staged_erasure, "_replace", die)
        with pytest.raises(KeyboardInterrupt):
            erase_staged(staged, is_user(HIM))
    # meanwhile another one asked
    erase_staged(staged, {HIM, "u2"}.__contains__)
    assert check_slice_accounting(piece, data_files(tmp_path)) == 104
    assert [offset for offset, reason, _ in letters_of(staged) if reason == "erased_reader"] == [1, 2, 51, 52]
