"""Spark driver that reads the topic and does nothing with it: the limit of the engine.

Same source, columns, micro-batch size and trigger as the stream; the records go to Spark's noop sink. The consumer has
Spark's own settings, or with --tuned those of the stream. Prints one JSON line, see `available_now`.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.available_now import run_available
from include.common.settings import Settings
from include.spark_jobs.session import batch_session, kafka_source
from include.spark_jobs.stream_sessionize.arguments import parse_arguments as stream_arguments
from include.spark_jobs.stream_sessionize.preflight import starting_offsets
from include.spark_jobs.stream_sessionize.reader import CONSUMER, Topics, read_records


def main() -> int:
    """Read to the topic's present end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control-topic", required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tuned", action="store_true", help="the stream's settings of the consumer")
    arguments = parser.parse_args()
    settings = Settings.from_env()
    topics = Topics(settings.events_topic, arguments.control_topic)
    spark = batch_session("kafka_limit")
    records = read_records(
        spark,
        kafka_source(settings),
        topics,
        starting_offsets(settings.kafka_client, topics),
        stream_arguments([]).max_offsets_per_trigger,
        CONSUMER if arguments.tuned else {},
    )
    sink = records.writeStream.format("noop").option("checkpointLocation", str(arguments.checkpoint))
    print(json.dumps(run_available(sink)))
    spark.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
