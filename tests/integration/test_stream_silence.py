"""A topic that is silent for longer than Spark keeps Python workers that nobody uses."""

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from include.spark_jobs.stream_sessionize.worker_keeper import KEEP_AFTER_S
from tests.integration.stream_support import StreamJob, busy_topic, produce, scalar

SPARK_ENDS_THEM_AFTER_S = 60 + 10
"""PythonWorkerFactory.IDLE_WORKER_TIMEOUT_NS, and how often it looks."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def workers(session: int) -> set[int]:
    """Pids of the Python workers of a driver: children of a daemon with the same command line."""
    found = {
        process.pid: process.info["ppid"]
        for process in psutil.process_iter(["cmdline", "ppid"])
        if "pyspark.daemon" in (process.info["cmdline"] or []) and os.getsid(process.pid) == session
    }
    return {pid for pid, parent in found.items() if parent in found}


def test_the_workers_that_hold_the_open_sessions_outlive_it(
    kafka: str,
    topic_factory: Callable[..., str],
    stack_env: dict[str, str],
    spark_jars: str,
    feature_db: str,
    data_dir: Path,
) -> None:
    topic = topic_factory(partitions=3)
    job = StreamJob(stack_env, spark_jars, feature_db, data_dir, topic, f"ticks_{uuid.uuid4().hex[:8]}")
    records = busy_topic(7, 2_000, 3)
    with job.running() as process:
        produce(kafka, topic, records)
        counted = "SELECT coalesce(sum(events), 0) FROM ops.stream_batches"
        job.await_that("all events", lambda: bool(scalar(feature_db, counted) == len(records)), process, 120)
        before = workers(process.pid)
        assert before
        time.sleep(SPARK_ENDS_THEM_AFTER_S + KEEP_AFTER_S)
        assert workers(process.pid) == before
        process.terminate()
        assert process.wait(60) == 0, job.log.read_text()[-3000:]
