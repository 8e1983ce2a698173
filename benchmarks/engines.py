"""The three contestants over one topic, each as processes of its own: Kafka read only, ours, Quix Streams."""

import json
import subprocess
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg

from benchmarks.backlog import Backlog
from benchmarks.quix_sessions.environment import FOLDER as QUIX_FOLDER
from benchmarks.quix_sessions.environment import ensure_environment
from benchmarks.stack import (
    STREAM_JOB,
    BenchmarkError,
    BenchStack,
    Stores,
    await_success,
    end_family,
    last_lines,
    run_to_end,
)
from benchmarks.visibility import VisibilityPoller, await_visible
from local_stack.paths import PROJECT_ROOT

QUIX_PROCESSES = 2
LIMIT_S = 1800.0
_LIMIT_DRIVER = Path(__file__).resolve().parent / "kafka_limit.py"


@dataclass(frozen=True)
class Measured:
    """One engine's run. `seconds`: from its first micro-batch (or record) to its last commit."""

    seconds: float
    wall_s: float
    """With the start of its processes."""
    warm_eps: float | None = None
    """Events a second without the first micro-batch, in which a JVM is cold; None where there was one only."""
    phases: dict[str, float] = field(default_factory=dict)
    """Phase -> seconds over all micro-batches."""
    micro_batches: int = 0


def read_only(bench: BenchStack, stores: Stores, backlog: Backlog, *, tuned: bool) -> Measured:
    """Spark's Kafka source into its noop sink, its consumer as Spark sets it or, `tuned`, as the stream does."""
    name = "limit-tuned" if tuned else "limit"
    log = stores.data_dir / f"{name}.log"
    argv = bench.spark_submit(
        _LIMIT_DRIVER,
        "--control-topic", stores.control_topic,
        "--checkpoint", str(stores.data_dir / "checkpoints" / name),
        *(["--tuned"] if tuned else []),
    )  # fmt: skip
    started = time.monotonic()
    run_to_end("reading the topic", argv, bench.stream_environment(stores), log, limit_s=LIMIT_S)
    wall_s = time.monotonic() - started
    found = json.loads(
        next(line for line in log.read_text().splitlines() if line.startswith('{"started_at"'))
    )
    if found["records"] != backlog.records:
        raise BenchmarkError(f"{found['records']} records read of {backlog.records}")
    (first_rows, first_s), *others = found["batches"]
    seconds = found["ended_at"] - found["started_at"]
    warm = (found["records"] - first_rows) / (seconds - first_s) if others else None
    return Measured(seconds, wall_s, warm, micro_batches=len(found["batches"]))


def ours(bench: BenchStack, stores: Stores, backlog: Backlog) -> Measured:
    """The stream's own command line with its defaults, until it has caught up."""
    log = stores.data_dir / "stream.log"
    argv = bench.spark_submit(STREAM_JOB, "--control-topic", stores.control_topic, "--stop-when-caught-up")
    first = stores.checkpoint / "offsets" / "0"
    started = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, env=bench.stream_environment(stores), cwd=PROJECT_ROOT, stdout=output, stderr=output
        )
    try:
        with VisibilityPoller(stores.dsn) as poller:
            # the offset log keeps the newest entries only
            planned_at = None
            while planned_at is None and process.poll() is None:
                planned_at = first.stat().st_mtime if first.exists() else None
                time.sleep(0.05)
            await_success("the stream", process, log, LIMIT_S)
            await_visible(poller, backlog.ends, 10)
    finally:
        end_family(process)
    wall_s = time.monotonic() - started
    if planned_at is None:
        raise BenchmarkError(f"the stream planned no micro-batch. {last_lines(log)}")
    with psycopg.connect(stores.dsn) as connection:
        first_records, before_s = _first_batch(connection, backlog)
        phases = phase_seconds(connection)
    first_commit, last_commit = poller.seen[0].seen_at, poller.seen[-1].seen_at
    warm = (backlog.records - first_records) / (last_commit - first_commit) if len(poller.seen) > 1 else None
    return Measured(last_commit - (planned_at - before_s), wall_s, warm, phases, len(poller.seen))


def _first_batch(connection: psycopg.Connection, backlog: Backlog) -> tuple[int, float]:
    """Records of the first micro-batch, and seconds from its start to its entry in the offset log.

    Raises BenchmarkError unless the ledger has all records, none of them late.
    """
    total = connection.execute("SELECT sum(events), sum(late_events) FROM ops.stream_batches").fetchone()
    if total is None or total[0] != backlog.records or total[1]:
        raise BenchmarkError(f"the ledger has (events, late) {total} of {backlog.records}: no comparison")
    row = connection.execute(
        "SELECT events, durations_ms FROM ops.stream_batches JOIN ops.stream_progress USING (generation, batch_id)"
        " ORDER BY batch_id LIMIT 1"
    ).fetchone()
    if row is None:
        raise BenchmarkError("the stream stored no progress of its first micro-batch")
    return int(row[0]), (row[1].get("latestOffset", 0) + row[1].get("walCommit", 0)) / 1000


def phase_seconds(connection: psycopg.Connection) -> dict[str, float]:
    """Phase -> seconds over all micro-batches, as the stream measured itself."""
    rows = connection.execute(
        "SELECT key, sum(value::bigint) / 1000.0 FROM ops.stream_progress, jsonb_each_text(durations_ms)"
        " GROUP BY key ORDER BY 2 DESC"
    ).fetchall()
    return {str(name): float(seconds) for name, seconds in rows}


def quix(
    bench: BenchStack, topic: str, backlog: Backlog, dsn: str, folder: Path, commit_s: float
) -> Measured:
    """The Quix Streams application in two processes, until both have committed the topic's end."""
    python = ensure_environment()
    with psycopg.connect(dsn) as connection:
        connection.execute((QUIX_FOLDER / "schema.sql").read_text().encode())
    group = f"quix-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    log = folder / "quix.log"
    started = time.monotonic()
    with ExitStack() as cleanup, log.open("ab") as output:
        processes = []
        for member in range(QUIX_PROCESSES):
            argv = [
                str(python), "-m", "benchmarks.quix_sessions.app", "--bootstrap", bench.bootstrap, "--topic", topic,
                "--group", group, "--ends", json.dumps(backlog.ends), "--member", str(member),
                "--members", str(QUIX_PROCESSES), "--commit-interval", str(commit_s), "--folder", str(folder),
            ]  # fmt: skip
            process = subprocess.Popen(
                argv, env=bench.environment(**_libpq(dsn)), cwd=PROJECT_ROOT, stdout=output, stderr=output
            )
            cleanup.callback(end_family, process)
            processes.append(process)
        ended = _await_committed(bench, topic, group, backlog.ends, processes, log)
        wall_s = time.monotonic() - started
        for process in processes:
            await_success("Quix Streams", process, log, 120)
    reports = [json.loads((folder / f"member-{n}.json").read_text()) for n in range(QUIX_PROCESSES)]
    if sum(report["records"] for report in reports) < backlog.records:
        raise BenchmarkError(f"Quix Streams saw fewer than {backlog.records} records: {reports}")
    return Measured(ended - min(report["first_at"] for report in reports), wall_s)


def _libpq(dsn: str) -> dict[str, str]:
    """Connection settings for a process's environment: no password on a command line."""
    url = urlsplit(dsn)
    return {
        "PGHOST": url.hostname or "",
        "PGPORT": str(url.port),
        "PGUSER": url.username or "",
        "PGPASSWORD": unquote(url.password or ""),
        "PGDATABASE": url.path.lstrip("/"),
    }


def _await_committed(
    bench: BenchStack,
    topic: str,
    group: str,
    ends: dict[int, int],
    processes: list["subprocess.Popen[bytes]"],
    log: Path,
) -> float:
    """When (epoch s) the group had committed all of the topic."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer(
        {"bootstrap.servers": bench.bootstrap, "group.id": group, "enable.auto.commit": False}
    )
    partitions = [TopicPartition(topic, partition) for partition in ends]
    deadline = time.monotonic() + LIMIT_S
    try:
        while True:
            committed = {it.partition: it.offset for it in consumer.committed(partitions, timeout=30)}
            if committed == ends:
                return time.time()
            failed = [process.returncode for process in processes if process.poll() not in (None, 0)]
            if failed or time.monotonic() > deadline:
                raise BenchmarkError(f"Quix Streams did not get to the end ({committed}). {last_lines(log)}")
            time.sleep(0.05)
    finally:
        consumer.close()
