"""Plain SQL migrations: numbered files, in order, one transaction each, with a checksum kept.

`python -m include.common.migrate` brings the database of WEBTOON_POSTGRES_DSN up to date; DAG
`ops__migrate_store` calls `migrate`. Files stand in `include/common/migrations/NNNN_name.sql`.
What was applied stands in `public.schema_migrations`. An advisory lock lets one runner in at a time,
so that two that start together do not collide.
"""

import argparse
import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg

from include.common.postgres import PostgresUnreachableError, connect, redact_dsn
from include.common.settings import SettingsError, require

MIGRATIONS_DIR = Path(__file__).parent / "migrations"
_FILE_NAME = re.compile(r"^(\d{4})_([a-z0-9_]+)\.sql$")
_LOCK_KEY = 0x57454254  # "WEBT"
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS public.schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class MigrationError(RuntimeError):
    """The files and the database do not fit, or a file failed; the message says which and the mend."""


@dataclass(frozen=True)
class Migration:
    """One file: `version` is its number, `sha256` the checksum of its bytes."""

    version: int
    name: str
    statements: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The file's name inside its folder."""
        return f"{self.version:04d}_{self.name}.sql"


def read_migrations(directory: Path = MIGRATIONS_DIR) -> list[Migration]:
    """Migrations of `directory` by number; raises MigrationError on a bad name, a gap or a doublet."""
    migrations = []
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.match(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: a migration is named NNNN_lower_case.sql")
        content = path.read_bytes()
        migrations.append(
            Migration(int(match[1]), match[2], content.decode("utf-8"), hashlib.sha256(content).hexdigest())
        )
    if not migrations:
        raise MigrationError(f"no migrations in {directory}")
    numbers = [migration.version for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise MigrationError(
            f"migrations must be numbered 1, 2, 3, ... without gap or doublet; found {numbers}"
        )
    return migrations


def check_applied(migrations: list[Migration], applied: dict[int, tuple[str, str]]) -> None:
    """Raise MigrationError unless what was `applied` (version -> name, sha256) is a prefix of the files."""
    known = {migration.version: migration for migration in migrations}
    for version, (name, sha256) in sorted(applied.items()):
        if version not in known:
            raise MigrationError(
                f"the database has migration {version:04d}_{name}, these files end at "
                f"{migrations[-1].file_name}: the database was migrated by a newer checkout; update this one"
            )
        if known[version].sha256 != sha256:
            raise MigrationError(
                f"{known[version].file_name} was edited after it had been applied. Put it back and write a new "
                f"file for the change; on a development stack `make clean` starts afresh"
            )
    if sorted(applied) != list(range(1, len(applied) + 1)):
        raise MigrationError(f"the database has applied {sorted(applied)}: one in the middle is missing")


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.statements)
            connection.execute(
                "INSERT INTO public.schema_migrations (version, name, sha256) VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.sha256),
            )
    except psycopg.Error as error:
        position = error.diag.statement_position
        line = (
            "" if position is None else f", line {migration.statements[: int(position)].count(chr(10)) + 1}"
        )
        message = error.diag.message_primary or str(error)
        raise MigrationError(
            f"{migration.file_name}{line}: {message}. Nothing of it was applied; earlier files were."
        ) from error


def migrate(dsn: str, directory: Path = MIGRATIONS_DIR) -> list[str]:
    """Apply what is missing in the database of `dsn`; return the file names applied, in order.

    Safe to run twice and side by side. Raises MigrationError, PostgresUnreachableError.
    """
    migrations = read_migrations(directory)
    with connect(dsn, application_name="migrate", autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
        connection.execute(_CREATE_TABLE)
        rows = connection.execute("SELECT version, name, sha256 FROM public.schema_migrations").fetchall()
        applied = {version: (name, sha256) for version, name, sha256 in rows}
        check_applied(migrations, applied)
        pending = [migration for migration in migrations if migration.version not in applied]
        for migration in pending:
            _apply(connection, migration)
        return [migration.file_name for migration in pending]


def main(arguments: list[str] | None = None) -> int:
    """Command line: migrate the database of WEBTOON_POSTGRES_DSN."""
    parser = argparse.ArgumentParser(prog="python -m include.common.migrate", description=main.__doc__)
    parser.parse_args(arguments)
    try:
        dsn = require("WEBTOON_POSTGRES_DSN")
        applied = migrate(dsn)
    except (SettingsError, MigrationError, PostgresUnreachableError) as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 1
    print(f"{redact_dsn(dsn)}: " + (f"applied {', '.join(applied)}" if applied else "up to date"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
