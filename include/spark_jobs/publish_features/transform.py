"""Closed readings as rows of Hive's session_features."""

from typing import TYPE_CHECKING

from include.common.hive_tables import DT, SESSION_FEATURES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from include.spark_jobs.publish_features.lineage import Succession


def with_genre(readings: "DataFrame", episodes: "DataFrame") -> "DataFrame":
    """Point-in-time join: the genre of the version valid at started_at, null where none is known."""
    from pyspark.sql import functions as F

    at = F.unix_micros(F.col("started_at"))
    valid = (
        (F.col("episode_id") == F.col("known_episode_id"))
        & (at >= F.col("valid_from_us"))
        & (at < F.col("valid_to_us"))
    )
    joined = readings.join(F.broadcast(episodes), on=valid, how="left")
    return joined.select(*SESSION_FEATURES.column_names())


def merged(current: "DataFrame | None", new: "DataFrame") -> "DataFrame":
    """Old and new rows, one a key (the one of the later generation and ledger position), with `dt` last."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    rows = new if current is None else current.unionByName(new)
    newest = Window.partitionBy(*SESSION_FEATURES.key).orderBy(
        F.col("generation").desc(), F.col("ledger_position").desc()
    )
    return (
        rows.withColumn("place", F.row_number().over(newest))
        .where(F.col("place") == 1)
        .drop("place")
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


def kept(current: "DataFrame", changed: "Succession | None") -> "DataFrame":
    """What partitions hold now, without the sessions that are published anew."""
    from pyspark.sql import functions as F

    return current if changed is None else current.where(F.col("session_start_ms") < changed.from_ms)


def dt_of_start() -> "object":
    """`dt`: UTC date of started_at (the session's time zone is UTC)."""
    from pyspark.sql import functions as F

    return F.date_format(F.col("started_at"), "yyyy-MM-dd")
