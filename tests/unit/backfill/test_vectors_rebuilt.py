"""Every executable vector's final rows pass through the backfill, from Parquet files as the archive writes them."""

from dataclasses import dataclass
from typing import Any

import duckdb
import pytest

from include.common.backfills import Counts
from include.orchestration.backfill.rebuild import Rebuilt
from include.orchestration.reconcile.model import Day
from tests.backfill_case import rebuild_day, rows_of
from tests.reconcile_case import Case, hive_row
from tests.vectors import Vector, flush_records, load_vectors

VECTORS = load_vectors(own_partitions=True)


@dataclass(frozen=True)
class Made:
    """All vectors as one topic, a partition each, rebuilt day by day."""

    rebuilt: dict[str, Rebuilt]
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def made(connection: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("vectors")
    case = Case(root, [record for vector in VECTORS for record in (*vector.records, *flush_records(vector))])
    case.hive = [hive_row(row) for vector in VECTORS for row in vector.rows]  # worked out by hand
    inputs = case.inputs()
    days = sorted({Day.of_ms(row["started_at"] // 1000).dt for row in case.hive})
    rebuilt = {dt: rebuild_day(connection, inputs, root / "staging", dt) for dt in days}
    return Made(rebuilt, [row for it in rebuilt.values() for row in rows_of(it)])


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_rebuilt_rows_are_those_of_the_vector(made: Made, vector: Vector) -> None:
    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: (row["session_id"], row["session_start_ms"], row["episode_id"]))

    found = [row for row in made.rows if row["source_partition"] == vector.partition]
    expected = [hive_row(row) for row in vector.rows]
    for row in (*expected, *found):
        row["experiments"] = dict(row["experiments"])
    assert ordered(found) == ordered(expected)


def test_rows_worked_out_by_hand_are_equal(made: Made) -> None:
    assert len(made.rebuilt) >= 2
    counts = [it.staged.counts for it in made.rebuilt.values()]
    assert [it for it in counts if it != Counts(it.equal, 0, 0, 0, {})] == []
    assert sum(it.equal for it in counts) == sum(len(vector.rows) for vector in VECTORS) == len(made.rows)
