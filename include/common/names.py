"""The one registry of names: topics, tables, connections, variables, pools, assets, DAG ids.

Nothing else in the project spells such a name in a string. Plain constants, no imports but the
standard library, so that a DAG file may import it at parse time.
"""

from typing import Final


class Topic:
    """Kafka topics."""

    EVENTS: Final = "webtoon_user_events"
    """Reading events; key = session_id, value = JSON of the event contract."""
    STREAM_CONTROL: Final = "webtoon_stream_control"
    """Wall-clock ticks for the stream; low volume, one partition."""


class Conn:
    """Airflow connection ids; the same in Docker (airflow_settings.yaml) and natively."""

    KAFKA: Final = "kafka_default"
    POSTGRES: Final = "postgres_features"
    SPARK: Final = "spark_default"
    HIVESERVER2: Final = "hiveserver2_default"
    METASTORE: Final = "metastore_default"
    SLACK: Final = "slack_default"
    ERASURE_KEY: Final = "erasure_key"
    """Its password is the key that erased readers are told by (include.common.erasure.erasures)."""
    AIRFLOW_METADATA: Final = "airflow_metadata"
    """Airflow's own database, as a role that may read it."""
    AIRFLOW_API: Final = "airflow_api"
    """Airflow's REST API, as a user that may delete runs."""


class Var:
    """Airflow variable keys."""

    DATA_DIR: Final = "webtoon_data_dir"
    """Folder of landing, checkpoints, staging and the Hive warehouse."""
    RUNBOOK_URL: Final = "webtoon_runbook_url"
    """Where `docs/runbooks/<name>.md` can be opened; a prefix that a runbook's name is added to."""
    DOCS_URL: Final = "webtoon_docs_url"
    """Where a browser finds the docs folder: Data Docs under gx/, dbt docs under dbt/, reports under reports/."""
    NEWEST_EVENT_LIMIT_S: Final = "webtoon_newest_event_limit_seconds"
    """Producer health: the newest event on the topic must be younger than this."""
    PLATFORM_SILENCE_LIMIT_S: Final = "webtoon_platform_silence_limit_seconds"
    """Producer health: each platform must have sent something within this."""
    STREAM_LAG_LIMIT: Final = "webtoon_stream_lag_limit_records"
    """Producer health: the stream may be this many records behind the topic's end."""
    EVENTS_PARTITIONS: Final = "webtoon_events_partitions"
    """Producer health: the events topic must have this many partitions."""
    STREAM_PROGRESS_LIMIT_S: Final = "webtoon_stream_progress_limit_seconds"
    """Stream health: it must commit something within this while records wait."""
    STREAM_LAG_GROWTH_LIMIT: Final = "webtoon_stream_lag_growth_limit_records"
    """Stream health: it may fall this many records further behind in ten minutes."""
    DEAD_LETTER_LIMIT_PERCENT: Final = "webtoon_dead_letter_limit_percent"
    """Stream health: this share of ten minutes' records may be dead letters."""
    FRESHNESS_LIMIT_S: Final = "webtoon_freshness_limit_seconds"
    """Stream health: 99 % of ten minutes' records must be committed within this, from their Kafka time."""


class Pool:
    """Airflow pools."""

    GX: Final = "gx"
    """Great Expectations imports for 8 s and wants a core: one at a time."""
    SPARK: Final = "spark"
    """Short Spark batch jobs (archive, publication); the stream does not count."""
    DBT: Final = "dbt"


class Dag:
    """DAG ids, `<domain>__<verb_noun>`."""

    MIGRATE_STORE: Final = "ops__migrate_store"
    REFERENCE_LOAD: Final = "reference__load"
    PRODUCE_EVENTS: Final = "simulate__produce_events"
    SESSIONIZE: Final = "stream__sessionize"
    SEND_TICK: Final = "stream__send_tick"
    ROLL_OUT: Final = "stream__roll_out"
    WATCH_PRODUCERS: Final = "stream__watch_producers"
    WATCH_PROGRESS: Final = "stream__watch_progress"
    ARCHIVE: Final = "events__archive"
    RELEASE_SLICE: Final = "quality__release_slice"
    MODEL: Final = "features__model"
    PUBLISH_BATCH: Final = "features__publish_batch"
    RECONCILE: Final = "features__reconcile"
    BACKFILL: Final = "features__backfill"
    BUILD_DOCS: Final = "ops__build_docs"
    MAINTAIN: Final = "ops__maintain"
    WATCH_FRESHNESS: Final = "ops__watch_freshness"
    REPORT_DAILY: Final = "report__daily"
    TRACE_VALUE: Final = "ops__trace_value"
    ERASE_USER: Final = "privacy__erase_user"
    PROVE_ERASURES: Final = "privacy__prove_erasures"


class AssetName:
    """Airflow asset names (the Asset objects stand in include.orchestration.assets)."""

    RAW_EVENTS: Final = "hive_raw_events"
    REFERENCE: Final = "reference"
    FEATURE_MARTS: Final = "feature_marts"
    BATCH_FEATURES: Final = "hive_batch_features"


class Pg:
    """PostgreSQL tables and views, schema-qualified. Each one's writer stands in docs/data-flow.md and the migration."""

    # reference: reference__load
    TITLES: Final = "reference.titles"
    EPISODE_METADATA: Final = "reference.episode_metadata"
    COUNTRY_TIME_ZONES: Final = "reference.country_time_zones"
    EXPERIMENTS: Final = "reference.experiments"
    THRESHOLDS: Final = "reference.thresholds"
    # realtime: the stream; the same tables of another generation in the two schemas after it
    REALTIME_SCHEMA: Final = "realtime"
    REALTIME_SHADOW_SCHEMA: Final = "realtime_shadow"
    REALTIME_RETIRED_SCHEMA: Final = "realtime_retired"
    SESSION_FEATURES: Final = "realtime.session_features"
    USER_FEATURES: Final = "realtime.user_features"
    EPISODE_FEATURES: Final = "realtime.episode_features"
    # quality
    GATE_RESULTS: Final = "quality.gate_results"
    QUARANTINE_SLICES: Final = "quality.quarantine_slices"
    LATE_EVENTS: Final = "quality.late_events"
    RECONCILIATION: Final = "quality.reconciliation"
    # ops
    STREAM_GENERATIONS: Final = "ops.stream_generations"
    STREAM_BATCHES: Final = "ops.stream_batches"
    STREAM_PROGRESS: Final = "ops.stream_progress"
    STREAM_CONTROL: Final = "ops.stream_control"
    ROLL_OUT_COMPARISONS: Final = "ops.roll_out_comparisons"
    ARCHIVE_SLICES: Final = "ops.archive_slices"
    MODEL_CUTS: Final = "ops.model_cuts"
    MART_PUBLICATIONS: Final = "ops.mart_publications"
    MART_CHANGES: Final = "ops.mart_changes"
    PUBLICATIONS: Final = "ops.publications"
    BACKFILLS: Final = "ops.backfills"
    PRUNE_REQUESTS: Final = "ops.prune_requests"
    PRUNINGS: Final = "ops.prunings"
    UNREFERENCED_FOLDERS: Final = "ops.unreferenced_folders"
    FRESHNESS: Final = "ops.freshness"
    DEADLINE_MISSES: Final = "ops.deadline_misses"
    ERASURES: Final = "ops.erasures"
    ERASURE_STEPS: Final = "ops.erasure_steps"
    ERASURE_SEARCHES: Final = "ops.erasure_searches"
    # schemas that dbt and the publish task fill
    MARTS_CANDIDATE_SCHEMA: Final = "marts_candidate"
    MARTS_SCHEMA: Final = "marts"


class Hive:
    """Hive database and its external Parquet tables."""

    DATABASE: Final = "webtoon"
    RAW_EVENTS: Final = "raw_events"
    DEAD_LETTERS: Final = "dead_letters"
    QUARANTINED_EVENTS: Final = "quarantined_events"
    SESSION_FEATURES: Final = "session_features"
    USER_FEATURES_DAILY: Final = "user_features_daily"
    EPISODE_FEATURES_DAILY: Final = "episode_features_daily"
    SEGMENT_FEATURES_DAILY: Final = "segment_features_daily"
    CONTENT_QUALITY_DAILY: Final = "content_quality_daily"
    USER_FEATURE_HISTORY: Final = "user_feature_history"
    EPISODE_FEATURE_HISTORY: Final = "episode_feature_history"


MARTS: Final = ("user_features", "episode_features", "segment_features")
"""Tables that dbt builds in `marts_candidate` and the publish task moves to `marts`."""
