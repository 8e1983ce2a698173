"""Rows/s of the reconciliation's recomputation, against a plain DuckDB scan of the same rows.

`python -m benchmarks.reconciliation --events 400000 [--postgres DSN]`: a day of simulated readers, archived as events__archive
writes it and published as the stream's engine makes it. The scan reads the same columns of the same files and adds them
up. With a DSN (an empty database of PostgreSQL 18, that may be written to), also the test oracle's SQL in PostgreSQL on the
same events, loading them first. The last line on stdout is one JSON object; exit status 1 where the day is not equal.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from include.orchestration.reconcile.archive import HOUR_MS
from include.orchestration.reconcile.day import judge
from include.orchestration.reconcile.duck import one, open_duckdb, rows_of_files
from include.orchestration.reconcile.model import DAY_MS, Day, Outcome, Verdict
from include.simulator.plan import Plan
from include.simulator.traffic import records
from tests.reconcile_case import Case, at
from tests.vectors import VectorRecord

if TYPE_CHECKING:
    import duckdb

DAY = Day.of_ms(at("2026-03-02"))
PARTITIONS = 4
RUNS = 3
_SCANNED = (
    "sum(kafka_partition), sum(kafka_offset), max(kafka_timestamp), max(session_id), max(event_id), max(user_id),"
    ' max(episode_id), max(event_type), max(country), max(device), max(platform), sum("timestamp"), max(scroll_ratio),'
    " max(ui_version), max(cardinality(experiments)), max(topic)"
)


def topic(events: int, seed: int = 1) -> list[VectorRecord]:
    """A day and what closes it: an event of each bucket, two hours later."""
    plan = Plan.backfill(
        DAY.to_ms + DAY_MS, hours=24, start_ms=DAY.from_ms, events=events, readers=20_000, seed=seed
    )
    reached = dict.fromkeys(range(PARTITIONS), 0)
    found = []
    for record in records(plan):
        partition = hash_of(record.key) % PARTITIONS
        found.append(VectorRecord(partition, reached[partition], record.due_ms, record.key, record.value))
        reached[partition] += 1
    return found + list(_closing(reached))


def hash_of(key: bytes | None) -> int:
    """Any spread over partitions that keeps a key together."""
    import zlib

    return zlib.crc32(b"" if key is None else b"p" + key)


def _closing(reached: dict[int, int]) -> Iterator[VectorRecord]:
    at_ms = DAY.to_ms + 2 * HOUR_MS
    for partition, offset in reached.items():
        for number in range(100):
            session = f"closing-{partition}-{number}"
            event = {
                "event_id": session, "user_id": session, "session_id": session, "episode_id": "e", "event_type": "enter",
                "country": "KR", "device": "phone", "platform": "ios", "timestamp": at_ms,
            }  # fmt: skip
            yield VectorRecord(
                partition, offset + number, at_ms, session.encode(), json.dumps(event).encode()
            )


def scan(connection: "duckdb.DuckDBPyConnection", case: Case) -> int:
    """Read every column that the recomputation reads; returns the rows."""
    from include.common.hive.tables import RAW_EVENTS

    rows_of_files(connection, RAW_EVENTS, case.archive.all_files()).create_view("scanned", replace=True)
    return int(one(connection, f"SELECT count(*), {_SCANNED} FROM scanned")[0])


def timed(work: Callable[[], object]) -> float:
    """Median seconds of RUNS runs."""
    seconds = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def in_postgres(dsn: str, case: Case) -> tuple[float, float]:
    """(seconds to load, seconds to recompute) of the test oracle's SQL."""
    import psycopg

    from tests.integration.stream_support import good
    from tests.oracle import OracleRules, create_events_table, insert_events, recompute

    with psycopg.connect(dsn) as connection:
        create_events_table(connection, "pg_temp.bench_events")
        began = time.perf_counter()
        insert_events(connection, "pg_temp.bench_events", good(case.records))
        loaded = time.perf_counter()
        recompute(connection, "pg_temp.bench_events", OracleRules())
        return loaded - began, time.perf_counter() - loaded


def main() -> int:
    """Print figures; 1 where stream and recomputation differ."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--postgres", metavar="DSN")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_duckdb(Path(folder) / "scratch", "4GB") as connection:
        print(f"making {arguments.events} events", file=sys.stderr)
        case = Case(Path(folder) / "case", topic(arguments.events))
        inputs = case.inputs()
        outcomes: list[Outcome] = []
        judge_s = timed(lambda: outcomes.append(judge(connection, inputs, DAY)))
        rows = scan(connection, case)
        scan_s = timed(lambda: scan(connection, case))
        outcome = outcomes[-1]
        figures = {
            "events": rows,
            "readings": outcome.comparison.rows_equal if outcome.comparison else 0,
            "verdict": outcome.verdict.value,
            "reconcile_rows_per_s": round(rows / judge_s),
            "scan_rows_per_s": round(rows / scan_s),
            "ratio": round(scan_s / judge_s, 3),
        }
        if arguments.postgres:
            load_s, recompute_s = in_postgres(arguments.postgres, case)
            figures |= {
                "postgres_load_rows_per_s": round(rows / load_s),
                "postgres_recompute_rows_per_s": round(rows / recompute_s),
            }
        print(json.dumps(figures))
        return 0 if outcome.verdict is Verdict.EQUAL else 1


if __name__ == "__main__":
    sys.exit(main())
