"""Exactly the recorded offsets of a slice, as raw records."""

import json
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyspark.sql import DataFrame, SparkSession

    from include.common.archive.slices import Offsets, Slice


def read_slice(spark: "SparkSession", source: "Mapping[str, str]", piece: "Slice") -> "DataFrame":
    """Columns topic, kafka_partition, kafka_offset, kafka_timestamp, key, value.

    `source`: session.kafka_source. Fails rather than skip when Kafka no longer holds an offset. Only the slice's own partitions are asked
    for, so one that was added to the topic meanwhile does no harm.
    """
    return (
        spark.read.format("kafka")
        .options(**source)
        .option("assign", json.dumps({piece.topic: sorted(piece.end)}))
        .option("startingOffsets", _offsets(piece.topic, piece.start))
        .option("endingOffsets", _offsets(piece.topic, piece.end))
        .option("failOnDataLoss", "true")
        .load()
        .select(
            F.col("topic"),
            F.col("partition").alias("kafka_partition"),
            F.col("offset").alias("kafka_offset"),
            F.col("timestamp").alias("kafka_timestamp"),
            F.col("key"),
            F.col("value"),
        )
    )


def _offsets(topic: str, offsets: "Offsets") -> str:
    return json.dumps({topic: {str(number): offset for number, offset in offsets.items()}})
