"""PostgreSQL 18 from the embedded wheel: one server, separate roles and databases for features, Airflow, Hive."""

import shutil
from collections.abc import Mapping

import psycopg
from psycopg import sql

from include.common.migrate import migrate
from local_stack import health
from local_stack.commands import run
from local_stack.context import AIRFLOW_READER, FEATURES_DATABASE, Context
from local_stack.credentials import password
from local_stack.paths import postgres_bin
from local_stack.privileges import drop_prefix, give
from local_stack.service import Service

ROLES: Mapping[str, str] = {"webtoon": FEATURES_DATABASE, "airflow": "airflow", "hive": "metastore"}
"""Role -> the database it owns. No role may look into another's."""
IDLE_IN_TRANSACTION: Mapping[str, str] = {"airflow": "30s"}
"""Role -> how long a transaction of it may wait for its client, where that is shorter than the server's.

A scheduler that dies by kill -9 leaves its connections open in the hands of its LocalExecutor's forked workers, which
live on; one that died while it held the pools' rows would let no task start until its transaction is ended here.
"""


def settings(context: Context) -> dict[str, str]:
    """Server settings. Memory: 256 MB shared plus a few MB a connection."""
    chosen = {
        "listen_addresses": "127.0.0.1",
        "port": str(context.ports["postgres"]),
        "unix_socket_directories": "",
        "password_encryption": "scram-sha-256",
        "max_connections": "120",
        "shared_buffers": "256MB",
        "effective_cache_size": "1GB",
        "work_mem": "16MB",
        "maintenance_work_mem": "64MB",
        "random_page_cost": "1.1",
        "jit": "off",
        "max_wal_size": "2GB",
        "checkpoint_timeout": "15min",
        "synchronous_commit": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_duration_statement": "2s",
        "log_line_prefix": "%m [%p] %q%u@%d %a ",
        "idle_in_transaction_session_timeout": "30min",
        # values of rows, personal ids among them, stay out of the server's log
        "log_parameter_max_length": "0",
        "log_error_verbosity": "terse",
    }
    if not context.durable:  # tests: their data may be lost with the machine
        chosen |= {
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "128MB",
            "max_wal_size": "512MB",
        }
    return chosen


def _initialise(context: Context) -> None:
    """initdb into a folder that is renamed when it is whole: a killed one starts afresh."""
    folder = context.paths.root / "postgres"
    data, partial, password_file = folder / "data", folder / "data.partial", folder / "password.partial"
    folder.mkdir(exist_ok=True, mode=0o700)
    if not data.exists():
        shutil.rmtree(partial, ignore_errors=True)
        password_file.write_text("")
        password_file.chmod(0o600)
        password_file.write_text(password(context.paths.secrets, "postgres_postgres") + "\n")
        give(folder)
        binaries = postgres_bin()
        run(
            (*drop_prefix(binaries, folder), str(binaries / "initdb"), "-D", str(partial), "-U", "postgres",
             "--pwfile", str(password_file), "--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin",
             "--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums",
             *([] if context.durable else ["--no-sync"])),
            what="initdb", log=context.paths.logs / "initdb.log", env=context.process_env(), cwd=folder, timeout_s=120,
        )  # fmt: skip
        password_file.unlink()
        partial.rename(data)
    lines = [f"{name} = '{value}'" for name, value in settings(context).items()]
    (data / "postgresql.auto.conf").write_text(
        "# rendered by local_stack.postgres_server\n" + "\n".join(lines) + "\n"
    )
    give(folder)


def _make_roles(context: Context) -> None:
    """Roles and their databases (safe to repeat), then the feature store's migrations."""
    with psycopg.connect(context.admin_dsn, autocommit=True) as connection:
        for role, database in ROLES.items():
            _make_role(connection, role, password(context.paths.secrets, f"postgres_{role}"))
            name, owned = sql.Identifier(role), sql.Identifier(database)
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(owned, name))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(owned))
            if role in IDLE_IN_TRANSACTION:
                connection.execute(
                    sql.SQL("ALTER ROLE {} SET idle_in_transaction_session_timeout = {}").format(
                        name, sql.Literal(IDLE_IN_TRANSACTION[role])
                    )
                )
        _make_role(connection, AIRFLOW_READER, password(context.paths.secrets, f"postgres_{AIRFLOW_READER}"))
        reader = sql.Identifier(AIRFLOW_READER)
        connection.execute(sql.SQL("GRANT CONNECT ON DATABASE airflow TO {}").format(reader))
        connection.execute(sql.SQL("GRANT pg_read_all_data, pg_maintain TO {}").format(reader))
    migrate(context.features_dsn)


def _make_role(connection: psycopg.Connection, role: str, secret: str) -> None:
    name = sql.Identifier(role)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(secret)))


def service(context: Context) -> Service:
    """The server; stops last, by fast shutdown (SIGINT)."""
    binaries = postgres_bin()
    folder = context.paths.root / "postgres"
    return Service(
        name="postgres",
        component="postgres",
        argv=(*drop_prefix(binaries, folder), str(binaries / "postgres"), "-D", str(folder / "data")),
        env=context.process_env(),
        health=health.postgres(context.admin_dsn, context.ports["postgres"]),
        health_text="SELECT 1",
        ready_within_s=90,
        memory_limit_mib=1024,
        stop_order=90,
        stop_signal="INT",
        stop_within_s=60,
        prepare=lambda: _initialise(context),
        after_ready=lambda: _make_roles(context),
        cwd=folder,
    )
