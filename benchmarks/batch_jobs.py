"""Archive and publication of `benchmarks.batch`: our Spark jobs beside a plain Spark scan of the same rows."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.backlog import produce_backlog
from benchmarks.model_history import HISTORY_ENDS, fill_history
from benchmarks.stack import BenchmarkError, BenchStack, Stores, run_to_end, say
from include.common.archive.slices import load_slice, record_slice
from include.common.hive.metastore import open_metastore
from include.common.kafka.offsets import watermarks
from include.common.postgres import connect
from local_stack.paths import PROJECT_ROOT

LIMIT_S = 1200.0
_JOBS = PROJECT_ROOT / "include" / "spark_jobs"
_SCAN = Path(__file__).resolve().parent / "plain_scan.py"
_LANDED_A_FILE = 2_000
"""Final readings a micro-batch at some 1,000 events/s, and 10 s between batches."""


@dataclass(frozen=True)
class Compared:
    """One job over `rows`, and the plain scan of them. Seconds are of whole processes; Spark's start is in both."""

    rows: int
    job_s: float
    scan_s: float
    start_s: float

    @property
    def rate(self) -> float:
        """Rows a second, the start included."""
        return self.rows / self.job_s

    @property
    def net_rate(self) -> float:
        """Rows a second without Spark's start."""
        return self.rows / max(self.job_s - self.start_s, 0.01)

    @property
    def net_scan_rate(self) -> float:
        """The scan's, without Spark's start."""
        return self.rows / max(self.scan_s - self.start_s, 0.01)

    def as_json(self) -> dict[str, Any]:
        """For the last line."""
        return {
            "rows": self.rows,
            "rows_per_s": round(self.rate),
            "rows_per_s_without_start": round(self.net_rate),
            "scan_rows_per_s_without_start": round(self.net_scan_rate),
            "vs_scan": round(self.scan_s / self.job_s, 3),
            "vs_scan_without_start": round(self.net_rate / self.net_scan_rate, 3),
            "start_s": round(self.start_s, 1),
        }


def measure_archive(bench: BenchStack, events: int) -> Compared:
    """Kafka -> staged slice -> Hive raw_events (without the gate), against reading the topic by Spark."""
    from include.orchestration import archive

    topic = bench.topic("archived", 4)
    produce_backlog(bench.bootstrap, topic, events=events, hours=1.0, readers=50_000)
    stores = bench.stores(topic)
    client = {"bootstrap.servers": bench.bootstrap}
    with connect(stores.dsn, application_name="bench", autocommit=True) as connection:
        piece = record_slice(connection, "bench", topic, watermarks(client, topic), 10 * events)
        if piece is None:
            raise BenchmarkError("the topic is empty")
        start_s, _ = _scan(bench, stores)
        scan_s, rows = _scan(bench, stores, "--kafka", topic)
        began = time.monotonic()
        _job(bench, stores, "archive_events", "--slice-id", piece.slice_id)
        with open_metastore(bench.context.metastore_uri) as metastore:
            metastore.database = f"bench_{stores.data_dir.name}"
            counts = archive.publish_slice_files(
                archive.Stores(connection, metastore, stores.data_dir), load_slice(connection, piece.slice_id)
            )
        job_s = time.monotonic() - began
    if counts["archived"] + counts["dead_letters"] != rows:
        raise BenchmarkError(f"{counts} archived of {rows} records")
    return Compared(rows, job_s, scan_s, start_s)


def measure_publication(bench: BenchStack, readings: int) -> Compared:
    """Landing files -> Hive session_features and the marts of the day, against reading those files by Spark."""
    stores = bench.stores("unused")
    fill_history(stores.dsn, readings)
    _land(stores, readings)
    landing = str(stores.data_dir / "landing")
    start_s, _ = _scan(bench, stores)
    scan_s, rows = _scan(bench, stores, "--parquet", landing)
    began = time.monotonic()
    _job(
        bench, stores, "publish_features", "--run-id", "bench", "--database", f"bench_{stores.data_dir.name}"
    )
    job_s = time.monotonic() - began
    with psycopg.connect(stores.dsn) as connection:
        row = connection.execute(
            "SELECT sum(row_count) FROM ops.publications WHERE hive_table = 'session_features'"
        ).fetchone()
    published = int(row[0] or 0) if row else 0
    if not published == rows == readings:
        raise BenchmarkError(f"{published} published, {rows} landed of {readings} readings")
    return Compared(rows, job_s, scan_s, start_s)


def _land(stores: Stores, readings: int) -> None:
    """Landing files and the ledger of the history, as the stream writes them, and a cut that is published."""
    import pyarrow as pa

    from include.spark_jobs.stream_sessionize.changes import readings_schema
    from include.spark_jobs.stream_sessionize.landing import write_landing

    schema = readings_schema()
    columns = ", ".join(f"{name}::text" if name == "experiments" else name for name in schema.names)
    say(f"landing {readings:,} readings ...")
    with psycopg.connect(stores.dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM ops.stream_batches")
        for number in range(0, readings, _LANDED_A_FILE):
            rows = connection.execute(
                f"SELECT {columns} FROM realtime.session_features WHERE last_offset > %s AND last_offset <= %s".encode(),
                (number, number + _LANDED_A_FILE),
            ).fetchall()
            arrays = [list(values) for values in zip(*rows, strict=True)]
            table = pa.Table.from_pydict(dict(zip(schema.names, arrays, strict=True)), schema=schema)
            file = write_landing(stores.data_dir / "landing", 1, number // _LANDED_A_FILE, table)
            connection.execute(
                "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_path,"
                " landing_rows, landing_sha256, events, dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
                " VALUES (1, %s, '{}', '{}', %s, %s, %s, 0, 0, 0, 0, 0, 0)",
                (number // _LANDED_A_FILE, file.path, file.rows, file.sha256),
            )
        connection.execute(
            "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)"
            " SELECT 'bench', 1, max(position), %s, 'published', now() FROM ops.stream_batches",
            (HISTORY_ENDS,),
        )


def _scan(bench: BenchStack, stores: Stores, *arguments: str) -> tuple[float, int]:
    """Seconds of the whole process, and rows read."""
    log = stores.data_dir / f"scan-{len(arguments)}.log"
    began = time.monotonic()
    argv = bench.spark_submit(_SCAN, *arguments)
    run_to_end("the plain scan", argv, bench.stream_environment(stores), log, limit_s=LIMIT_S)
    wall_s = time.monotonic() - began
    found = [json.loads(line) for line in log.read_text().splitlines() if line.startswith('{"rows"')]
    return wall_s, int(found[-1]["rows"])


def _job(bench: BenchStack, stores: Stores, name: str, *arguments: str) -> None:
    log = stores.data_dir / f"{name}.log"
    argv = bench.spark_submit(_JOBS / name / "job.py", *arguments)
    run_to_end(name, argv, bench.stream_environment(stores), log, limit_s=LIMIT_S)
