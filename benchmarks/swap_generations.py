"""How long readers wait while another generation takes the place of `realtime`: four ways, on rows of one size.

    .venv/bin/python -m benchmarks.swap_generations DSN [--rows 1000000]

DSN: a migrated, empty feature database. Prints seconds from the first exclusive lock to the commit, and how long a
reader of serving.user_features waited at most, each way three times.
"""

import argparse
import threading
import time
from collections.abc import Callable

import psycopg

from include.orchestration.roll_out import tables

FILL = """
INSERT INTO {schema}.session_features SELECT
    's' || n, n, 'ep' || n % 5000, 'u' || n % 200000, 'KR', 'phone', 'ios', '{{}}', NULL, 'completed', FALSE, 1, 0.5, 3, 1,
    1000, to_timestamp(1.79e9 + n), to_timestamp(1.79e9 + n), TRUE, 0, n, to_timestamp(1.79e9 + n), 1, 0, 1
FROM generate_series(1, {rows}) AS n;
INSERT INTO {schema}.user_features SELECT
    user_id, 0, count(*), 0, 0, 0, 0, 0, max(ended_at), max(episode_id), max(ended_at), 1, 0
FROM {schema}.session_features GROUP BY user_id;
INSERT INTO {schema}.episode_features SELECT
    episode_id, 0, count(*), 0, 0, 0, 0, 0, 0, 0, max(ended_at), max(ended_at), 1, 0
FROM {schema}.session_features GROUP BY episode_id;
"""
NAMES = ("session_features", "user_features", "episode_features")


def move_tables(connection: psycopg.Connection) -> None:
    """What stream__roll_out does."""
    views = tables.views_on(connection, "realtime")
    tables.lock_out_readers(connection, "realtime", views)
    connection.execute("CREATE SCHEMA between")
    for source, target in (
        ("realtime", "between"),
        ("realtime_shadow", "realtime"),
        ("between", "realtime_shadow"),
    ):
        tables.move(connection, source, target)
    connection.execute("DROP SCHEMA between")
    for view in views:
        view.replace(connection)


def rename_schemas(connection: psycopg.Connection) -> None:
    """ALTER SCHEMA RENAME, and views replaced."""
    views = tables.views_on(connection, "realtime")
    tables.lock_out_readers(connection, "realtime", views)
    for source, target in (
        ("realtime", "between"),
        ("realtime_shadow", "realtime"),
        ("between", "realtime_shadow"),
    ):
        connection.execute(f"ALTER SCHEMA {source} RENAME TO {target}".encode())
    for view in views:
        view.replace(connection)


def replace_pointers(connection: psycopg.Connection) -> None:
    """Three views that stand for the tables are replaced; nothing else is touched."""
    row = connection.execute(
        "SELECT pg_get_viewdef('pointer.user_features'::regclass) LIKE '%shadow%'"
    ).fetchone()
    schema = "realtime" if row and row[0] else "realtime_shadow"
    for name in NAMES:
        connection.execute(f"CREATE OR REPLACE VIEW pointer.{name} AS SELECT * FROM {schema}.{name}".encode())


def copy_rows(connection: psycopg.Connection) -> None:
    """TRUNCATE and INSERT: the rows are written again."""
    for name in NAMES:
        connection.execute(f"TRUNCATE realtime.{name}".encode())
        connection.execute(f"INSERT INTO realtime.{name} SELECT * FROM realtime_shadow.{name}".encode())


class Reader(threading.Thread):
    """Reads one row again and again; `worst_s` is the longest it took."""

    def __init__(self, dsn: str, query: str) -> None:
        super().__init__()
        self._dsn, self._query = dsn, query
        self._stop_now = threading.Event()
        self.worst_s = 0.0
        self.start()

    def run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop_now.is_set():
                began = time.monotonic()
                connection.execute(self._query.encode()).fetchone()
                self.worst_s = max(self.worst_s, time.monotonic() - began)

    def stop(self) -> float:
        self._stop_now.set()
        self.join()
        return self.worst_s


def measure(dsn: str, way: Callable[[psycopg.Connection], None], query: str) -> tuple[float, float]:
    """Seconds of the transaction, and the worst of a reader meanwhile."""
    reader = Reader(dsn, query)
    time.sleep(0.5)
    with psycopg.connect(dsn) as connection:
        began = time.monotonic()
        way(connection)
        connection.commit()
        took = time.monotonic() - began
    time.sleep(0.2)
    return took, reader.stop()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dsn")
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with psycopg.connect(arguments.dsn) as connection:
        tables.make_alike(connection, "realtime_shadow", "realtime")
        for schema in ("realtime", "realtime_shadow"):
            connection.execute(FILL.format(schema=schema, rows=arguments.rows).encode())
        connection.execute("CREATE SCHEMA pointer")
        for name in NAMES:
            connection.execute(f"CREATE VIEW pointer.{name} AS SELECT * FROM realtime.{name}".encode())
    served = "SELECT * FROM serving.user_features WHERE user_id = 'u7'"
    pointed = "SELECT * FROM pointer.user_features WHERE user_id = 'u7'"
    ways = (
        (replace_pointers, pointed, "pointer views replaced"),
        (rename_schemas, served, "schemas renamed, views replaced"),
        (move_tables, served, "tables moved, views replaced"),
        (copy_rows, served, "TRUNCATE and INSERT"),
    )
    for way, query, words in ways:
        if way is rename_schemas:
            with psycopg.connect(arguments.dsn) as connection:
                connection.execute("DROP SCHEMA pointer CASCADE")
        outcomes = [measure(arguments.dsn, way, query) for _ in range(3)]
        took = ", ".join(f"{it[0]:.3f}" for it in outcomes)
        waited = ", ".join(f"{it[1]:.3f}" for it in outcomes)
        print(f"{words} ({arguments.rows} rows): {took} s; a reader waited at most {waited} s", flush=True)


if __name__ == "__main__":
    main()
