"""What a roll-out of the stream costs readers: four ways to swap, and copying and comparing as many rows.

    .venv/bin/python -m benchmarks.swap_generations [--rows 1000000]

Of each way, three times: seconds from the first exclusive lock to the commit, and the longest that a reader, who reads
one row of a serving view again and again, waited meanwhile.
"""

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from benchmarks.stack import running_stack
from include.orchestration.roll_out import generations, tables
from include.orchestration.roll_out.comparison import compare
from include.orchestration.roll_out.swap import swap
from include.spark_jobs.stream_sessionize.generations import Plan, current_or_first

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


def swaps(dsn: str, rows: int) -> None:
    """Both schemas filled alike; each way changes their places three times."""
    with psycopg.connect(dsn) as connection:
        tables.make_alike(connection, "realtime_shadow", "realtime")
        for schema in ("realtime", "realtime_shadow"):
            connection.execute(FILL.format(schema=schema, rows=rows).encode())
        connection.execute("CREATE SCHEMA pointer")
        for name in NAMES:
            connection.execute(f"CREATE VIEW pointer.{name} AS SELECT * FROM realtime.{name}".encode())
    served = "SELECT * FROM serving.user_features WHERE user_id = 'u7'"
    ways = (
        (replace_pointers, served.replace("serving.", "pointer."), "pointer views replaced"),
        (rename_schemas, served, "schemas renamed, views replaced"),
        (move_tables, served, "tables moved, views replaced"),
        (copy_rows, served, "TRUNCATE and INSERT"),
    )
    for way, query, words in ways:
        if way is rename_schemas:
            with psycopg.connect(dsn) as connection:
                connection.execute("DROP SCHEMA pointer CASCADE")
        outcomes = [measure(dsn, way, query) for _ in range(3)]
        took = ", ".join(f"{it[0]:.3f}" for it in outcomes)
        waited = ", ".join(f"{it[1]:.3f}" for it in outcomes)
        print(f"{words}: {took} s; a reader waited at most {waited} s", flush=True)


def copy_and_compare(dsn: str) -> None:
    """All rows copied into a shadow, compared, half of them changed, compared again, swapped in."""
    with psycopg.connect(dsn) as connection:
        tables.drop(connection, "realtime_shadow")
        current_or_first(connection, Path("none"), {"0": 0}, {})
        ledger(connection, 1)
    began = time.monotonic()
    number = generations.begin(dsn, "run", Plan(publish_from_ms=2**60), {"0": 0})
    print(f"all rows copied: {time.monotonic() - began:.1f} s", flush=True)
    with psycopg.connect(dsn) as connection:
        ledger(connection, number)
    for words in ("equal", "half of the readings different"):
        began = time.monotonic()
        compared = compare(dsn, number, "run")
        print(f"compared, {words} ({compared.different} rows): {time.monotonic() - began:.1f} s", flush=True)
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "UPDATE realtime_shadow.session_features SET dwell_time_ms = 5 WHERE session_start_ms % 2 = 0"
            )
    print(f"swapped in: {swap(dsn, number)}", flush=True)


def ledger(connection: psycopg.Connection, generation: int) -> None:
    """A micro-batch that has read everything."""
    connection.execute(
        "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
        " dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
        """ VALUES (%s, 0, '{"0": 0}', '{"0": 1000000000}', 0, 0, 0, 0, 0, 0, 0)""",
        (generation,),
    )


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="readings (%(default)s)")
    arguments = parser.parse_args()
    with running_stack() as stack:
        dsn = stack.database("swap")
        print(f"{arguments.rows} readings, {stack.durability()}", flush=True)
        swaps(dsn, arguments.rows)
        copy_and_compare(dsn)


if __name__ == "__main__":
    main()
