"""Every feature of every row: what was recomputed against what a partition of session_features holds.

Genre and rating may be missing in Hive and known now: the first version of an episode is valid from -infinity, whenever
it was loaded. Such a row is counted on its own, unless a row of the episode that was published no later has the genre.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from include.common.hive.tables import SESSION_FEATURES
from include.common.names import Dag, Pg
from include.orchestration.reconcile.duck import one, run_file
from include.orchestration.reconcile.model import Comparison, ReconcileError

if TYPE_CHECKING:
    import duckdb

KEY: Final = ("session_id", "session_start_ms", "episode_id")
BOOKKEEPING: Final = frozenset({"ledger_position"})
"""Says which micro-batch closed a reading: nothing that events could tell."""
COMPARED: Final = tuple(
    name for name in SESSION_FEATURES.column_names() if name not in KEY and name not in BOOKKEEPING
)
PERSONAL: Final = frozenset({"session_id", "user_id"})
SAMPLES = 5
"""Of each kind."""
_PLACE = ("episode_id", "source_partition", "last_offset")
"""What a sample is found by, without a personal id."""


def compare(connection: "duckdb.DuckDBPyConnection") -> Comparison:
    """Compare temporary table `recomputed` with `partition_rows`, taking genres and ratings from `episodes`; `late_faults` are those
    of `late_found`. Fills `differences`. Raises ReconcileError where versions of an episode overlap."""
    run_file(connection, "9_compare.sql")
    (known, joined) = one(
        connection, "SELECT (SELECT count(*) FROM recomputed), (SELECT count(*) FROM expected)"
    )
    if known != joined:
        raise ReconcileError(
            f"versions of an episode overlap in {Pg.EPISODE_METADATA}: {known} readings have {joined} genres. Load "
            f"reference again (DAG {Dag.REFERENCE_LOAD})"
        )
    # files of before a column was added do not claim anything about it
    held = set(connection.sql("FROM partition_rows").columns)
    connection.execute(_differences([name for name in COMPARED if name in held]))
    kinds = _counts(connection, "SELECT kind, count(*) FROM differences GROUP BY kind")
    (rows, published, doubled) = one(
        connection,
        "SELECT (SELECT count(*) FROM expected), (SELECT count(*) FROM published WHERE copy = 1),"
        " (SELECT count(*) FROM published WHERE copy > 1)",
    )
    # every row of one side is equal, different, or on that side only
    equal = rows - kinds.get("differing", 0) - kinds.get("only_recomputed", 0)
    assert equal == published - kinds.get("differing", 0) - kinds.get("only_published", 0)
    (checked,) = one(connection, "SELECT count(*) FROM late_found WHERE bucket_clock_ms IS NOT NULL")
    (unknown,) = one(connection, f"SELECT count(*) FROM {_PAIRS} WHERE {_GENRE_UNKNOWN_THEN}")  # noqa: S608  constants
    return Comparison(
        equal,
        kinds.get("differing", 0),
        kinds.get("only_published", 0),
        kinds.get("only_recomputed", 0),
        doubled,
        _counts(
            connection,
            "SELECT name, count(*) FROM (SELECT unnest(differing) AS name FROM differences) GROUP BY name"
            " ORDER BY 2 DESC, 1",
        ),
        checked,
        _counts(
            connection,
            "SELECT fault, count(*) FROM late_found WHERE fault IS NOT NULL GROUP BY fault ORDER BY 1",
        ),
        unknown,
        (*_samples(connection), *_doubled_samples(connection), *_late_samples(connection)),
    )


_OF_REFERENCE: Final = ("genre", "episode_rating")
_SAME_KEY = " AND ".join(f"expected.{name} = published.{name}" for name in KEY)
_PAIRS = f"expected FULL JOIN (FROM published WHERE copy = 1) AS published ON {_SAME_KEY}"
_GENRE_UNKNOWN_THEN = (
    "published.genre IS NULL AND expected.genre IS NOT NULL AND expected.is_first_version"
    " AND coalesce(published.ledger_position < published.genre_known_from, TRUE)"
    " AND published.session_id IS NOT NULL"
)


def _differences(columns: Sequence[str]) -> str:
    """Statement that fills `differences`: kind, which of `columns` differ, and both rows."""
    tests = ", ".join(
        f"CASE WHEN expected.{name} IS DISTINCT FROM published.{name}"
        f"{f' AND NOT ({_GENRE_UNKNOWN_THEN})' if name in _OF_REFERENCE else ''} THEN '{name}' END"
        for name in columns
    )
    return f"""
        CREATE OR REPLACE TEMPORARY TABLE differences AS
        SELECT * FROM (
            SELECT
                CASE
                    WHEN published.session_id IS NULL THEN 'only_recomputed'
                    WHEN expected.session_id IS NULL THEN 'only_published'
                    ELSE 'differing'
                END AS kind,
                CASE WHEN expected.session_id IS NULL OR published.session_id IS NULL THEN []
                    ELSE list_filter([{tests}], lambda name: name IS NOT NULL) END AS differing,
                expected, published
            FROM {_PAIRS}
        ) AS pairs
        WHERE kind <> 'differing' OR len(differing) > 0
    """  # noqa: S608  constants


def _samples(connection: "duckdb.DuckDBPyConnection") -> list[dict[str, Any]]:
    """Some rows of each kind; of a personal column only that it differs."""
    rows = connection.execute(f"""
        SELECT kind, differing, expected, published
        FROM (SELECT *, coalesce(expected.last_offset, published.last_offset) AS place FROM differences) AS placed
        QUALIFY row_number() OVER (PARTITION BY kind ORDER BY place) <= {SAMPLES}
        ORDER BY kind, place
    """).fetchall()  # noqa: S608  a constant
    return [_sample(kind, differing, wanted, held) for kind, differing, wanted, held in rows]


def _sample(kind: str, differing: list[str], wanted: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    one = held if kind == "only_published" else wanted
    shown = differing or ("status", "event_count", "dwell_time_ms", "started_at")
    values: dict[str, list[Any]] = {
        name: ["(personal)"] * 2 if name in PERSONAL else [wanted.get(name), held.get(name)] for name in shown
    }
    return {"kind": kind, **{name: one[name] for name in _PLACE}, "recomputed_and_published": values}


def _doubled_samples(connection: "duckdb.DuckDBPyConnection") -> list[dict[str, Any]]:
    rows = connection.execute(
        f"SELECT {', '.join(_PLACE)}, ledger_position FROM published WHERE copy > 1"  # noqa: S608  constants
        f" ORDER BY last_offset LIMIT {SAMPLES}"
    ).fetchall()
    return [{"kind": "doubled", **dict(zip((*_PLACE, "ledger_position"), row, strict=True))} for row in rows]


def _late_samples(connection: "duckdb.DuckDBPyConnection") -> list[dict[str, Any]]:
    names = ("kafka_partition", "kafka_offset", "event_time_ms", "bucket_clock_ms", "clock_ms")
    rows = connection.execute(
        f"SELECT fault, {', '.join(names)} FROM late_found WHERE fault IS NOT NULL"  # noqa: S608  constants
        f" QUALIFY row_number() OVER (PARTITION BY fault ORDER BY kafka_partition, kafka_offset) <= {SAMPLES}"
        " ORDER BY fault, kafka_partition, kafka_offset"
    ).fetchall()
    return [{"kind": f"late list: {row[0]}", **dict(zip(names, row[1:], strict=True))} for row in rows]


def _counts(connection: "duckdb.DuckDBPyConnection", query: str) -> dict[str, int]:
    return dict(connection.execute(query).fetchall())
