"""docs/features.md names every column of serving, realtime, marts and Hive's content_quality_daily, and no other."""

import re
from pathlib import Path

import psycopg

from include.common.hive.tables import CONTENT_QUALITY_DAILY
from include.common.migrate import MIGRATIONS_DIR
from include.common.names import Hive

SCHEMAS = ["serving", "realtime", "marts"]
IN_HIVE = (CONTENT_QUALITY_DAILY,)
"""Whose columns stand in no table of these schemas."""
_RELATION = re.compile(r"^## `(\w+\.\w+)`$")
_COLUMN = re.compile(r"^\| `(\w+)` \| ([^|]+) \|")


def documented(page: Path) -> dict[str, dict[str, str]]:
    """Relation -> column -> type, as the page's headings and tables say."""
    relations: dict[str, dict[str, str]] = {}
    columns: dict[str, str] = {}
    for line in page.read_text().splitlines():
        if line.startswith("## "):
            columns = {}
        if heading := _RELATION.match(line):
            assert heading[1] not in relations, f"{heading[1]} stands twice in {page.name}"
            relations[heading[1]] = columns
        elif row := _COLUMN.match(line):
            assert row[1] not in columns, f"{row[1]} stands twice in one table of {page.name}"
            columns[row[1]] = row[2].strip()
    return relations


def test_the_page_names_every_column_and_no_other(project_root: Path, postgres: str) -> None:
    with psycopg.connect(postgres) as connection:
        rows = connection.execute(
            "SELECT table_schema || '.' || table_name, column_name,"
            " CASE data_type WHEN 'ARRAY' THEN ltrim(udt_name, '_') || '[]'"
            " WHEN 'timestamp with time zone' THEN 'timestamptz' ELSE data_type END"
            " FROM information_schema.columns WHERE table_schema = ANY(%s)",
            (SCHEMAS,),
        ).fetchall()
    stored: dict[str, dict[str, str]] = {}
    for relation, column, type_name in rows:
        stored.setdefault(relation, {})[column] = type_name
    assert len(stored) >= 10, f"no database to compare with: {sorted(stored)}; migrations of {MIGRATIONS_DIR}"
    for table in IN_HIVE:
        stored[f"{Hive.DATABASE}.{table.name}"] = {column.name: column.type.value for column in table.columns}
    assert documented(project_root / "docs" / "features.md") == stored
