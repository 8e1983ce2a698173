"""The tables of schema `realtime`, made once more in another schema, and moved between schemas under the
views.

A view holds on to the identity of a table, not to its name. So after a move every view that reads from
`realtime` is replaced by its own text, which then finds the tables that have the names now; its identity,
privileges and the views upon it stay.
"""

import difflib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

_SQL = Path(__file__).parent / "sql"
_VIEWS: LiteralString = """
SELECT DISTINCT
    dependent.classid = 'pg_rewrite'::regclass AND view.relkind = 'v' AS is_view,
    namespace.nspname, view.relname, pg_get_viewdef(view.oid), view.reloptions,
    pg_describe_object(dependent.classid, dependent.objid, 0)
FROM pg_depend AS dependent
INNER JOIN pg_class AS used ON dependent.refobjid = used.oid AND dependent.refclassid = 'pg_class'::regclass
LEFT JOIN pg_rewrite AS rule ON dependent.classid = 'pg_rewrite'::regclass AND dependent.objid = rule.oid
LEFT JOIN pg_class AS view ON rule.ev_class = view.oid
LEFT JOIN pg_namespace AS namespace ON view.relnamespace = namespace.oid
WHERE
    used.relnamespace = %(schema)s::regnamespace AND used.relkind IN ('r', 'p')
    AND dependent.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)
ORDER BY 2, 3
"""


class TablesError(RuntimeError):
    """Tables of two schemas differ, or something hangs on them that cannot be moved; the message has the
    mend."""


@dataclass(frozen=True)
class View:
    """A view, and the statement that makes it what it is."""

    schema: str
    name: str
    definition: str
    options: tuple[str, ...]

    def replace(self, connection: psycopg.Connection) -> None:
        """Make it anew from its text: under an exclusive lock on the view alone."""
        options = f" WITH ({', '.join(self.options)})" if self.options else ""
        name = sql.Identifier(self.schema, self.name).as_string(connection)
        connection.execute(f"CREATE OR REPLACE VIEW {name}{options} AS {self.definition}".encode())


def use_qualified_names(connection: psycopg.Connection) -> None:
    """In this transaction PostgreSQL writes every name of ours with its schema."""
    connection.execute("SET LOCAL search_path TO pg_catalog")


def names(connection: psycopg.Connection, schema: str) -> list[str]:
    """Tables of a schema."""
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'p') ORDER BY 1",
        (schema,),
    )
    return [row[0] for row in rows]


def columns(connection: psycopg.Connection, schema: str, table: str) -> list[str]:
    """Columns of a table in their order."""
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = format('%%I.%%I', %s::text, %s::text)::regclass"
        " AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        (schema, table),
    )
    return [row[0] for row in rows]


def structure(connection: psycopg.Connection, schema: str) -> list[str]:
    """Everything that is defined in a schema's tables, a line each, without the schema's name."""
    use_qualified_names(connection)
    return [f"{what} {definition}" for what, definition in run_file(connection, "structure", schema)]


def run_file(
    connection: psycopg.Connection, name: str, *parameters: object
) -> psycopg.RawCursor[tuple[Any, ...]]:
    """Execute `sql/<name>.sql` with its parameters $1, $2, ..."""
    return psycopg.RawCursor(connection).execute((_SQL / f"{name}.sql").read_bytes(), parameters)


def check_alike(connection: psycopg.Connection, schema: str, other: str) -> None:
    """Raise TablesError unless the tables of both schemas are defined alike."""
    first, second = structure(connection, schema), structure(connection, other)
    if first != second:
        changed = [line for line in difflib.ndiff(first, second) if line[:1] in "-+"]
        raise TablesError(
            f"the tables of {other} (+) are not defined as those of {schema} (-): {'; '.join(changed[:6])}. A "
            f"migration came in between: drop that generation and roll out a new one"
        )


def make_alike(connection: psycopg.Connection, schema: str, like: str) -> None:
    """Make empty tables in `schema`, defined as those of `like`, names of indexes and constraints too."""
    use_qualified_names(connection)
    for table in names(connection, like):
        new, old = sql.Identifier(schema, table), sql.Identifier(like, table)
        # indexes apart: LIKE gives them names of its own
        connection.execute(
            sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL EXCLUDING INDEXES)").format(new, old)
        )
        for statement in _definitions(connection, like, table):
            connection.execute(statement.replace(f" {like}.{table}", f" {schema}.{table}").encode())
    check_alike(connection, like, schema)


def _definitions(connection: psycopg.Connection, schema: str, table: str) -> list[str]:
    """Statements that give a table made by LIKE the rest: options, keys, indexes, triggers, privileges."""
    rows = connection.execute(
        """
        WITH it AS (SELECT oid, reloptions, relacl FROM pg_class
                    WHERE oid = format('%%I.%%I', %(schema)s::text, %(table)s::text)::regclass)
        SELECT 1, format('ALTER TABLE %%s SET (%%s)', oid::regclass, array_to_string(reloptions, ', '))
        FROM it WHERE reloptions IS NOT NULL
        UNION ALL
        SELECT 2, format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', conrelid::regclass, conname, pg_get_constraintdef(c.oid))
        FROM it INNER JOIN pg_constraint AS c ON conrelid = it.oid WHERE contype IN ('p', 'u', 'x')
        UNION ALL
        SELECT 3, pg_get_indexdef(indexrelid)
        FROM it INNER JOIN pg_index ON indrelid = it.oid
        WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT 4, pg_get_triggerdef(t.oid) FROM it INNER JOIN pg_trigger AS t ON tgrelid = it.oid WHERE NOT tgisinternal
        UNION ALL
        SELECT 5, format('GRANT %%s ON %%s TO %%s', privilege_type, it.oid::regclass,
                         CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
        FROM it CROSS JOIN LATERAL aclexplode(relacl)
        ORDER BY 1, 2
        """,
        {"schema": schema, "table": table},
    )
    return [row[1] for row in rows]


def views_on(connection: psycopg.Connection, schema: str) -> list[View]:
    """Views that read from tables of `schema`; raises TablesError where something else hangs on them."""
    use_qualified_names(connection)
    views = []
    for is_view, *view, what in connection.execute(_VIEWS, {"schema": schema}).fetchall():
        if not is_view:
            raise TablesError(
                f"{what} hangs on tables of {schema} and would stay with the old ones: drop it first, or make it a view"
            )
        views.append(View(view[0], view[1], view[2], tuple(view[3] or ())))
    return views


def lock_out_readers(
    connection: psycopg.Connection, schema: str, views: list[View], *, shuffled: bool = False
) -> None:
    """Lock views and tables of `schema` exclusively: views first, as a reader of views does.

    Readers that take them in another order and never pause would stand in the way for ever: a next try is
    `shuffled`.
    """
    things: list[View | str] = [*views, *names(connection, schema)]
    if shuffled:
        random.shuffle(things)
    for thing in things:
        if isinstance(thing, View):
            thing.replace(connection)
        else:
            table = sql.Identifier(schema, thing)
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(table))


def move(connection: psycopg.Connection, schema: str, target: str) -> None:
    """Move all tables of a schema to another one; catalogue rows only, whatever the tables hold."""
    for table in names(connection, schema):
        connection.execute(
            sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(
                sql.Identifier(schema, table), sql.Identifier(target)
            )
        )


def drop(connection: psycopg.Connection, schema: str) -> None:
    """Drop all tables of a schema; raises psycopg.errors.DependentObjectsStillExist where a view reads
    them."""
    for table in names(connection, schema):
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(schema, table)))


def analyze(connection: psycopg.Connection, schema: str) -> None:
    """Let the planner know the tables' contents."""
    for table in names(connection, schema):
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
