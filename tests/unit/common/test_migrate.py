"""Migration files: names, numbers, and whether a database fits them."""

from pathlib import Path

import pytest

from include.common import migrate
from include.common.postgres import redact_dsn, with_database


def _write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(f"-- {name}\n")
    return folder


def test_the_projects_own_migrations_are_in_order() -> None:
    migrations = migrate.read_migrations()
    assert len(migrations) >= 4
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("0001_a.sql", "0003_c.sql"), "without gap or doublet"),
        (("0001_a.sql", "0001_b.sql"), "without gap or doublet"),
        (("1_a.sql",), "1_a.sql: a migration is named"),
        ((), "no migrations in"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(migrate.MigrationError, match=message):
        migrate.read_migrations(_write(tmp_path, *names))


def test_a_database_that_is_ahead_is_refused(tmp_path: Path) -> None:
    files = migrate.read_migrations(_write(tmp_path, "0001_a.sql"))
    applied = {1: ("a", files[0].sha256), 2: ("b", "x")}
    with pytest.raises(migrate.MigrationError, match=r"has migration 0002_b, these files end at 0001_a\.sql"):
        migrate.check_applied(files, applied)


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    files = migrate.read_migrations(_write(tmp_path, "0001_a.sql"))
    with pytest.raises(migrate.MigrationError, match=r"0001_a\.sql was edited after"):
        migrate.check_applied(files, {1: ("a", "another")})


def test_the_command_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WEBTOON_POSTGRES_DSN", raising=False)
    assert migrate.main([]) == 1
    assert "WEBTOON_POSTGRES_DSN is not set" in capsys.readouterr().err
    monkeypatch.setenv("WEBTOON_POSTGRES_DSN", "postgresql://u:hidden@127.0.0.1:1/db")
    assert migrate.main([]) == 1
    message = capsys.readouterr().err
    assert "cannot connect to PostgreSQL at postgresql://u:***@127.0.0.1:1/db" in message
    assert "hidden" not in message


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:p%40ss@h:1/db?x=1", "postgresql://u:***@h:1/db?x=1"),
        ("postgresql://h/db", "postgresql://h/db"),
        ("postgresql://h/db?user=u&password=p%20s&x=1", "postgresql://h/db?user=u&password=***&x=1"),
        ("postgresql://h/db?sslpassword=ab", "postgresql://h/db?sslpassword=***"),
        ("host=h password='a b' user=u", "host=h password=*** user=u"),
        ("host=h password=ab user=u", "host=h password=*** user=u"),
    ],
)
def test_passwords_are_not_shown(dsn: str, shown: str) -> None:
    assert redact_dsn(dsn) == shown


def test_with_database_keeps_the_rest() -> None:
    assert with_database("postgresql://u:p@h:1/a?x=1", "b") == "postgresql://u:p@h:1/b?x=1"
