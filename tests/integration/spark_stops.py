"""Spark with RocksDB state, started and stopped again and again while its maintenance is at work.

`python -m tests.integration.spark_stops FOLDER TIMES`, run by test_stop_spark.py: a process of its own, for a JVM of its own.
The query is nobody's; session and stop are the stream's. Maintenance each 2 ms makes likely (about every other time on two
cores) what happens to the stream now and then: Spark's maintenance notices that its SparkEnv is gone while it is stopped.
"""

import argparse
import sys
import time
from pathlib import Path

from include.spark_jobs.stream_sessionize.spark import spark_session, stop_spark

MAINTENANCE_MS = "2"


def start_and_stop(checkpoint: Path) -> None:
    """A few micro-batches of a stateful query on eight state stores."""
    arguments = argparse.Namespace(name="stops", ui_port=None)
    spark = spark_session(arguments, checkpoint, 8, scrubs=True)
    # before its first query: a session's maintenance has the interval of that
    spark.conf.set("spark.sql.streaming.stateStore.maintenanceInterval", MAINTENANCE_MS)
    rows = spark.readStream.format("rate").option("rowsPerSecond", 50).load()
    stream = rows.groupBy("value").count().writeStream.outputMode("update").format("noop")
    query = stream.option("checkpointLocation", str(checkpoint)).start()
    while (progress := query.lastProgress) is None or progress["batchId"] < 2:
        if not query.isActive:
            raise RuntimeError(f"the query failed: {query.exception()}")
        time.sleep(0.1)
    query.stop()
    stop_spark(spark)


def main() -> int:
    """One line for each stop."""
    folder, times = Path(sys.argv[1]), int(sys.argv[2])
    for number in range(times):
        start_and_stop(folder / "checkpoint")
        print(f"stop {number + 1} done", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
