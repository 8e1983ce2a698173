"""Publication of `features__model`: the candidate marts become the published ones, in one transaction.

Plain functions over a libpq DSN, tested on a real PostgreSQL without Airflow; what ties them to a task is
in `tasks`. One writer: the `marts` tables are written here and nowhere else; `ops.model_cuts` here and in `cut`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from include.common.names import MARTS, Dag, Pg
from include.common.postgres import connect
from include.orchestration.model.cut import Cut, is_current

_APPLICATION = Dag.MODEL
KEYS: dict[str, tuple[str, ...]] = {
    "user_features": ("user_id",),
    "episode_features": ("episode_id",),
    "segment_features": ("country", "device"),
}
"""Primary key of each mart."""

TOUCHED: dict[str, str] = {"user_features": "int_touched_users"}
"""Marts that a cut changes for some keys only, and the candidate's table of those keys; others are computed wholly."""


class CandidateMismatchError(RuntimeError):
    """The candidate marts were not built from the cut that is to be published; the message has the mend."""


@dataclass(frozen=True)
class PublishedRows:
    """Rows of a mart as published now: all, and those whose keys the cut's candidate is checked for."""

    total: int
    checked: int


def published_row_counts(dsn: str, cut: Cut) -> dict[str, PublishedRows]:
    """Rows of each mart as published now, for the volume rule of the mart gate.

    Where the cut has a base, readers are not counted anew: the base says how many there were.
    """
    counts = {}
    with connect(dsn, application_name=_APPLICATION) as connection:
        known = _base_rows(connection, cut.cut_id)
        for mart in MARTS:
            rows = _count(
                connection, sql.SQL("SELECT count(*) FROM {mart} {where}").format(**_parts(mart, cut))
            )
            counts[mart] = PublishedRows(known.get(mart, rows) if is_partial(mart, cut) else rows, rows)
    return counts


def is_partial(mart: str, cut: Cut) -> bool:
    """Does the cut change `mart` for some keys only?"""
    return mart in TOUCHED and not cut.is_rebuild


def checked_query(mart: str, cut: Cut) -> str:
    """SQL of the candidate's rows that the mart gate checks: those that publication may change."""
    query = f"SELECT * FROM {Pg.MARTS_CANDIDATE_SCHEMA}.{mart}"  # noqa: S608 - constants
    if not is_partial(mart, cut):
        return query
    keys = ", ".join(KEYS[mart])
    return f"{query} WHERE ({keys}) IN (SELECT {keys} FROM {Pg.MARTS_CANDIDATE_SCHEMA}.{TOUCHED[mart]})"  # noqa: S608  constants


def _parts(mart: str, cut: Cut) -> dict[str, sql.Composable]:
    """Names of a mart for a statement; `where` leaves the keys that the cut may change."""
    where: sql.Composable = sql.SQL("")
    if is_partial(mart, cut):
        where = sql.SQL("WHERE ({key}) IN (SELECT {key} FROM {touched})").format(
            key=_listed(KEYS[mart]), touched=sql.Identifier(Pg.MARTS_CANDIDATE_SCHEMA, TOUCHED[mart])
        )
    return {
        "mart": sql.Identifier(Pg.MARTS_SCHEMA, mart),
        "candidate": sql.Identifier(Pg.MARTS_CANDIDATE_SCHEMA, mart),
        "key": _listed(KEYS[mart]),
        "where": where,
    }


def _listed(names: Sequence[str], prefix: str = "") -> sql.Composable:
    return sql.SQL(", ").join(
        sql.Identifier(prefix, name) if prefix else sql.Identifier(name) for name in names
    )


def _count(connection: psycopg.Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _base_rows(connection: psycopg.Connection, cut_id: int) -> dict[str, int]:
    """Rows of each mart as the cut's base was published; empty without a base."""
    row = connection.execute(
        "SELECT base.mart_rows FROM ops.model_cuts AS cut JOIN ops.model_cuts AS base ON cut.base_cut_id = base.cut_id "
        "WHERE cut.cut_id = %s",
        (cut_id,),
    ).fetchone()
    return dict(row[0]) if row and row[0] else {}


def _columns(connection: psycopg.Connection, mart: str) -> list[str]:
    rows = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s "
        "ORDER BY ordinal_position",
        (Pg.MARTS_SCHEMA, mart),
    ).fetchall()
    return [row[0] for row in rows]


def _publish_mart(connection: psycopg.Connection, mart: str, cut: Cut) -> tuple[int, int]:
    """Make `marts.<mart>` equal its candidate, where the cut may change it.

    Returns rows inserted, changed or deleted (equal ones stay), and rows inserted less those deleted.
    """
    key = KEYS[mart]
    columns = _columns(connection, mart)
    others = [column for column in columns if column not in key]
    names = _parts(mart, cut) | {
        "columns": _listed(columns),
        "assignments": sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(column)) for column in others
        ),
        "old": _listed(others, "old"),
        "new": _listed(others, "excluded"),
        "candidate_key": _listed(key, "candidate"),
        "published_key": _listed(key, "published"),
    }
    upserted = connection.execute(
        sql.SQL(
            "WITH upserted AS (INSERT INTO {mart} AS old ({columns}) SELECT {columns} FROM {candidate} {where} "
            "ON CONFLICT ({key}) DO UPDATE SET {assignments} WHERE ROW({old}) IS DISTINCT FROM ROW({new}) "
            "RETURNING xmax = 0 AS is_inserted) "  # xmax is set where the row was there before
            "SELECT count(*), count(*) FILTER (WHERE is_inserted) FROM upserted"
        ).format(**names)
    ).fetchone()
    deleted = connection.execute(
        sql.SQL(
            "DELETE FROM {mart} AS published USING (SELECT {key} FROM {mart} {where}) AS checked WHERE ({published_key}) "
            "= ({checked_key}) AND NOT EXISTS (SELECT FROM {candidate} AS candidate WHERE ({candidate_key}) = "
            "({published_key}))"
        ).format(**names, checked_key=_listed(key, "checked"))
    ).rowcount
    changed, inserted = upserted or (0, 0)
    return changed + deleted, inserted - deleted


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
        cut = _publishable(connection, cut_id)
        rows = _base_rows(connection, cut_id)
        changed = {}
        for mart in MARTS:
            changed[mart], added = _publish_mart(connection, mart, cut)
            if is_partial(mart, cut) and mart in rows:
                rows[mart] += added
            else:
                rows[mart] = _count(
                    connection, sql.SQL("SELECT count(*) FROM {candidate}").format(**_parts(mart, cut))
                )
        connection.execute(
            "UPDATE ops.model_cuts SET published_at = clock_timestamp(),"
            # a repeat adds nothing to what the first time counted
            " mart_rows = CASE WHEN status = 'published' THEN mart_rows ELSE %s END, status = 'published'"
            " WHERE cut_id = %s",
            (Jsonb(rows), cut_id),
        )
        return changed


def _publishable(connection: psycopg.Connection, cut_id: int) -> Cut:
    """The cut, locked; raises CandidateMismatchError where its candidate must not be published."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            "SELECT status, generation, ledger_position, as_of, rebuild_reason FROM ops.model_cuts "
            "WHERE cut_id = %s FOR UPDATE",
            (cut_id,),
        ).fetchone()
    if found is None or found["status"] == "rejected":
        raise CandidateMismatchError(f"cut {cut_id} is {found['status'] if found else 'unknown'}, not open")
    if not is_current(connection, found["generation"]):
        raise CandidateMismatchError(
            f"cut {cut_id} is of generation {found['generation']}, which {Dag.ROLL_OUT} swapped out while dbt read: "
            f"trigger a new run"
        )
    cut = Cut(
        cut_id, found["generation"], found["ledger_position"], found["as_of"].isoformat(),
        rebuild_reason=found["rebuild_reason"],
    )  # fmt: skip
    if cut.is_rebuild and not _is_full_refresh(connection):
        raise CandidateMismatchError(
            f"cut {cut_id} rebuilds the marts ({cut.rebuild_reason}), but dbt went on from the candidate that was there: "
            f"run it with --full-refresh"
        )
    return cut


def _is_full_refresh(connection: psycopg.Connection) -> bool:
    table = sql.Identifier(Pg.MARTS_CANDIDATE_SCHEMA, "int_model_cut")
    return bool(_count(connection, sql.SQL("SELECT is_full_refresh::integer FROM {}").format(table)))
