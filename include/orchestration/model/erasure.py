"""A reader and the marts: what a rebuild of them has to have done, and what it leaves.

features__model with `rebuild`, after realtime has lost him, computes every mart and every total of dbt anew: nothing
of him is in `marts` and `marts_candidate` then, not even as a part of a sum. What it leaves is the note, in the outbox of
the histories, that his row went.
"""

import psycopg
from psycopg import sql

from include.common.hive.mart_changes import remove_erased_changes
from include.common.hive.parquet_rows import is_user
from include.common.names import Dag, Pg


class ReaderInMartsError(RuntimeError):
    """The marts were not rebuilt without the reader yet; the message says which tables hold him, and the mend."""


def erase_reader(connection: psycopg.Connection, user_id: str) -> int:
    """Take what a rebuild leaves out of the outbox; returns rows. Safe to repeat.

    Raises ReaderInMartsError where a table of the marts or of dbt's candidate still holds him.
    """
    holding = tables_with(connection, user_id)
    if holding:
        raise ReaderInMartsError(
            f"{', '.join(holding)} still hold the reader: trigger {Dag.MODEL} with rebuild once realtime has lost him, "
            f"wait until it has published, then clear this task"
        )
    return remove_erased_changes(connection, is_user(user_id))


def tables_with(connection: psycopg.Connection, user_id: str) -> list[str]:
    """Tables of schemas marts and marts_candidate in which a row has the id as a value, in whatever column."""
    tables = connection.execute(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = ANY(%s)"
        " AND table_type = 'BASE TABLE' ORDER BY 1, 2",
        ([Pg.MARTS_SCHEMA, Pg.MARTS_CANDIDATE_SCHEMA],),
    ).fetchall()
    found = []
    for schema, name in tables:
        row = connection.execute(
            sql.SQL(
                "SELECT EXISTS (SELECT FROM {} AS row WHERE strpos(to_jsonb(row)::text, to_json(%s::text)::text) > 0)"
            ).format(sql.Identifier(schema, name)),
            (user_id,),
        ).fetchone()
        if row and row[0]:
            found.append(f"{schema}.{name}")
    return found
