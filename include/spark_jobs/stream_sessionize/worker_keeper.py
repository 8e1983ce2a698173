"""Python workers outlive a minute in which nothing comes.

Spark ends those that nobody has used for a minute, and looks every ten seconds (PythonWorkerFactory.IDLE_WORKER_TIMEOUT_NS, a
constant of Spark 4.2). With them goes the cache of all open sessions (`bucket_log`): the next micro-batch starts new ones and
rebuilds every bucket from the state. The tick of stream__send_tick comes once a minute, a little sooner or later. So a job of
one record runs whenever no micro-batch has for half a minute; one worker that is used counts for all (what it saves:
docs/adr/0021).
"""

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from include.spark_jobs.stream_sessionize.supervision import reason

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

KEEP_AFTER_S: Final = 30.0


class WorkerKeeper:
    """Call `advance` every second or so. What it starts is a thread of its own: a worker that hangs must not keep the driver."""

    def __init__(self, spark: "SparkSession") -> None:
        self._spark = spark
        self._used_at = time.monotonic()
        self._job: DataFrame | None = None
        self._at_work: threading.Thread | None = None

    def advance(self, collected_at: float) -> None:
        """`collected_at`: when the newest micro-batch had gone through the workers (time.monotonic())."""
        self._used_at = max(self._used_at, collected_at)
        if time.monotonic() - self._used_at < KEEP_AFTER_S:
            return
        if self._at_work is not None and self._at_work.is_alive():
            return
        self._used_at = time.monotonic()
        self._at_work = threading.Thread(target=self._use_one, name="worker-keeper", daemon=True)
        self._at_work.start()

    def join(self, limit_s: float) -> None:
        """Wait for what is at work, before Spark is stopped."""
        if self._at_work is not None:
            self._at_work.join(limit_s)

    def _use_one(self) -> None:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        try:
            if self._job is None:  # planned once
                self._job = self._spark.range(0, 1, 1, 1).mapInArrow(as_they_are, "id BIGINT")
            self._job.collect()
        except (PySparkException, Py4JError) as error:
            print(f"stream_sessionize: Python workers are not kept: {reason(error)}", flush=True)


def as_they_are(batches: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """Runs in a Python worker."""
    yield from batches
