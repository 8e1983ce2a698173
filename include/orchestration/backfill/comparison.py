"""Rebuilt rows against those that the partition holds: how many are equal, new, changed (in which columns) or gone."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from include.common.backfills import Counts
from include.common.hive.files import data_files
from include.common.hive.tables import SESSION_FEATURES
from include.common.names import Dag, Pg
from include.orchestration.reconcile.duck import one, rows_of_files
from include.orchestration.reconcile.model import ReconcileError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_SQL = (Path(__file__).parent / "sql" / "compare_rows.sql").read_text(encoding="utf-8")
_BOOKKEEPING: Final = "ledger_position"
"""Says which micro-batch closed a reading: nothing that events could tell."""
_MAPS: Final = frozenset({"experiments"})


def join_reference(
    connection: "duckdb.DuckDBPyConnection",
    made: Path,
    episodes: "pa.Table",
    positions: Mapping[int, int],
    location: Path | None,
) -> None:
    """Fill table `rebuilt`: the readings of Parquet file `made` with genre and rating of the version valid at started_at;
    and `held_rows` from the partition's folder `location`. Raises ReconcileError where versions overlap."""
    connection.read_parquet(str(made), hive_partitioning=False).create_view("made", replace=True)
    connection.register("episodes", episodes)
    connection.execute(
        "CREATE OR REPLACE TEMPORARY TABLE settled (generation INTEGER, ledger_position BIGINT)"
    )
    if positions:
        connection.executemany("INSERT INTO settled VALUES (?, ?)", list(positions.items()))
    files = [] if location is None else [str(file) for file in data_files(location)]
    rows_of_files(connection, SESSION_FEATURES, files).create_view("partition_rows", replace=True)
    connection.execute(_SQL)
    (known, joined) = one(connection, "SELECT (SELECT count(*) FROM made), (SELECT count(*) FROM rebuilt)")
    if known != joined:
        raise ReconcileError(
            f"versions of an episode overlap in {Pg.EPISODE_METADATA}: {known} readings have {joined} genres. Load "
            f"reference again (DAG {Dag.REFERENCE_LOAD})"
        )


def count_rows(connection: "duckdb.DuckDBPyConnection") -> Counts:
    """Count `rebuilt` against `held_rows`; a column that files of the partition lack differs where there is a value."""
    held = set(connection.sql("FROM held_rows").columns)
    compared = [
        name
        for name in SESSION_FEATURES.column_names()
        if name not in SESSION_FEATURES.key and name != _BOOKKEEPING
    ]
    tests = ", ".join(
        f"CASE WHEN {_value('rebuilt', name)} IS DISTINCT FROM {_value('held', name) if name in held else 'NULL'}"
        f" THEN '{name}' END"
        for name in compared
    )
    pairs = " AND ".join(f"rebuilt.{name} = held.{name}" for name in SESSION_FEATURES.key)
    connection.execute(f"""
        CREATE OR REPLACE TEMPORARY TABLE pairs AS
        SELECT held.session_id IS NULL AS is_new, rebuilt.session_id IS NULL AS is_gone,
            list_filter([{tests}], lambda name: name IS NOT NULL) AS differing
        FROM rebuilt FULL JOIN (FROM held_rows WHERE copy = 1) AS held ON {pairs}
    """)  # noqa: S608  constants
    (new, gone, changed, equal, copies) = one(
        connection,
        "SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE is_gone),"
        " count(*) FILTER (WHERE NOT is_new AND NOT is_gone AND len(differing) > 0),"
        " count(*) FILTER (WHERE NOT is_new AND NOT is_gone AND len(differing) = 0),"
        " (SELECT count(*) FROM held_rows WHERE copy > 1) FROM pairs",
    )
    by_column = connection.execute(
        "SELECT name, count(*) FROM (SELECT unnest(differing) AS name FROM pairs WHERE NOT is_new AND NOT is_gone)"
        " GROUP BY name ORDER BY 2 DESC, 1"
    ).fetchall()
    return Counts(equal, new, changed, gone + copies, dict(by_column))


def _value(table: str, name: str) -> str:
    """Maps are compared whatever the order of their entries."""
    return f"list_sort(map_entries({table}.{name}))" if name in _MAPS else f"{table}.{name}"
