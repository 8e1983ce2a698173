"""Closed readings as rows of Hive's session_features."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from include.common.erasure.erasures import ErasedReaders
from include.common.hive.tables import CONTENT_QUALITY_DAILY, DT, SESSION_FEATURES

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

    from include.common.backfills import Backfill
    from include.spark_jobs.publish_features.lineage import Succession
    from include.spark_jobs.publish_features.reader import Cut


def with_reference(readings: "DataFrame", episodes: "DataFrame") -> "DataFrame":
    """Point-in-time join: genre and rating of the version valid at started_at, null where none is known."""
    from pyspark.sql import functions as F

    at = F.unix_micros(F.col("started_at"))
    valid = (
        (F.col("episode_id") == F.col("known_episode_id"))
        & (at >= F.col("valid_from_us"))
        & (at < F.col("valid_to_us"))
    )
    joined = readings.join(F.broadcast(episodes), on=valid, how="left")
    return joined.select(*SESSION_FEATURES.column_names())


def without_erased(readings: "DataFrame", erased: ErasedReaders) -> "DataFrame":
    """Less the readings of erased readers, where the landing still has some."""
    return readings.mapInArrow(partial(_without_erased, erased), readings.schema) if erased else readings


def _without_erased(erased: ErasedReaders, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    import pyarrow as pa

    for batch in batches:
        yield batch.filter(
            pa.array([user not in erased for user in batch.column("user_id").to_pylist()], pa.bool_())
        )


def merged(current: "DataFrame | None", new: "DataFrame") -> "DataFrame":
    """Old and new rows, one a key (the one of the later generation and ledger position), with `dt` last."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    rows = new.withColumn("is_new", F.lit(True))
    if current is not None:
        rows = current.withColumn("is_new", F.lit(False)).unionByName(rows)
    # a landing that is read again is joined with the reference as it is now
    newest = Window.partitionBy(*SESSION_FEATURES.key).orderBy(
        F.col("generation").desc(), F.col("ledger_position").desc(), F.col("is_new").desc()
    )
    return (
        rows.withColumn("place", F.row_number().over(newest))
        .where(F.col("place") == 1)
        .drop("place", "is_new")
        .withColumn(DT.name, dt_of_start())
    )


def of_their_generation(readings: "DataFrame", changed: "Succession | None") -> "DataFrame":
    """The landed readings that count: each session's of the generation that it is of."""
    from pyspark.sql import functions as F

    if changed is None:
        return readings
    began = F.col("session_start_ms")
    counts = F.lit(False)
    for span in changed.spans:
        counts = counts | (
            (F.col("generation") == span.generation) & (began >= span.from_ms) & (began < span.to_ms)
        )
    return readings.where(counts)


def unsettled(
    readings: "DataFrame", backfills: "Mapping[str, Backfill]", changed: "Succession | None"
) -> "DataFrame":
    """The landed readings that no rebuilt day has settled: else a repeated publication brought old rows back.

    What is published anew for another generation takes the place of rebuilt rows.
    """
    from pyspark.sql import functions as F

    settled = [
        (dt, number, position) for dt, it in backfills.items() for number, position in it.positions.items()
    ]
    if not settled:
        return readings
    days = readings.sparkSession.createDataFrame(
        settled, "settled_dt string, settled_generation int, settled_position bigint"
    )
    is_settled = (
        (dt_of_start() == F.col("settled_dt"))
        & (F.col("generation") == F.col("settled_generation"))
        & (F.col("ledger_position") <= F.col("settled_position"))
    )
    if changed is not None:
        is_settled = is_settled & (F.col("session_start_ms") < changed.from_ms)
    return readings.join(F.broadcast(days), on=is_settled, how="left_anti")


def kept(current: "DataFrame", changed: "Succession | None") -> "DataFrame":
    """What partitions hold now, without the sessions that are published anew."""
    from pyspark.sql import functions as F

    return current if changed is None else current.where(F.col("session_start_ms") < changed.from_ms)


def content_quality(readings: "DataFrame", cut: "Cut") -> "DataFrame":
    """How each episode was read on each day, from final readings; with `dt` last.

    Means are of decimals and percentiles exact, so that the order of rows does not matter.
    """
    from pyspark.sql import functions as F

    def mean(column: "Column | str") -> "Column":
        value = F.col(column) if isinstance(column, str) else column
        return F.avg(value.cast("decimal(22,12)")).cast("double")

    def share(condition: "Column") -> "Column":
        return mean(condition.cast("int"))

    def dwell_percentile(rank: float) -> "Column":
        return F.percentile(F.col("dwell_time_ms"), rank) / 1000

    status, rate = F.col("status"), F.col("completion_rate")
    newest = F.struct("started_at", "session_id", "session_start_ms")
    return (
        readings.withColumn(DT.name, dt_of_start())
        .groupBy(DT.name, "episode_id")
        .agg(
            F.max_by("genre", newest).alias("genre"),
            F.count("*").alias("reading_count"),
            F.countDistinct("session_id", "session_start_ms").alias("session_count"),
            F.countDistinct("user_id").alias("reader_count"),
            F.count_if(status == "completed").alias("completed_count"),
            F.count_if(status == "exited").alias("exited_count"),
            F.count_if(status == "timed_out").alias("timed_out_count"),
            share(status == "completed").alias("completed_share"),
            share(F.col("is_exit_tag")).alias("exit_rate"),
            share(status == "timed_out").alias("timed_out_share"),
            mean("completion_rate").alias("avg_completion_rate"),
            share(rate >= 0.25).alias("reached_quarter_share"),
            share(rate >= 0.5).alias("reached_half_share"),
            share(rate >= 0.75).alias("reached_three_quarters_share"),
            F.percentile(F.when(F.col("is_exit_tag"), rate), 0.5).alias("exit_completion_rate_p50"),
            F.count("max_scroll_ratio").alias("scroll_reading_count"),
            mean("max_scroll_ratio").alias("avg_scroll_ratio"),
            mean("scroll_event_count").alias("scroll_events_per_reading"),
            (mean("dwell_time_ms") / 1000).alias("avg_dwell_time_s"),
            dwell_percentile(0.5).alias("dwell_time_s_p50"),
            dwell_percentile(0.9).alias("dwell_time_s_p90"),
            dwell_percentile(0.99).alias("dwell_time_s_p99"),
        )
        .withColumn("cut_id", F.lit(cut.cut_id).cast("bigint"))
        .withColumn("as_of", F.lit(cut.as_of))
        .select(*CONTENT_QUALITY_DAILY.column_names(), DT.name)
    )


def dt_of_start() -> "Column":
    """`dt`: UTC date of started_at (the session's time zone is UTC)."""
    from pyspark.sql import functions as F

    return F.date_format(F.col("started_at"), "yyyy-MM-dd")
