"""What only a first micro-batch pays for is paid beside its planning.

The JVM loads and compiles what it uses for the first time, Python workers are started and import their modules. Planning
a query keeps one thread busy for two seconds meanwhile. So the same plan runs once beside it, over a few records that the
contract refuses and into nothing (what it gains: docs/adr/0021).
"""

import threading
import time
from typing import TYPE_CHECKING

from include.spark_jobs.stream_sessionize.query import MicroBatchPlan
from include.spark_jobs.stream_sessionize.supervision import reason

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def start_warm_up(spark: "SparkSession", plan: MicroBatchPlan) -> threading.Thread:
    """Run `plan` once, in a thread; join it before Spark is stopped, with a limit: a Python worker that a full disk has cut
    off waits for ever (supervision.LostThreads). Where it fails the stream only starts slower; a line in the log says
    how long it took, or why it failed."""
    thread = threading.Thread(target=_warm_up, args=(spark, plan), name="warm-up", daemon=True)
    thread.start()
    return thread


def _warm_up(spark: "SparkSession", plan: MicroBatchPlan) -> None:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    started, tasks = time.monotonic(), plan.generation.plan.state_partitions
    try:
        records = spark.range(0, tasks, 1, tasks).selectExpr(
            "0 AS partition", "id AS offset", "id AS kafka_ms", "binary('') AS key", "binary('') AS value"
        )
        plan.changes(records, "warm-up").toArrow()
    except (PySparkException, Py4JError) as error:
        print(f"stream_sessionize: no warm-up: {reason(error)}", flush=True)
    else:
        print(f"stream_sessionize: warmed up in {time.monotonic() - started:.1f} s", flush=True)
