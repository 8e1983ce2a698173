"""A topic that is silent for longer than Spark keeps Python workers that nobody uses."""

import time
from collections.abc import Callable

import pytest

from include.spark_jobs.stream_sessionize.worker_keeper import KEEP_AFTER_S
from tests.integration.stream_support import StreamJob, busy_topic, produce, python_workers, scalar

SPARK_ENDS_THEM_AFTER_S = 60 + 10
"""PythonWorkerFactory.IDLE_WORKER_TIMEOUT_NS, and how often it looks."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def test_the_workers_that_hold_the_open_sessions_outlive_it(
    kafka: str, topic_factory: Callable[..., str], stream_job: Callable[[str], StreamJob]
) -> None:
    topic = topic_factory(partitions=3)
    job = stream_job(topic)
    records = busy_topic(7, 2_000, 3)
    with job.running() as process:
        produce(kafka, topic, records)
        counted = "SELECT coalesce(sum(events), 0) FROM ops.stream_batches"
        job.await_that("all events", lambda: bool(scalar(job.dsn, counted) == len(records)), process, 120)
        before = python_workers(process.pid)
        assert before
        time.sleep(SPARK_ENDS_THEM_AFTER_S + KEEP_AFTER_S)
        assert python_workers(process.pid) == before
        process.terminate()
        assert process.wait(60) == 0, job.log.read_text()[-3000:]
