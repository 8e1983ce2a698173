"""How a micro-batch's rows get into PostgreSQL: `python -m benchmarks.copy_rows --rows 100000`.

The same rows (`changes.readings_schema()`) into the writer's own temporary table, by ADBC's COPY of Arrow as the writer does
it, and by psycopg: COPY in the binary and in the text format row by row, and `executemany`. Each way takes its turn in
every round; the fastest is printed, and how it compares to ADBC. The last line on stdout is one JSON object; exit status 1
where the table does not hold the rows afterwards.
"""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg

from benchmarks.stack import cores, machine, print_json, running_stack
from include.spark_jobs.stream_sessionize.changes import readings_schema
from include.spark_jobs.stream_sessionize.statements import statements

if TYPE_CHECKING:
    import pyarrow as pa

CREATE = statements()["create_staged"]
NAMES = readings_schema().names
TYPES = (
    "text", "int8", "text", "text", "text", "text", "text", "text", "text", "text", "bool", "float8", "float8",
    "int4", "int4", "int8", "timestamptz", "timestamptz", "bool", "int4", "int8", "timestamptz",
)  # fmt: skip
BINARY = f"COPY staged ({', '.join(NAMES)}) FROM STDIN (FORMAT binary)"
TEXT = f"COPY staged ({', '.join(NAMES)}) FROM STDIN"
INSERT = f"INSERT INTO staged ({', '.join(NAMES)}) VALUES ({', '.join(['%s'] * len(NAMES))})"
COUNTED = "SELECT count(*), coalesce(sum(last_offset), 0)::bigint FROM staged"


def readings(count: int) -> "pa.Table":
    """Rows such as the stream makes, each of a session of its own."""
    import pyarrow as pa

    began = datetime(2026, 11, 1, tzinfo=UTC)
    rows = []
    for n in range(count):
        at = began + timedelta(milliseconds=37 * n)
        rows.append(
            (
                f"session-{n:012d}", 1_793_491_200_000 + 37 * n, f"episode-{n % 5_000}", f"user-{n % 100_000}", "KR",
                "phone", "ios", '{"cta_color": "red"}', "v2", "active", None, (n % 1_000) / 1_000, None, 19, 15,
                421_000, at, at + timedelta(minutes=7), False, n % 4, n, at + timedelta(minutes=7),
            )
        )  # fmt: skip
    columns = [list(values) for values in zip(*rows, strict=True)]
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, readings_schema(), strict=True)],
        schema=readings_schema(),
    )


def by_adbc(dsn: str, table: "pa.Table") -> tuple[float, tuple[int, int]]:
    """As the writer does it."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(CREATE)
        connection.commit()
        began = time.perf_counter()
        cursor.adbc_ingest("staged", table, mode="append", temporary=True)
        seconds = time.perf_counter() - began
        cursor.execute(COUNTED)
        return seconds, cursor.fetchone()


def _by_psycopg(
    put: Callable[[psycopg.Cursor, "pa.Table"], None],
) -> Callable[[str, "pa.Table"], tuple[float, tuple[int, int]]]:
    def timed(dsn: str, table: "pa.Table") -> tuple[float, tuple[int, int]]:
        with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute(CREATE.encode())
            connection.commit()
            began = time.perf_counter()
            put(cursor, table)
            seconds = time.perf_counter() - began
            row = cursor.execute(COUNTED).fetchone()
        assert row is not None
        return seconds, row

    return timed


def _copy(cursor: psycopg.Cursor, table: "pa.Table", statement: str, *, binary: bool) -> None:
    with cursor.copy(statement.encode()) as copy:
        if binary:
            copy.set_types(TYPES)
        for row in _rows(table):
            copy.write_row(row)


def _rows(table: "pa.Table") -> "zip[tuple[object, ...]]":
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


WAYS: dict[str, Callable[[str, "pa.Table"], tuple[float, tuple[int, int]]]] = {
    "ADBC, COPY of Arrow": by_adbc,
    "psycopg, COPY binary": _by_psycopg(lambda cursor, table: _copy(cursor, table, BINARY, binary=True)),
    "psycopg, COPY text": _by_psycopg(lambda cursor, table: _copy(cursor, table, TEXT, binary=False)),
    "psycopg, executemany": _by_psycopg(
        lambda cursor, table: cursor.executemany(INSERT.encode(), _rows(table))
    ),
}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000, help="rows (%(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="times that each way takes its turn (%(default)s)"
    )
    arguments = parser.parse_args()
    table = readings(arguments.rows)
    wanted = (arguments.rows, sum(range(arguments.rows)))
    best: dict[str, float] = {}
    with running_stack() as bench:
        dsn = bench.database("copy")
        for _ in range(arguments.rounds):
            for name, way in WAYS.items():
                seconds, held = way(dsn, table)
                if tuple(held) != wanted:
                    print(f"error: {name}: the table holds {held} instead of {wanted}", file=sys.stderr)
                    return 1
                best[name] = min(seconds, best.get(name, seconds))
    ours = next(iter(best.values()))
    print(f"machine: {machine()}; {arguments.rows:,} rows of {len(NAMES)} columns, {arguments.rounds} rounds")
    for name, seconds in best.items():
        print(f"{name:24}{seconds:8.3f} s{seconds / ours:8.1f} times")
    print_json({"rows": arguments.rows, "seconds": best, "cores": cores()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
