"""The steps of `features__model` that are not dbt's or Great Expectations': cut, publication, rejection.

Plain functions over a libpq DSN, tested on a real PostgreSQL without Airflow; what ties them to a task is
in `model_tasks`. One writer: `ops.model_cuts` and the `marts` tables are written here and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from include.common.names import MARTS, Dag, Pg
from include.common.postgres import connect

_APPLICATION = Dag.MODEL
KEYS: dict[str, tuple[str, ...]] = {
    "user_features": ("user_id",),
    "episode_features": ("episode_id",),
    "segment_features": ("country", "device"),
}
"""Primary key of each mart."""

_FIND_CUT: LiteralString = """
SELECT cut_id, generation, ledger_position, as_of
FROM ops.model_cuts WHERE run_id = %(run_id)s
"""
_NEWER_PUBLISHED: LiteralString = """
SELECT max(cut_id) FROM ops.model_cuts
WHERE published_at IS NOT NULL AND cut_id > %(cut_id)s
"""
_MEASURE: LiteralString = """
SELECT ledger.generation, ledger.ledger_position, max(reading.ended_at) AS as_of
FROM (
    SELECT batch.generation, max(batch.position) AS ledger_position
    FROM ops.stream_batches AS batch
    JOIN ops.stream_generations AS generation USING (generation)
    WHERE generation.status = 'current'
    GROUP BY batch.generation
) AS ledger
LEFT JOIN realtime.session_features AS reading
    ON reading.is_final
    AND reading.generation = ledger.generation
    AND reading.ledger_position <= ledger.ledger_position
GROUP BY ledger.generation, ledger.ledger_position
"""
_IS_CURRENT: LiteralString = """
SELECT FROM ops.stream_generations WHERE generation = %(generation)s AND status = 'current' FOR SHARE
"""
_OPEN_NEW: LiteralString = """
INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status)
VALUES (%(run_id)s, %(generation)s, %(ledger_position)s, %(as_of)s, 'open')
RETURNING cut_id
"""


class NothingToModelError(RuntimeError):
    """There is no cut to make, and why; the run has nothing to do and skips."""


class CandidateMismatchError(RuntimeError):
    """The candidate marts were not built from the cut that is to be published; the message has the mend."""


@dataclass(frozen=True)
class Cut:
    """One ledger position that gate and dbt read up to: final rows of `generation` up to `ledger_position`.

    `as_of` is the newest event time among them (ISO 8601 with offset).
    """

    cut_id: int
    generation: int
    ledger_position: int
    as_of: str

    def as_dict(self) -> dict[str, Any]:
        """For XCom."""
        return asdict(self)


@dataclass(frozen=True)
class _Measured:
    generation: int
    ledger_position: int
    as_of: datetime | None


def fix_cut(dsn: str, run_id: str) -> Cut:
    """Fix what this run reads, once: a repeated call with the same `run_id` returns the same cut, reopened.

    Cuts that an earlier run left open are marked rejected (at most one is open). Raises NothingToModelError
    where the stream has committed nothing yet, no reading is final yet, a newer cut was published since this
    run fixed its own (publishing it now would turn the marts back), or its generation was swapped out since.
    """
    with connect(dsn, application_name=_APPLICATION) as connection:
        # one fixer at a time; readers are not held up
        connection.execute("LOCK TABLE ops.model_cuts IN SHARE ROW EXCLUSIVE MODE")
        found = connection.execute(_FIND_CUT, {"run_id": run_id}).fetchone()
        if found is not None:
            newer = connection.execute(_NEWER_PUBLISHED, {"cut_id": found[0]}).fetchone()
            if newer is not None and newer[0] is not None:
                raise NothingToModelError(
                    f"cut {newer[0]} was published after this run fixed cut {found[0]}; "
                    f"clearing it would turn the marts back: trigger a new run instead"
                )
            if not _is_current(connection, found[1]):
                raise NothingToModelError(
                    f"cut {found[0]} is of generation {found[1]}, which {Dag.ROLL_OUT} has swapped out since: "
                    f"trigger a new run instead"
                )
        connection.execute("UPDATE ops.model_cuts SET status = 'rejected' WHERE status = 'open'")
        if found is not None:
            cut = Cut(found[0], found[1], found[2], found[3].isoformat())
            connection.execute(
                # published_at stays: until this run publishes again, marts hold this very cut
                "UPDATE ops.model_cuts SET status = 'open' WHERE cut_id = %s",
                (cut.cut_id,),
            )
            return cut
        with connection.cursor(row_factory=class_row(_Measured)) as cursor:
            measured = cursor.execute(_MEASURE).fetchone()
        if measured is None:
            raise NothingToModelError("the stream has not committed a micro-batch yet: nothing to model")
        if measured.as_of is None:
            raise NothingToModelError(
                f"no reading is final yet at ledger position {measured.ledger_position}: nothing to model"
            )
        row = connection.execute(
            _OPEN_NEW,
            {
                "run_id": run_id,
                "generation": measured.generation,
                "ledger_position": measured.ledger_position,
                "as_of": measured.as_of,
            },
        ).fetchone()
        if row is None:
            raise RuntimeError("INSERT ... RETURNING gave no row")
        return Cut(row[0], measured.generation, measured.ledger_position, measured.as_of.isoformat())


def _is_current(connection: psycopg.Connection, generation: int) -> bool:
    """Is this the stream's current generation? It stays so until the transaction ends."""
    return connection.execute(_IS_CURRENT, {"generation": generation}).fetchone() is not None


def readings_of_cut_query(cut: Cut, new_after: int, new_columns: Sequence[str] = ()) -> str:
    """SQL of the rows that the session gate checks and dbt reads: the same condition as int_readings_in_cut.

    `new_columns` are columns with `new_` before them: values of readings that became final after ledger position
    `new_after`, NULL in the others.
    """
    new = "".join(
        f", CASE WHEN ledger_position > {new_after:d} THEN {column.removeprefix('new_')} END AS {column}"
        for column in new_columns
    )
    return (
        f"SELECT *{new} FROM {Pg.SESSION_FEATURES} "  # noqa: S608 - integers and our own column names
        f"WHERE is_final AND generation = {cut.generation:d} AND ledger_position <= {cut.ledger_position:d}"
    )


def published_row_counts(dsn: str) -> dict[str, int]:
    """Rows of each mart as published now, for the volume rule of the mart gate."""
    counts = {}
    with connect(dsn, application_name=_APPLICATION) as connection:
        for mart in MARTS:
            table = sql.Identifier(Pg.MARTS_SCHEMA, mart)
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
            counts[mart] = int(row[0]) if row else 0
    return counts


def _columns(connection: psycopg.Connection, mart: str) -> list[str]:
    rows = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
        "ORDER BY ordinal_position",
        (Pg.MARTS_SCHEMA, mart),
    ).fetchall()
    return [row[0] for row in rows]


def _publish_mart(connection: psycopg.Connection, mart: str) -> int:
    """Make `marts.<mart>` equal its candidate; returns rows inserted, changed or deleted (equal ones stay)."""
    key = KEYS[mart]
    columns = _columns(connection, mart)
    others = [column for column in columns if column not in key]

    def listed(names: list[str] | tuple[str, ...], prefix: str = "") -> sql.Composable:
        parts = (sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names)
        return sql.SQL(", ").join(parts)

    names = {
        "mart": sql.Identifier(Pg.MARTS_SCHEMA, mart),
        "candidate": sql.Identifier(Pg.MARTS_CANDIDATE_SCHEMA, mart),
        "columns": listed(columns),
        "key": listed(key),
        "assignments": sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in others
        ),
        "old": listed(others, "old"),
        "new": listed(others, "excluded"),
        "old_key": listed(key, "old"),
        "candidate_key": listed(key, "candidate"),
    }
    upserted = connection.execute(
        sql.SQL(
            "INSERT INTO {mart} AS old ({columns}) SELECT {columns} FROM {candidate} "
            "ON CONFLICT ({key}) DO UPDATE SET {assignments} WHERE ROW({old}) IS DISTINCT FROM ROW({new})"
        ).format(**names)
    ).rowcount
    deleted = connection.execute(
        sql.SQL(
            "DELETE FROM {mart} AS old WHERE NOT EXISTS "
            "(SELECT FROM {candidate} AS candidate WHERE ({candidate_key}) = ({old_key}))"
        ).format(**names)
    ).rowcount
    return upserted + deleted


def publish(dsn: str, cut_id: int) -> dict[str, int]:
    """Move the candidate marts to `marts` and mark the cut published, in one transaction.

    Returns rows changed by mart. Safe to repeat. Raises CandidateMismatchError where the candidate was built from
    another cut, the cut is not open or already published, or its generation was swapped out while dbt read; the
    published marts then stay as they were.
    """
    with connect(dsn, application_name=_APPLICATION) as connection:
        built = connection.execute(
            sql.SQL("SELECT cut_id FROM {}").format(
                sql.Identifier(Pg.MARTS_CANDIDATE_SCHEMA, "int_model_cut")
            )
        ).fetchall()
        if [row[0] for row in built] != [cut_id]:
            raise CandidateMismatchError(
                f"the candidate marts were built from cut {[row[0] for row in built]}, not from {cut_id}: "
                f"clear the whole run, or trigger a new one"
            )
        status = connection.execute(
            "SELECT status, generation FROM ops.model_cuts WHERE cut_id = %s FOR UPDATE", (cut_id,)
        ).fetchone()
        if status is None or status[0] == "rejected":
            raise CandidateMismatchError(f"cut {cut_id} is {status[0] if status else 'unknown'}, not open")
        if not _is_current(connection, status[1]):
            raise CandidateMismatchError(
                f"cut {cut_id} is of generation {status[1]}, which {Dag.ROLL_OUT} swapped out while dbt read: "
                f"trigger a new run"
            )
        changed = {mart: _publish_mart(connection, mart) for mart in MARTS}
        connection.execute(
            "UPDATE ops.model_cuts SET status = 'published', published_at = clock_timestamp() WHERE cut_id = %s",
            (cut_id,),
        )
        return changed


def reject_cut(dsn: str, cut_id: int) -> None:
    """Mark an open cut rejected: a gate blocked it. A published one stays as it is.

    A reopened one keeps its published_at: marts still hold what it published before.
    """
    with connect(dsn, application_name=_APPLICATION) as connection:
        connection.execute(
            "UPDATE ops.model_cuts SET status = 'rejected' WHERE cut_id = %s AND status = 'open'", (cut_id,)
        )
