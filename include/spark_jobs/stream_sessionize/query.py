"""The query: what a micro-batch does between Kafka and the sink, and how it is started."""

import argparse
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.common.erasure.erasures import ErasedReaders
from include.spark_jobs.stream_sessionize.generations import Generation
from include.spark_jobs.stream_sessionize.reader import Offsets, Topics
from include.spark_jobs.stream_sessionize.sink import MicroBatchSink

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery


@dataclass(frozen=True)
class MicroBatchPlan:
    """From records to changes. See processor.SessionizeProcessor for the last three."""

    generation: Generation
    erased: ErasedReaders | None = None
    forgets: bool = False
    tells_times: bool = False

    def changes(self, records: "DataFrame", lineage: str) -> "DataFrame":
        """`changes.OUTPUT_SCHEMA` of `reader.read_records`; `lineage` names checkpoint and run for the workers' caches."""
        from include.spark_jobs.stream_sessionize.changes import OUTPUT_SCHEMA
        from include.spark_jobs.stream_sessionize.processor import SessionizeProcessor
        from include.spark_jobs.stream_sessionize.reader import packed, with_bucket

        generation = self.generation
        with_buckets = with_bucket(
            records, generation.plan.buckets_per_partition, len(generation.start_offsets)
        )
        return (
            packed(with_buckets, generation.plan.state_partitions)
            .groupBy("bucket_key")
            .transformWithState(
                statefulProcessor=SessionizeProcessor(
                    lineage,
                    generation.plan.rules,
                    tells_times=self.tells_times,
                    erased=self.erased,
                    forgets=self.forgets,
                ),
                outputStructType=OUTPUT_SCHEMA,
                outputMode="Update",
                timeMode="None",
            )
        )


def start_query(
    spark: "SparkSession",
    source: dict[str, str],
    topics: Topics,
    starting: dict[str, Offsets],
    plan: MicroBatchPlan,
    sink: MicroBatchSink,
    arguments: argparse.Namespace,
) -> "StreamingQuery":
    """Compose reader, plan and sink, and start the query."""
    from include.spark_jobs.stream_sessionize.reader import read_records

    generation = plan.generation
    records = read_records(
        spark,
        source,
        topics,
        {**starting, topics.events: generation.start_offsets},
        arguments.max_offsets_per_trigger,
    )
    stream = (
        plan.changes(records, f"{generation.checkpoint}#{uuid.uuid4().hex}")
        .writeStream.queryName(arguments.name)
        .outputMode("update")
        .option("checkpointLocation", str(generation.checkpoint))
        .foreachBatch(sink)
    )
    if arguments.stop_when_caught_up:
        return stream.trigger(availableNow=True).start()
    return stream.trigger(processingTime=f"{arguments.trigger_ms} milliseconds").start()
