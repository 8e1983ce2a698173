"""Closed readings as rows of Hive's session_features."""

from typing import TYPE_CHECKING

from include.common.hive_tables import DT, SESSION_FEATURES

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


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


def dt_of_start() -> "object":
    """`dt`: UTC date of started_at (the session's time zone is UTC)."""
    from pyspark.sql import functions as F

    return F.date_format(F.col("started_at"), "yyyy-MM-dd")
