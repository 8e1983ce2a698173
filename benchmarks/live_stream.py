"""The stream as a standing process, with its minute's tick, and one stretch of an open loop measured on it."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg

from benchmarks.live_events import open_sessions, write_live
from benchmarks.stack import (
    STREAM_JOB,
    BenchmarkError,
    BenchStack,
    Stores,
    await_success,
    end_family,
    last_lines,
    say,
)
from benchmarks.visibility import (
    VisibilityPoller,
    await_visible,
    ends_of,
    freshness_ms,
    kafka_times,
    percentiles,
)
from include.simulator.producer import send
from local_stack.paths import PROJECT_ROOT

TICK_EVERY_S = 60.0
LEAD_S = 3.0
"""From the start of the producer's process to its first record."""
STOP_LIMIT_S = 90.0
CATCH_UP_S = 900.0


@dataclass(frozen=True)
class Stretch:
    """What is played: a file of `live_events`, and what of it is measured (seconds from its start)."""

    name: str
    file: Path
    rate: float
    warm_s: float
    seconds: float


def make_stretch(
    scratch: Path, name: str, rate: float, *, warm_s: float, seconds: float, readers: int, seed: int
) -> Stretch:
    """A stretch whose events are made and lie in a file in `scratch`."""
    file = scratch / f"{name}.events"
    say(f"{name}: making its events ...")
    # a little longer than what is measured: the last events shall meet the same load
    write_live(file, rate, warm_s + seconds + 2, readers, seed)
    return Stretch(name, file, rate, warm_s, seconds)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Where stretches lie; gone at the end."""
    cache = PROJECT_ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache) as scratch:
        yield Path(scratch)


@dataclass(frozen=True)
class Result:
    """Freshness of a stretch, and where the micro-batches spent their time (phase -> (median, p95) in ms)."""

    summary: dict[str, Any]
    phases: dict[str, tuple[float, float]]


@contextmanager
def running_stream(
    bench: BenchStack, stores: Stores, *arguments: str, ticks: bool = True
) -> Iterator["subprocess.Popen[bytes]"]:
    """The stream's command line with its defaults and `arguments`, and a tick a minute; stopped in good order."""
    log = stores.data_dir / "stream.log"
    argv = bench.spark_submit(STREAM_JOB, "--control-topic", stores.control_topic, *arguments)
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, env=bench.stream_environment(stores), cwd=PROJECT_ROOT, stdout=output, stderr=output
        )
    stop = threading.Event()
    ticker = threading.Thread(target=_tick, args=(bench.bootstrap, stores.control_topic, stop))
    if ticks:
        ticker.start()
    try:
        yield process
        if process.poll() is not None:
            raise BenchmarkError(f"the stream ended. {last_lines(log)}")
        process.send_signal(signal.SIGTERM)
        await_success("stopping the stream", process, log, STOP_LIMIT_S)
    finally:
        stop.set()
        if ticks:
            ticker.join()
        end_family(process)


def _tick(bootstrap: str, topic: str, stop: threading.Event) -> None:
    """What DAG stream__send_tick does."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": bootstrap})
    while not stop.wait(TICK_EVERY_S):
        producer.produce(topic, b"tick")
        producer.flush(10)


def preload(bench: BenchStack, topic: str, poller: VisibilityPoller, count: int, events_each: int) -> None:
    """Open `count` sessions, and wait until their rows can be read: the query runs then."""
    records = open_sessions(count, events_each, int(time.time() * 1000))
    send(records, {"bootstrap.servers": bench.bootstrap}, topic)
    await_visible(poller, ends_of(bench.bootstrap, topic), CATCH_UP_S)


def measure(
    bench: BenchStack, topic: str, dsn: str, poller: VisibilityPoller, stretch: Stretch, scratch: Path
) -> Result:
    """Play `stretch` and say how fresh each of its events was."""
    start = ends_of(bench.bootstrap, topic)
    log = scratch / f"{stretch.name}.log"
    start_ms = int((time.time() + LEAD_S) * 1000)
    argv = [
        sys.executable, "-m", "benchmarks.open_loop", "--bootstrap", bench.bootstrap, "--topic", topic,
        "--file", str(stretch.file), "--start-ms", str(start_ms),
    ]  # fmt: skip
    say(
        f"{stretch.name}: {stretch.rate:,.0f} events/s for {stretch.warm_s:.0f} + {stretch.seconds:.0f} s ..."
    )
    with log.open("wb") as output:
        producer = subprocess.Popen(
            argv, env=bench.environment(), cwd=PROJECT_ROOT, stdout=output, stderr=output
        )
    try:
        await_success("the producer", producer, log, LEAD_S + stretch.warm_s + stretch.seconds + 120)
    finally:
        end_family(producer)
    sent = json.loads(log.read_text().splitlines()[-1])
    end = ends_of(bench.bootstrap, topic)
    await_visible(poller, end, 300)
    window_ms = (start_ms + stretch.warm_s * 1000, start_ms + (stretch.warm_s + stretch.seconds) * 1000)
    seen = list(poller.seen)
    fresh = freshness_ms(kafka_times(bench.bootstrap, topic, start, end), start, seen, *window_ms)
    batches = [each for each in seen if window_ms[0] <= each.seen_at * 1000 < window_ms[1] + 1000]
    early = np.array([(each.seen_at - each.committed_at) * 1000 for each in batches])
    summary = {
        "rate": stretch.rate,
        "seconds": stretch.seconds,
        "events": len(fresh),
        **percentiles(fresh),
        "micro_batches": len(batches),
        "producer_behind_ms_max": sent["behind_ms_max"],
        "ledger_early_ms_p50": round(float(np.percentile(early, 50))),
        "ledger_early_ms_p99": round(float(np.percentile(early, 99))),
    }
    say(
        f"{stretch.name}: p50 {summary['p50_ms']} ms, p95 {summary['p95_ms']} ms, p99 {summary['p99_ms']} ms "
        f"({len(fresh):,} events, {len(batches)} micro-batches)"
    )
    return Result(summary, _phases(dsn, [each.batch_id for each in batches]))


def _phases(dsn: str, batch_ids: list[int]) -> dict[str, tuple[float, float]]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT key, percentile_cont(0.5) WITHIN GROUP (ORDER BY value::bigint),"
            " percentile_cont(0.95) WITHIN GROUP (ORDER BY value::bigint)"
            " FROM ops.stream_progress, jsonb_each_text(durations_ms) WHERE batch_id BETWEEN %s AND %s"
            " GROUP BY key ORDER BY 2 DESC",
            (min(batch_ids), max(batch_ids)),
        ).fetchall()
    return {str(name): (float(middle), float(high)) for name, middle, high in rows}
