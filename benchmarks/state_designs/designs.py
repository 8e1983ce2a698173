"""The ways, by name: records (bucket, partition, offset, kafka_ms, key, value) in, changed rows out."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyspark.sql import functions as F

from benchmarks.state_designs.per_key import (
    OUTPUT_SCHEMA,
    STATE_SCHEMA,
    WholeStateProcessor,
    with_group_state,
)
from include.contract.rules import SessionRules
from include.spark_jobs.stream_sessionize.changes import OUTPUT_SCHEMA as LOG_SCHEMA
from include.spark_jobs.stream_sessionize.generations import Plan
from include.spark_jobs.stream_sessionize.processor import SessionizeProcessor
from include.spark_jobs.stream_sessionize.reader import packed

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_EVENT: Final = (
    "event_id STRING, user_id STRING, session_id STRING, episode_id STRING, event_type STRING, country STRING,"
    " device STRING, platform STRING, timestamp LONG, scroll_ratio DOUBLE, ui_version STRING"
)


@dataclass(frozen=True)
class Design:
    """A way to keep sessions. `lacks`: what of DESIGN section 4 it does not do."""

    title: str
    compose: Callable[["DataFrame"], "DataFrame"]
    output_mode: str = "update"
    lacks: str = ""


def _session_window(records: "DataFrame") -> "DataFrame":
    event = records.select(F.from_json(F.col("value").cast("string"), _EVENT).alias("event")).select(
        "event.*"
    )
    events = event.withColumn("at", F.timestamp_millis("timestamp")).withWatermark("at", "2 minutes")
    window = F.session_window("at", "30 minutes")
    return events.groupBy(window, "session_id", "episode_id").agg(
        F.count("*").alias("event_count"),
        F.sum((F.col("event_type") == "scroll").cast("int")).alias("scroll_event_count"),
        F.max("scroll_ratio").alias("max_scroll_ratio"),
        F.max(F.col("event_type") == "complete").alias("completed"),
        F.min_by("user_id", "at").alias("user_id"),
        F.min("at").alias("started_at"),
        F.max("at").alias("ended_at"),
    )


def _group_state(*key: str) -> Callable[["DataFrame"], "DataFrame"]:
    def compose(records: "DataFrame") -> "DataFrame":
        return records.groupBy(*key).applyInPandasWithState(
            with_group_state, OUTPUT_SCHEMA, STATE_SCHEMA, "update", "NoTimeout"
        )

    return compose


def _whole_state(records: "DataFrame") -> "DataFrame":
    return records.groupBy("key").transformWithStateInPandas(
        WholeStateProcessor(), OUTPUT_SCHEMA, "Update", "None"
    )


def _log(records: "DataFrame") -> "DataFrame":
    processor = SessionizeProcessor(uuid.uuid4().hex, SessionRules())
    together = packed(records, Plan().state_partitions)
    return together.groupBy("bucket_key").transformWithState(processor, LOG_SCHEMA, "Update", "None")


DESIGNS: Final = {
    "log": Design("bucket, log, transformWithState (ours)", _log),
    "blob": Design("bucket, one blob, applyInPandasWithState", _group_state("bucket")),
    "session_window": Design(
        "session_window aggregation in the JVM",
        _session_window,
        "append",
        lacks="rows before they are final, dwell time, repeats, re-keying, 24 h, validation, lateness by offset",
    ),
    "transform": Design(
        "session, transformWithStateInPandas",
        _whole_state,
        lacks="one clock a bucket: closing is each session's own",
    ),
    "group_state": Design(
        "session, applyInPandasWithState",
        _group_state("key"),
        lacks="one clock a bucket: closing is each session's own",
    ),
}
