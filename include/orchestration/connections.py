"""The one list of connections, variables and pools that an Airflow needs to run the project's DAGs.

The native stack, airflow_settings.yaml (Astro CLI) and docker-compose are held to it by tests. Values of
connections are the business of each way of running; what every one must have stands here.
"""

from dataclasses import dataclass
from typing import Final

from include.common.names import Conn, Pool, Var


@dataclass(frozen=True)
class ConnectionSpec:
    """A connection: `fields` and `extra` must be filled, the others may."""

    conn_id: str
    conn_type: str
    purpose: str
    fields: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class VariableSpec:
    """A variable; `default` None where it must be set (every way of running knows its own)."""

    key: str
    meaning: str
    default: str | None = None


@dataclass(frozen=True)
class PoolSpec:
    """A pool."""

    name: str
    slots: int
    description: str


CONNECTIONS: Final = (
    ConnectionSpec(
        Conn.KAFKA, "kafka", "the event topics; extra is librdkafka's configuration",
        extra=("bootstrap.servers", "group.id"),
    ),
    ConnectionSpec(
        Conn.POSTGRES, "postgres", "the feature database, as its owner",
        fields=("host", "port", "login", "password", "schema"),
    ),
    ConnectionSpec(
        Conn.SPARK, "spark", "where Spark jobs run; host is the master (local[2], spark://...)",
        fields=("host",), extra=("deploy-mode", "spark-binary"),
    ),
    ConnectionSpec(
        Conn.HIVESERVER2, "hiveserver2", "SQL over the batch store",
        fields=("host", "port", "schema"), extra=("auth_mechanism",),
    ),
    ConnectionSpec(
        Conn.METASTORE, "hive_metastore", "partitions of the batch store", fields=("host", "port")
    ),
    ConnectionSpec(
        Conn.SLACK, "slackwebhook", "alerts; password is the webhook's token", fields=("host", "password")
    ),
    ConnectionSpec(
        Conn.ERASURE_KEY, "generic", "password is the key that erased readers are told by", fields=("password",)
    ),
    ConnectionSpec(
        Conn.AIRFLOW_METADATA, "postgres", "Airflow's own database, to search it for erased readers; a role that reads",
        fields=("host", "port", "login", "password", "schema"),
    ),
    ConnectionSpec(
        Conn.AIRFLOW_API, "http", "Airflow's REST API, to delete runs whose form names an erased reader",
        fields=("host", "login", "password"),
    ),
)  # fmt: skip

VARIABLES: Final = (
    VariableSpec(Var.DATA_DIR, "folder of landing, checkpoints, staging, warehouse and the stream driver's state"),
    VariableSpec(Var.RUNBOOK_URL, "address that a runbook's file name is added to"),
    VariableSpec(Var.DOCS_URL, "address that the docs folder (reports, Data Docs, dbt docs) is served at"),
    VariableSpec(
        Var.NEWEST_EVENT_LIMIT_S, "seconds that the newest event on the topic may be old (Kafka time)", "600"
    ),
    VariableSpec(Var.PLATFORM_SILENCE_LIMIT_S, "seconds that each platform may be silent (Kafka time)", "1800"),
    VariableSpec(Var.STREAM_LAG_LIMIT, "records that the stream may be behind the topic's end", "100000"),
    VariableSpec(Var.EVENTS_PARTITIONS, "partitions that the events topic must have", "3"),
    VariableSpec(
        Var.STREAM_PROGRESS_LIMIT_S, "seconds without a commit of the stream while records wait", "120"
    ),
    VariableSpec(
        Var.STREAM_LAG_GROWTH_LIMIT, "records that the stream may fall further behind in 10 minutes", "20000"
    ),
    VariableSpec(Var.DEAD_LETTER_LIMIT_PERCENT, "dead letters in 100 records of 10 minutes", "1"),
    VariableSpec(
        Var.FRESHNESS_LIMIT_S, "seconds from Kafka to the commit that 99 % of records may take", "4"
    ),
)  # fmt: skip

POOLS: Final = (
    PoolSpec(Pool.GX, 1, "Great Expectations: one import at a time"),
    PoolSpec(Pool.SPARK, 1, "short Spark batch jobs"),
    PoolSpec(Pool.DBT, 2, "dbt models"),
)


def variable_default(key: str) -> str:
    """Default of variable `key`; raises KeyError for one that is unknown or has none."""
    default = {spec.key: spec.default for spec in VARIABLES}[key]
    if default is None:
        raise KeyError(f"variable {key} has no default: set it")
    return default
