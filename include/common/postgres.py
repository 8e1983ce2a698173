"""PostgreSQL access of everything that is not an Airflow task: connect, copy a database, hide passwords.

DSNs are libpq URIs (`postgresql://user:password@host:port/database`); they travel in the environment
or an Airflow connection, never on a command line, and are printed through `redact_dsn` only.
"""

import re
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

_PASSWORD_IN_KEYWORDS = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)
_PASSWORD_IN_QUERY = re.compile(r"((?:^|&)(?:ssl)?password=)[^&]*", re.IGNORECASE)


class PostgresUnreachableError(RuntimeError):
    """No connection could be made; the message says to what, why and what to do."""


def redact_dsn(dsn: str) -> str:
    """`dsn` with its password replaced by `***`, fit for logs and messages."""
    if "://" not in dsn:
        return _PASSWORD_IN_KEYWORDS.sub(r"\1***", dsn)
    parts = urlsplit(dsn)
    user, at, host = parts.netloc.rpartition("@")
    if at and ":" in user:
        user = user.split(":", 1)[0] + ":***"
    return urlunsplit(
        parts._replace(netloc=f"{user}{at}{host}", query=_PASSWORD_IN_QUERY.sub(r"\1***", parts.query))
    )


def connect(
    dsn: str, *, application_name: str, connect_timeout_s: int = 10, autocommit: bool = False
) -> psycopg.Connection:
    """Open a connection whose name shows in `pg_stat_activity`.

    Raises PostgresUnreachableError (server down, wrong password, no such database) with the mend.
    """
    try:
        return psycopg.connect(
            dsn, application_name=application_name, connect_timeout=connect_timeout_s, autocommit=autocommit
        )
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        raise PostgresUnreachableError(
            f"cannot connect to PostgreSQL at {redact_dsn(dsn)}: {reason}. "
            f"Is it running (make status), and is WEBTOON_POSTGRES_DSN (or connection postgres_features) right?"
        ) from error


def with_database(dsn: str, database: str) -> str:
    """The same server and role as URI `dsn`, another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def create_database(
    admin_dsn: str, database: str, *, owner: str | None = None, template: str | None = None
) -> str:
    """Create `database` (a copy of `template` where given) and return its DSN, still as the admin role.

    `admin_dsn` is a URI to another database of the same server. Raises psycopg.Error, for one where the
    name is taken or somebody is connected to the template.
    """
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database))
    if owner is not None:
        statement += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
    if template is not None:
        statement += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))
    with connect(admin_dsn, application_name="create_database", autocommit=True) as connection:
        connection.execute(statement)
    return with_database(admin_dsn, database)


def drop_database(admin_dsn: str, database: str) -> None:
    """Drop `database` if it is there, closing whatever is still connected to it."""
    with connect(admin_dsn, application_name="drop_database", autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
        )
