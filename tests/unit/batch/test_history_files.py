"""Files of a day's history stay few and large, and what a file holds is found by its statistics."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.hive.mart_changes import held_publications
from include.spark_jobs.publish_features.history import split_by_size


def write(path: Path, publications: list[int], row_group_rows: int = 1000) -> Path:
    table = pa.table({"publication_id": pa.array(publications, pa.int64())})
    pq.write_table(table, path, row_group_size=row_group_rows)
    return path


@pytest.mark.parametrize("shape", ["equal", "falling", "rising", "random"])
def test_144_publications_of_a_day_leave_few_files_and_write_each_row_a_few_times(
    tmp_path: Path, shape: str
) -> None:
    chance = random.Random(shape)
    sizes = {
        "equal": lambda number: 10,
        "falling": lambda number: 200 - number,
        "rising": lambda number: 1 + number,
        "random": lambda number: chance.choice([1, 3, 50, 400]),
    }[shape]
    files: list[Path] = []
    total = rows_written = 0
    for number in range(144):
        new = sizes(number)
        merged, linked = split_by_size(files, new)
        assert sorted([*merged, *linked]) == sorted(files)
        rows = new + sum(pq.read_metadata(path).num_rows for path in merged)
        files = [*linked, write(tmp_path / f"{number:04d}.parquet", [number] * rows)]
        total, rows_written = total + new, rows_written + rows
        assert len(files) <= total.bit_length()
    assert sum(pq.read_metadata(path).num_rows for path in files) == total
    assert rows_written <= total * total.bit_length()
    if shape == "equal":
        assert rows_written < 144 / 2 * total / 5, "merging all files each time writes 72 times what is new"


def test_publications_are_found_between_others_and_in_no_other_file(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [1, 1, 1, 5, 7, 7], row_group_rows=3)
    write(tmp_path / "b.parquet", [9])
    write(tmp_path / "_hidden.parquet", [6])
    assert held_publications(tmp_path, [5, 6, 7, 8, 9, 10]) == {5, 7, 9}
    assert held_publications(tmp_path, [2, 6, 10]) == set()
    assert held_publications(tmp_path, []) == set()
