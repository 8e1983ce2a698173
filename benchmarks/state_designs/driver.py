"""Spark driver of one design over one topic; prints one JSON line: `seconds`, `records`, `rows`, `batches`.

`seconds` is from the first micro-batch's start to the last one's end, rows collected and dropped.
"""

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.state_designs.designs import DESIGNS
from include.common.settings import Settings
from include.spark_jobs.stream_sessionize.generations import Plan
from include.spark_jobs.stream_sessionize.job import parse_arguments as stream_arguments
from include.spark_jobs.stream_sessionize.job import spark_session
from include.spark_jobs.stream_sessionize.preflight import starting_offsets
from include.spark_jobs.stream_sessionize.reader import Topics, read_records, with_bucket


def main() -> int:
    """Read to the topic's present end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--design", choices=DESIGNS, required=True)
    parser.add_argument("--control-topic", required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--micro-batch", type=int, required=True)
    arguments = parser.parse_args()
    design, settings = DESIGNS[arguments.design], Settings.from_env()
    topics = Topics(settings.events_topic, arguments.control_topic)
    stream = stream_arguments(["--name", arguments.design])
    plan = Plan()
    spark = spark_session(stream, plan.state_partitions)
    starting = starting_offsets(settings.bootstrap_servers, topics)
    records = read_records(spark, settings.bootstrap_servers, topics, starting, arguments.micro_batch)
    bucketed = with_bucket(records, plan.buckets_per_partition, len(starting[topics.events]))
    rows = 0

    def collect(output: Any, batch_id: int) -> None:
        nonlocal rows
        rows += output.toArrow().num_rows

    query = (
        design.compose(bucketed)
        .writeStream.outputMode(design.output_mode)
        .option("checkpointLocation", str(arguments.checkpoint))
        .foreachBatch(collect)
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    recent = [json.loads(progress.json()) for progress in query._jsq.recentProgress()]
    batches = [progress for progress in recent if progress["numInputRows"] > 0]
    first, last = (datetime.fromisoformat(batches[index]["timestamp"]).timestamp() for index in (0, -1))
    seconds = last + batches[-1]["durationMs"]["triggerExecution"] / 1000 - first
    records_read = sum(progress["numInputRows"] for progress in batches)
    print(json.dumps({"seconds": seconds, "records": records_read, "rows": rows, "batches": len(batches)}))
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
