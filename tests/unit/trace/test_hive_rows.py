"""Rows through DuckDB from the folders that partitions point at: the asked ones only, old files beside new ones."""

from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hmsclient.genthrift.hive_metastore import ttypes

from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.tables import USER_FEATURES_DAILY
from include.trace.hive_rows import HiveReader


class Pointing:
    """A metastore that knows one table, and counts how often it is asked."""

    def __init__(self, folders: dict[PartitionValues, Path] | None) -> None:
        self.folders, self.asked = folders, 0

    def all_locations(self, table: HiveTable) -> dict[PartitionValues, Path]:
        self.asked += 1
        if self.folders is None:
            raise ttypes.NoSuchObjectException(message=table.name)
        return self.folders


def reader(folders: dict[PartitionValues, Path] | None) -> tuple[HiveReader, Pointing]:
    metastore = Pointing(folders)
    return HiveReader(cast(Metastore, metastore)), metastore


def write(folder: Path, name: str, **columns: list[Any]) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / name)
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> dict[PartitionValues, Path]:
    first = write(tmp_path / "a", "part-0.parquet", user_id=["u1"], cut_id=[1])
    write(tmp_path / "a", "part-1.parquet", user_id=["u2"], cut_id=[1], usual_country=["KR"])
    write(tmp_path / "a", ".part-2.parquet.tmp.parquet", user_id=["hidden"], cut_id=[1])
    return {
        ("2026-01-01",): first,
        ("2026-01-02",): write(tmp_path / "b", "p.parquet", user_id=["u1"], cut_id=[2]),
    }


def test_only_the_partitions_that_are_asked_for_are_read(folders: dict[PartitionValues, Path]) -> None:
    hive, metastore = reader(folders)
    query = "SELECT user_id, cut_id FROM rows WHERE user_id = $user ORDER BY cut_id"
    both = hive.rows(USER_FEATURES_DAILY, None, query, {"user": "u1"})
    assert both == [{"user_id": "u1", "cut_id": 1}, {"user_id": "u1", "cut_id": 2}]
    assert hive.rows(USER_FEATURES_DAILY, [("2026-01-02",)], query, {"user": "u1"}) == both[1:]
    assert metastore.asked == 1, "the metastore is asked once"


def test_a_file_of_before_a_column_was_added_has_it_empty_and_hidden_files_are_passed_over(
    folders: dict[PartitionValues, Path],
) -> None:
    hive, _ = reader(folders)
    query = "SELECT user_id, usual_country FROM rows ORDER BY user_id"
    assert hive.rows(USER_FEATURES_DAILY, [("2026-01-01",)], query, {}) == [
        {"user_id": "u1", "usual_country": None}, {"user_id": "u2", "usual_country": "KR"},
    ]  # fmt: skip


def test_a_table_that_is_not_there_yet_has_no_rows() -> None:
    hive, _ = reader(None)
    assert hive.rows(USER_FEATURES_DAILY, None, "SELECT * FROM rows", {}) == []
