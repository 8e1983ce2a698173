"""What pruning `realtime` costs the micro-batches: `python -m benchmarks.pruning --readings 2000000`.

Half of the readings are old. They are removed by the stream's own code, by ranges of pages, and in a second database by one
DELETE: a micro-batch waits for the longest transaction. Reading each row once is the limit. The last line on stdout is one
JSON object; exit status 1 where the two leave other rows.
"""

import argparse
import sys
import time
from pathlib import Path

import psycopg

from benchmarks.stack import BenchStack, cores, machine, print_json, running_stack, say
from benchmarks.swap_generations import FILL
from include.spark_jobs.stream_sessionize import pruning
from include.spark_jobs.stream_sessionize.generations import Generation, Plan

OLD = "committed_at = now() - interval '20 days'"
GENERATION = Generation(1, Path("c"), {}, Plan())


def filled(stack: BenchStack, readings: int) -> psycopg.Connection:
    """A database of its own with every second reader's rows old, and a request to prune them."""
    connection = psycopg.connect(stack.database("pruning"), autocommit=True)
    connection.execute(
        "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (1, 'current', 'c', '{}')"
    )
    connection.execute(FILL.format(schema="realtime", rows=readings).encode())
    for table in ("session_features", "user_features"):
        connection.execute(f"UPDATE realtime.{table} SET {OLD} WHERE right(user_id, 1)::int % 2 = 0".encode())
        connection.execute(f"VACUUM ANALYZE realtime.{table}".encode())
    connection.execute(
        "INSERT INTO ops.prune_requests (generation, changed_before, up_to_position)"
        " VALUES (1, now() - interval '14 days', 1)"
    )
    return connection


def seconds_of_scan(connection: psycopg.Connection) -> float:
    """Reading each reading once."""
    began = time.perf_counter()
    connection.execute("SELECT count(*), max(committed_at) FROM realtime.session_features")
    return time.perf_counter() - began


def by_ranges(connection: psycopg.Connection) -> list[float]:
    """Seconds of each transaction."""
    work = pruning.Pruning(connection, GENERATION, slice_s=0)
    seconds = []
    while not connection.execute("SELECT 1 FROM ops.prunings WHERE finished_at IS NOT NULL").fetchone():
        began = time.perf_counter()
        work.advance()
        seconds.append(time.perf_counter() - began)
    return seconds


def at_once(connection: psycopg.Connection) -> float:
    """All statements over all pages, in one transaction."""
    row = connection.execute("SELECT changed_before, up_to_position FROM ops.prune_requests").fetchone()
    assert row is not None
    values = {"first": "(0,0)", "last": "(4294967294,0)", "changed_before": row[0], "up_to_position": row[1]}
    began = time.perf_counter()
    with connection.transaction():
        for _, _, statement in pruning.TABLES:
            connection.execute(statement, values)
    return time.perf_counter() - began


def left(connection: psycopg.Connection) -> tuple[int, ...]:
    """Rows of each table."""
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for _, table, _ in pruning.TABLES)
    row = connection.execute(f"SELECT {counts}".encode()).fetchone()
    assert row is not None
    return row


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="pruning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readings", type=int, default=2_000_000, help="half of them old (%(default)s)")
    arguments = parser.parse_args()
    with running_stack() as stack:
        say(f"{machine()}; {stack.durability()}")
        with filled(stack, arguments.readings) as ranges, filled(stack, arguments.readings) as once:
            scan_s = seconds_of_scan(ranges)
            transactions = by_ranges(ranges)
            once_s = at_once(once)
            equal = left(ranges) == left(once)
            figures = {
                "readings": arguments.readings,
                "readings_removed": arguments.readings - left(ranges)[0],
                "transactions": len(transactions),
                "seconds": round(sum(transactions), 2),
                "longest_transaction_s": round(max(transactions), 3),
                "at_once_s": round(once_s, 2),
                "scan_s": round(scan_s, 2),
                "scan_vs_ranges": round(scan_s / sum(transactions), 3),
                "cores": cores(),
            }
    print_json(figures)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
