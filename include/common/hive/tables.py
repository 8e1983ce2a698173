"""The Hive database: every table's columns, stated once.

All tables are external Parquet, partitioned by `dt` (UTC date as text, `2026-11-24`) and, for raw events,
`hour` (0-23, UTC). Columns that hold a reading event come from the event contract itself.
"""

from typing import Final

from include.common.hive.schema import Column, HiveTable, HiveType
from include.common.names import Hive
from include.contract.derive import constraints


def event_columns() -> tuple[Column, ...]:
    """Columns of the contract's fields, in its order."""
    types = {"string": HiveType.TEXT, "number": HiveType.DOUBLE, "map": HiveType.TEXT_MAP}
    return tuple(
        Column(name, types.get(field.kind, HiveType.INT if field.fits_int32 else HiveType.BIGINT))
        for name, field in constraints().items()
    )


DT: Final = Column("dt", HiveType.TEXT, "UTC date")
HOUR: Final = Column("hour", HiveType.INT, "hour of the day, UTC")

_KAFKA: Final = (
    Column("topic", HiveType.TEXT),
    Column("kafka_partition", HiveType.INT),
    Column("kafka_offset", HiveType.BIGINT),
    Column("kafka_timestamp", HiveType.INSTANT, "timestamp of the Kafka record"),
)
_SLICE: Final = Column("slice_id", HiveType.TEXT, "archive slice (ops.archive_slices) that brought the row")

_RAW_COLUMNS: Final = (
    *event_columns(),
    Column("event_time", HiveType.INSTANT, "timestamp as an instant"),
    Column("value", HiveType.BINARY, "the record as produced, unknown fields included"),
    *_KAFKA,
    _SLICE,
)

RAW_EVENTS: Final = HiveTable(
    Hive.RAW_EVENTS, _RAW_COLUMNS, (DT, HOUR), ("topic", "kafka_partition", "kafka_offset"),
    "accepted events of slices that passed the raw gate; dt and hour by event time",
)  # fmt: skip
QUARANTINED_EVENTS: Final = HiveTable(
    Hive.QUARANTINED_EVENTS,
    (
        *_RAW_COLUMNS,
        Column(
            "failed_expectations", HiveType.TEXT_LIST,
            "critical expectations that this row broke, and those that look at the slice as a whole",
        ),
    ),
    (DT,), ("topic", "kafka_partition", "kafka_offset"),
    "accepted events of slices that the raw gate refused (quality.quarantine_slices says why)",
)  # fmt: skip
DEAD_LETTERS: Final = HiveTable(
    Hive.DEAD_LETTERS,
    (
        Column("key", HiveType.BINARY),
        Column("value", HiveType.BINARY),
        Column("reason", HiveType.TEXT),
        Column("detail", HiveType.TEXT),
        *_KAFKA,
        _SLICE,
    ),
    (DT,),
    ("topic", "kafka_partition", "kafka_offset"),
    "records that break the event contract, with the reason; dt by Kafka timestamp",
)
SESSION_FEATURES: Final = HiveTable(
    Hive.SESSION_FEATURES,
    (
        Column("session_id", HiveType.TEXT),
        Column("session_start_ms", HiveType.BIGINT),
        Column("episode_id", HiveType.TEXT),
        Column("user_id", HiveType.TEXT),
        Column("country", HiveType.TEXT),
        Column("device", HiveType.TEXT),
        Column("platform", HiveType.TEXT),
        Column("experiments", HiveType.TEXT_MAP),
        Column("ui_version", HiveType.TEXT),
        Column("genre", HiveType.TEXT, "of the episode as of started_at"),
        Column("status", HiveType.TEXT),
        Column("is_exit_tag", HiveType.BOOLEAN),
        Column("completion_rate", HiveType.DOUBLE),
        Column("max_scroll_ratio", HiveType.DOUBLE),
        Column("event_count", HiveType.INT),
        Column("scroll_event_count", HiveType.INT),
        Column("dwell_time_ms", HiveType.BIGINT),
        Column("started_at", HiveType.INSTANT),
        Column("ended_at", HiveType.INSTANT),
        Column("source_partition", HiveType.INT),
        Column("last_offset", HiveType.BIGINT),
        Column("last_event_kafka_at", HiveType.INSTANT),
        Column("generation", HiveType.INT, "stream generation that closed the reading"),
        Column("ledger_position", HiveType.BIGINT, "ops.stream_batches.position of the closing micro-batch"),
        Column("episode_rating", HiveType.DOUBLE, "of the episode as of started_at"),
    ),
    (DT,),
    ("session_id", "session_start_ms", "episode_id"),
    "closed readings; dt by started_at",
)

_CUT: Final = (
    Column("cut_id", HiveType.BIGINT, "model cut (ops.model_cuts) that the values are of"),
    Column("as_of", HiveType.INSTANT, "newest event time of the cut"),
)

USER_FEATURES_DAILY: Final = HiveTable(
    Hive.USER_FEATURES_DAILY,
    (
        *_CUT,
        Column("user_id", HiveType.TEXT),
        Column("final_reading_count", HiveType.BIGINT),
        Column("final_session_count", HiveType.BIGINT),
        Column("user_avg_completion_rate", HiveType.DOUBLE),
        Column("user_exit_rate", HiveType.DOUBLE),
        Column("user_avg_scroll_ratio", HiveType.DOUBLE),
        Column("user_avg_dwell_time_s", HiveType.DOUBLE),
        Column("user_readings_per_session", HiveType.DOUBLE),
        Column("favourite_genre", HiveType.TEXT),
        Column("favourite_genre_share", HiveType.DOUBLE),
        Column("favourite_tags", HiveType.TEXT_LIST),
        Column("usual_device", HiveType.TEXT),
        Column("usual_country", HiveType.TEXT),
    ),
    (DT,),
    ("user_id",),
    "marts.user_features as of the newest published cut of the day; dt = date of the cut's as_of",
)
EPISODE_FEATURES_DAILY: Final = HiveTable(
    Hive.EPISODE_FEATURES_DAILY,
    (
        *_CUT,
        Column("episode_id", HiveType.TEXT),
        Column("title_id", HiveType.TEXT),
        Column("title", HiveType.TEXT),
        Column("episode_number", HiveType.INT),
        Column("genre", HiveType.TEXT),
        Column("tags", HiveType.TEXT_LIST),
        Column("launch_date", HiveType.DATE),
        Column("episode_avg_rating", HiveType.DOUBLE),
        Column("final_reading_count", HiveType.BIGINT),
        Column("final_reader_count", HiveType.BIGINT),
        Column("episode_avg_completion_rate", HiveType.DOUBLE),
        Column("episode_exit_rate", HiveType.DOUBLE),
        Column("episode_avg_scroll_ratio", HiveType.DOUBLE),
        Column("episode_avg_dwell_time_s", HiveType.DOUBLE),
        Column("popularity_score", HiveType.DOUBLE),
        Column("current_popularity_rank", HiveType.BIGINT),
    ),
    (DT,),
    ("episode_id",),
    "marts.episode_features as of the newest published cut of the day; dt = date of the cut's as_of",
)
SEGMENT_FEATURES_DAILY: Final = HiveTable(
    Hive.SEGMENT_FEATURES_DAILY,
    (
        *_CUT,
        Column("country", HiveType.TEXT),
        Column("device", HiveType.TEXT),
        Column("final_reading_count", HiveType.BIGINT),
        Column("final_session_count", HiveType.BIGINT),
        Column("final_reader_count", HiveType.BIGINT),
        Column("segment_avg_completion_rate", HiveType.DOUBLE),
        Column("segment_exit_rate", HiveType.DOUBLE),
        Column("segment_avg_scroll_ratio", HiveType.DOUBLE),
        Column("segment_avg_dwell_time_s", HiveType.DOUBLE),
        Column("top_genre", HiveType.TEXT),
    ),
    (DT,),
    ("country", "device"),
    "marts.segment_features as of the newest published cut of the day; dt = date of the cut's as_of",
)
DAILY_MARTS: Final = {
    "user_features": USER_FEATURES_DAILY,
    "episode_features": EPISODE_FEATURES_DAILY,
    "segment_features": SEGMENT_FEATURES_DAILY,
}
"""Mart (table in schema marts) -> the Hive table that keeps it by day."""

CONTENT_QUALITY_DAILY: Final = HiveTable(
    Hive.CONTENT_QUALITY_DAILY,
    (
        *_CUT,
        Column("episode_id", HiveType.TEXT),
        Column("genre", HiveType.TEXT, "of the day's newest reading"),
        Column("reading_count", HiveType.BIGINT),
        Column("session_count", HiveType.BIGINT),
        Column("reader_count", HiveType.BIGINT),
        Column("completed_count", HiveType.BIGINT),
        Column("exited_count", HiveType.BIGINT),
        Column("timed_out_count", HiveType.BIGINT),
        Column("completed_share", HiveType.DOUBLE),
        Column("exit_rate", HiveType.DOUBLE),
        Column("timed_out_share", HiveType.DOUBLE),
        Column("avg_completion_rate", HiveType.DOUBLE),
        Column("reached_quarter_share", HiveType.DOUBLE),
        Column("reached_half_share", HiveType.DOUBLE),
        Column("reached_three_quarters_share", HiveType.DOUBLE),
        Column("exit_completion_rate_p50", HiveType.DOUBLE, "how far those came who left"),
        Column("scroll_reading_count", HiveType.BIGINT, "readings that carry a scroll ratio"),
        Column("avg_scroll_ratio", HiveType.DOUBLE),
        Column("scroll_events_per_reading", HiveType.DOUBLE),
        Column("avg_dwell_time_s", HiveType.DOUBLE),
        Column("dwell_time_s_p50", HiveType.DOUBLE),
        Column("dwell_time_s_p90", HiveType.DOUBLE),
        Column("dwell_time_s_p99", HiveType.DOUBLE),
    ),
    (DT,),
    ("episode_id",),
    "how an episode was read: final readings of session_features of this dt",
)


def _history(name: str, daily: HiveTable) -> HiveTable:
    """Values of a mart over time: its features, and when they came to be known."""
    about = (
        Column("publication_id", HiveType.BIGINT, "ops.mart_publications that brought the values"),
        Column("cut_id", HiveType.BIGINT, "model cut (ops.model_cuts) that they are of"),
        Column("generation", HiveType.INT, "stream generation of the cut"),
        Column("event_time", HiveType.INSTANT, "newest event time that they know"),
        Column("known_at", HiveType.INSTANT, "when they were published and could be read"),
        Column("is_removed", HiveType.BOOLEAN, "the key left the mart: from known_at on it has no values"),
    )
    features = tuple(column for column in daily.columns if column not in _CUT)
    return HiveTable(
        name,
        (*about, *features),
        (DT,),
        (*daily.key, "publication_id"),
        f"append-only: a row each time that a row of {daily.name} changed; dt = date of known_at",
    )


USER_FEATURE_HISTORY: Final = _history(Hive.USER_FEATURE_HISTORY, USER_FEATURES_DAILY)
EPISODE_FEATURE_HISTORY: Final = _history(Hive.EPISODE_FEATURE_HISTORY, EPISODE_FEATURES_DAILY)
MART_HISTORIES: Final = {"user_features": USER_FEATURE_HISTORY, "episode_features": EPISODE_FEATURE_HISTORY}
"""Mart (table in schema marts) -> the Hive table that keeps each of its values."""

PUBLISHED_TABLES: Final = (
    SESSION_FEATURES, CONTENT_QUALITY_DAILY, *DAILY_MARTS.values(), *MART_HISTORIES.values(),
)  # fmt: skip
"""What features__publish_batch writes."""
SLICE_TABLES: Final = (RAW_EVENTS, DEAD_LETTERS, QUARANTINED_EVENTS)
"""Those that the archive adds files to, slice by slice."""
TABLES: Final = (*SLICE_TABLES, *PUBLISHED_TABLES)
