"""Spark driver of one design over one topic; prints one JSON line, see `available_now`.

Changed rows are collected and dropped.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.available_now import run_available
from benchmarks.state_designs.designs import DESIGNS
from include.common.settings import Settings
from include.spark_jobs.session import kafka_source
from include.spark_jobs.stream_sessionize.arguments import parse_arguments as stream_arguments
from include.spark_jobs.stream_sessionize.generations import Plan
from include.spark_jobs.stream_sessionize.preflight import starting_offsets
from include.spark_jobs.stream_sessionize.reader import Topics, read_records, with_bucket
from include.spark_jobs.stream_sessionize.spark import spark_session

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


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
    spark = spark_session(stream, arguments.checkpoint, plan.state_partitions)
    starting = starting_offsets(settings.kafka_client, topics)
    records = read_records(spark, kafka_source(settings), topics, starting, arguments.micro_batch)
    bucketed = with_bucket(records, plan.buckets_per_partition, len(starting[topics.events]))
    writer = design.compose(bucketed).writeStream.outputMode(design.output_mode)
    found = run_available(
        writer.option("checkpointLocation", str(arguments.checkpoint)).foreachBatch(_collect)
    )
    print(json.dumps(found))
    spark.stop()
    return 0


def _collect(output: "DataFrame", batch_id: int) -> None:
    output.toArrow()


if __name__ == "__main__":
    sys.exit(main())
