"""The Kafka source of the stream: events with their bucket, and wall-clock ticks for every bucket."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from include.spark_jobs.stream_sessionize.packing import PACKED_SCHEMA, Packer

Offsets = dict[str, int]
"""Kafka partition (as text, the way Spark writes it) -> the next offset to read."""

CONSUMER: Final = {
    # Spark asks for a partition's ends after every poll, behind the consumer's own fetch on the same connection: few
    # polls, and a fetch that waits for new records for 20 ms only, not for half a second
    "kafka.max.poll.records": "20000",
    "kafka.fetch.max.wait.ms": "20",
    "kafka.max.partition.fetch.bytes": str(8 * 2**20),
}
"""Settings of Spark's Kafka consumers (docs/adr/0021-where-the-stream-s-time-goes.md)."""

TICK_PARTITION = -1
"""`partition` of a record that is a tick and no event."""


@dataclass(frozen=True)
class Topics:
    """Two topics in one source, so that a micro-batch has one offset log entry for both."""

    events: str
    control: str


def read_records(
    spark: SparkSession,
    source: Mapping[str, str],
    topics: Topics,
    starting: dict[str, Offsets],
    max_offsets: int,
    consumer: Mapping[str, str] = CONSUMER,
) -> DataFrame:
    """Stream of partition, offset, kafka_ms, key, value: the raw bytes, decoded by the contract in Python.

    `source`: session.kafka_source. `starting` (topic -> offsets) counts for a fresh checkpoint only; `max_offsets` bounds a micro-batch over all
    partitions. `consumer` are options of Spark's Kafka source. Fails rather than skip when Kafka no longer holds the
    next offset.
    """
    records = (
        spark.readStream.format("kafka")
        .options(**source)
        .option("subscribe", f"{topics.events},{topics.control}")
        .option("startingOffsets", json.dumps(starting))
        .option("maxOffsetsPerTrigger", str(max_offsets))
        .option("failOnDataLoss", "true")
        .options(**consumer)
        .load()
    )
    is_tick = F.col("topic") == F.lit(topics.control)
    return records.select(
        F.when(is_tick, F.lit(TICK_PARTITION)).otherwise(F.col("partition")).alias("partition"),
        F.col("offset"),
        F.unix_millis(F.col("timestamp")).alias("kafka_ms"),
        F.col("key"),
        F.col("value"),
    )


def with_bucket(records: DataFrame, buckets_per_partition: int, partitions: int) -> DataFrame:
    """Add `bucket`; a tick is there once for each of `partitions` * `buckets_per_partition` buckets.

    Equals include.contract.bucket.bucket_of for every record that the contract accepts. One that it refuses
    (its key may be missing) is counted in some bucket of its partition.
    """
    every_bucket = F.sequence(F.lit(0), F.lit(partitions * buckets_per_partition - 1))
    its_bucket = F.array(_bucket(buckets_per_partition))
    is_tick = F.col("partition") == F.lit(TICK_PARTITION)
    return records.withColumn("bucket", F.explode(F.when(is_tick, every_bucket).otherwise(its_bucket)))


def packed(records: DataFrame, tasks: int) -> DataFrame:
    """The records of `with_bucket` put together by bucket (PACKED_SCHEMA), for `tasks` tasks and by as many."""
    return records.coalesce(tasks).mapInArrow(Packer(tasks), PACKED_SCHEMA)


def _bucket(buckets_per_partition: int) -> Column:
    key_hash = F.crc32(F.coalesce(F.col("key"), F.lit(b""))) % F.lit(buckets_per_partition)
    return (F.col("partition") * F.lit(buckets_per_partition) + key_hash).cast("int")
