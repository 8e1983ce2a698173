"""Every executable vector's final rows pass through the DuckDB SQL, from Parquet files as the archive writes them."""

from dataclasses import dataclass
from typing import Any

import duckdb
import pytest

from include.orchestration.reconcile.model import Day, Outcome, Verdict
from tests.reconcile_case import Case, hive_row, rows_of
from tests.vectors import FLUSH_AT_MS, FLUSH_PREFIX, Vector, flush_records, load_vectors

VECTORS = load_vectors(own_partitions=True)
FLUSH_DAY = Day.of_ms(FLUSH_AT_MS).dt


@dataclass(frozen=True)
class Checked:
    """All vectors as one topic, a partition each, day by day. `rows`: what the SQL made of them."""

    case: Case
    outcomes: dict[str, Outcome]
    rows: list[dict[str, Any]]


@pytest.fixture(scope="module")
def checked(connection: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory) -> Checked:
    records = [record for vector in VECTORS for record in (*vector.records, *flush_records(vector))]
    case = Case(tmp_path_factory.mktemp("vectors"), records)
    case.hive = [hive_row(row) for vector in VECTORS for row in vector.rows]  # worked out by hand
    outcomes, rows = {}, []
    for dt in sorted({Day.of_ms(row["started_at"] // 1000).dt for row in case.hive} | {FLUSH_DAY}):
        outcomes |= case.judge(connection, dt)
        rows += list(rows_of(connection))
    return Checked(case, outcomes, rows)


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_final_rows_are_those_of_the_vector(checked: Checked, vector: Vector) -> None:
    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: (row["session_id"], row["session_start_ms"], row["episode_id"]))

    found = [row for row in checked.rows if row["source_partition"] == vector.partition]
    assert not [row for row in found if row["session_id"].startswith(FLUSH_PREFIX)]
    expected = [hive_row(row) for row in vector.rows]
    for row in expected:
        del row["genre"], row["episode_rating"], row["ledger_position"]
    for row in (*expected, *found):
        row["experiments"] = dict(row["experiments"])
    assert ordered(found) == ordered(expected)
    late = [it.offset for it in checked.case.late if it.partition == vector.partition]
    assert late == vector.late


def test_the_days_are_equal_and_every_late_event_is_confirmed(checked: Checked) -> None:
    days = [outcome for dt, outcome in checked.outcomes.items() if dt != FLUSH_DAY]
    assert len(days) >= 2
    assert [(it.verdict, it.reason, it.comparison) for it in days if it.verdict is not Verdict.EQUAL] == []
    compared = [it.comparison for it in days if it.comparison is not None]
    assert sum(it.rows_equal for it in compared) == sum(len(vector.rows) for vector in VECTORS)
    assert sum(it.late_checked for it in compared) >= sum(len(vector.late) for vector in VECTORS) > 5


def test_a_day_with_open_sessions_is_not_checked(checked: Checked) -> None:
    outcome = checked.outcomes[FLUSH_DAY]
    assert outcome.verdict is Verdict.NOT_CHECKED, "only the markers' sessions, which are open"
    assert outcome.comparison is None
