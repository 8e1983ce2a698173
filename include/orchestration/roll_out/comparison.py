"""The row difference between the current generation and another one.

Both drivers go on meanwhile, so the two never stand at the same offset for long. One snapshot is looked at;
sessions with an event that only one side has read yet, and rows that differ in nothing but whether the
session was seen to be over yet, count as in motion and not as different. What the micro-batches write about
themselves is not compared.
"""

from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from include.common.names import Dag, Pg
from include.common.postgres import connect
from include.orchestration.roll_out import tables
from include.orchestration.roll_out.generations import SCHEMA_OF, Entry, current, find

KEYS = {
    "session_features": ("session_id", "session_start_ms", "episode_id"),
    "user_features": ("user_id",),
    "episode_features": ("episode_id",),
}
"""Table -> its key; readings first, since the sums of a reader in motion are in motion, too."""
BOOKKEEPING = frozenset({"generation", "batch_id", "ledger_position", "committed_at"})
PERSONAL = frozenset({"session_id", "user_id"})
SAMPLES = 5
"""Of each table and kind."""
_IN_MOTION: LiteralString = """
CREATE TEMPORARY TABLE in_motion ON COMMIT DROP AS
WITH levels AS (
    SELECT key::integer AS source_partition, value::bigint AS next_offset FROM jsonb_each_text({levels})
)
SELECT DISTINCT reading.session_id
FROM (
    SELECT session_id, source_partition, last_offset FROM realtime.session_features
    UNION ALL
    SELECT session_id, source_partition, last_offset FROM {candidate}
) AS reading
LEFT JOIN levels USING (source_partition)
WHERE reading.last_offset >= coalesce(levels.next_offset, 0)
"""
"""Sessions of which one side has read an event that the other has not. Levels: to where both have read."""
_MOTION: dict[str, LiteralString] = {
    # a session is over by the clock of its bucket or by a tick, which one side may have seen before the other
    "session_features": """
        session_id IN (SELECT session_id FROM pg_temp.in_motion)
        OR (NOT both_final AND differing <@ ARRAY['status', 'is_exit_tag', 'is_final'])""",
    "user_features": """user_id IN (
        SELECT unnest(user_ids) FROM pg_temp.unequal_session_features WHERE kind = 'in_motion')""",
    "episode_features": """episode_id IN (
        SELECT episode_id FROM pg_temp.unequal_session_features WHERE kind = 'in_motion')""",
}


@dataclass(frozen=True)
class TableDifference:
    """One table. `by_column`: how many of the `differing` rows differ in it."""

    table: str
    rows_equal: int
    only_current: int
    only_candidate: int
    differing: int
    in_motion: int
    by_column: dict[str, int]
    samples: list[dict[str, Any]] = field(repr=False)

    @property
    def different(self) -> int:
        """Rows that are not the same on both sides."""
        return self.only_current + self.only_candidate + self.differing


@dataclass(frozen=True)
class Comparison:
    """Both generations as they stood, and the difference of each table."""

    before: Entry
    candidate: Entry
    found: list[TableDifference]

    @property
    def different(self) -> int:
        """Rows of all tables that are not the same on both sides."""
        return sum(difference.different for difference in self.found)


def compare(dsn: str, number: int, run_id: str) -> Comparison:
    """Compare generation `number` (shadow or retired) with the current one; writes ops.roll_out_comparisons.

    Raises RollOutError for a generation that is not there.
    """
    with connect(dsn, application_name=Dag.ROLL_OUT) as connection:
        connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        before, candidate = current(connection), find(connection, number)
        schema = SCHEMA_OF[candidate.status]
        levels = {
            partition: min(offset, candidate.reached.get(partition, 0))
            for partition, offset in before.reached.items()
        }
        query = sql.SQL(_IN_MOTION).format(
            candidate=sql.Identifier(schema, "session_features"), levels=sql.Literal(Jsonb(levels))
        )
        connection.execute(query)
        found = [_compare(connection, table, schema) for table in KEYS]
        for difference in found:
            _record(connection, run_id, number, difference)
        return Comparison(before, candidate, found)


def _compare(connection: psycopg.Connection, table: str, schema: str) -> TableDifference:
    every = tables.columns(connection, Pg.REALTIME_SCHEMA, table)
    others = [name for name in every if name not in KEYS[table] and name not in BOOKKEEPING]
    unequal = sql.Identifier("pg_temp", f"unequal_{table}")
    connection.execute(_find_unequal(table, schema, others))
    connection.execute(
        sql.SQL("UPDATE {} SET kind = 'in_motion' WHERE {}").format(unequal, sql.SQL(_MOTION[table]))
    )
    count = sql.SQL("SELECT kind, count(*) FROM {} GROUP BY kind").format(unequal)
    counts: dict[str, int] = dict(connection.execute(count).fetchall())
    by_column = sql.SQL(
        "SELECT name, count(*) FROM {} CROSS JOIN LATERAL unnest(differing) AS name WHERE kind = 'differing'"
        " GROUP BY name ORDER BY 2 DESC, 1"
    ).format(unequal)
    equal = sql.SQL("SELECT (SELECT count(*) FROM {}) - (SELECT count(*) FROM {} WHERE in_current)").format(
        sql.Identifier(Pg.REALTIME_SCHEMA, table), unequal
    )
    return TableDifference(
        table,
        rows_equal=_scalar(connection, equal),
        only_current=counts.get("only_current", 0),
        only_candidate=counts.get("only_candidate", 0),
        differing=counts.get("differing", 0),
        in_motion=counts.get("in_motion", 0),
        by_column=dict(connection.execute(by_column).fetchall()),
        samples=_samples(connection, table, schema, [*KEYS[table], *others]),
    )


def _find_unequal(table: str, schema: str, others: list[str]) -> sql.Composed:
    """Statement that keeps each pair that is not equal in a temporary table: key, kind, columns that
    differ."""
    key = KEYS[table]
    is_readings = table == "session_features"

    def each(
        template: LiteralString, names: list[str] | tuple[str, ...], between: LiteralString
    ) -> sql.Composed:
        return sql.SQL(between).join(sql.SQL(template).format(sql.Identifier(name), name) for name in names)

    return sql.SQL("""
        CREATE TEMPORARY TABLE {target} ON COMMIT DROP AS
        SELECT
            {keys},
            CASE WHEN new.{first} IS NULL THEN 'only_current' WHEN old.{first} IS NULL THEN 'only_candidate'
                ELSE 'differing' END AS kind,
            old.{first} IS NOT NULL AS in_current,
            {both_final} AS both_final,
            {user_ids} AS user_ids,
            CASE WHEN old.{first} IS NULL OR new.{first} IS NULL THEN '{{}}'::text[]
                ELSE array_remove(ARRAY[{differing}], NULL) END AS differing
        FROM {current} AS old
        FULL JOIN {candidate} AS new ON {joined}
        WHERE old.{first} IS NULL OR new.{first} IS NULL OR ({olds}) IS DISTINCT FROM ({news})
        """).format(
        target=sql.Identifier(f"unequal_{table}"),
        keys=each("coalesce(old.{0}, new.{0}) AS {0}", key, ", "),
        first=sql.Identifier(key[0]),
        both_final=sql.SQL("coalesce(old.is_final AND new.is_final, TRUE)" if is_readings else "TRUE"),
        user_ids=sql.SQL("ARRAY[old.user_id, new.user_id]" if is_readings else "NULL::text[]"),
        differing=each("CASE WHEN old.{0} IS DISTINCT FROM new.{0} THEN {1} END", others, ", "),
        current=sql.Identifier(Pg.REALTIME_SCHEMA, table),
        candidate=sql.Identifier(schema, table),
        joined=each("old.{0} = new.{0}", key, " AND "),
        olds=each("old.{0}", others, ", "),
        news=each("new.{0}", others, ", "),
    )


def _samples(
    connection: psycopg.Connection, table: str, schema: str, columns: list[str]
) -> list[dict[str, Any]]:
    """Some rows of each kind, as {kind, differing, current, candidate}; no personal id in them."""
    shown = [name for name in columns if name not in PERSONAL]

    def values(alias: str) -> sql.Composed:
        pairs = (sql.SQL("{}, {}").format(name, sql.Identifier(alias, name)) for name in shown)
        return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))

    key = sql.SQL(", ").join(map(sql.Identifier, KEYS[table]))
    query = sql.SQL("""
        WITH chosen AS (
            SELECT * FROM (
                SELECT *, row_number() OVER (PARTITION BY kind ORDER BY {key}) AS place FROM {unequal}
                WHERE kind <> 'in_motion'
            ) AS numbered
            WHERE place <= %(samples)s
        )

        SELECT
            kind, differing,
            (SELECT {olds} FROM {current} AS old WHERE ({old_key}) = ({chosen_key})),
            (SELECT {news} FROM {candidate} AS new WHERE ({new_key}) = ({chosen_key}))
        FROM chosen
        ORDER BY kind, place
        """).format(
        key=key,
        unequal=sql.Identifier("pg_temp", f"unequal_{table}"),
        olds=values("old"),
        news=values("new"),
        current=sql.Identifier(Pg.REALTIME_SCHEMA, table),
        candidate=sql.Identifier(schema, table),
        old_key=_listed("old", KEYS[table]),
        new_key=_listed("new", KEYS[table]),
        chosen_key=_listed("chosen", KEYS[table]),
    )
    rows = connection.execute(query, {"samples": SAMPLES}).fetchall()
    return [
        {"kind": kind, "differing": differing, "current": old, "candidate": new}
        for kind, differing, old, new in rows
    ]


def _listed(alias: str, names: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(alias, name) for name in names)


def _scalar(connection: psycopg.Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def _record(connection: psycopg.Connection, run_id: str, number: int, difference: TableDifference) -> None:
    connection.execute(
        "INSERT INTO ops.roll_out_comparisons (run_id, generation, table_name, rows_equal, only_current,"
        " only_candidate, differing, in_motion, differing_by_column, samples)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (run_id, table_name) DO UPDATE SET"
        " generation = excluded.generation, rows_equal = excluded.rows_equal, only_current = excluded.only_current,"
        " only_candidate = excluded.only_candidate, differing = excluded.differing, in_motion = excluded.in_motion,"
        " differing_by_column = excluded.differing_by_column, samples = excluded.samples,"
        " compared_at = excluded.compared_at",
        (
            run_id, number, difference.table, difference.rows_equal, difference.only_current,
            difference.only_candidate, difference.differing, difference.in_motion, Jsonb(difference.by_column),
            Jsonb(difference.samples),
        ),
    )  # fmt: skip
