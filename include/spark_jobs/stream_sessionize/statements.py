"""The SQL of `sql/`, for each schema that a generation's rows can stand in."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from include.common.names import Pg

_SQL = Path(__file__).parent / "sql"
TEMPORARY_TABLES: Final = ("create_staged", "create_removed", "create_old_rows")
OLD_ROWS: Final = "old_rows"
"""Runs on what was loaded, before APPLY."""
APPLY: Final = (
    ("delete_sessions", 0),
    ("upsert_sessions", 3),
    ("fold_users", 2),
    ("fold_episodes", 2),
    ("recompute_users", 0),
    ("recompute_episodes", 0),
    ("delete_empty_users", 0),
    ("delete_empty_episodes", 0),
)
"""Statements in order; how many of (generation, batch_id, position) each takes."""


@cache
def statements(schema: str = Pg.REALTIME_SCHEMA) -> Mapping[str, str]:
    """Name of each file -> its text, on the tables of `schema`."""
    return {
        path.stem: path.read_text().replace(f"{Pg.REALTIME_SCHEMA}.", f"{schema}.")
        for path in _SQL.glob("*.sql")
    }
