"""Tasks of ops__migrate_store: PostgreSQL schema, topics, Hive tables. Each is safe to run twice."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from include.common.hive.metastore import Metastore, MetastoreError, open_metastore
from include.common.hive.tables import TABLES
from include.common.kafka.topics import (
    EVENTS_PARTITIONS,
    TopicError,
    TopicSpec,
    check_partitions,
    control_topic,
    create_missing_topics,
)
from include.common.migrate import MigrationError, migrate
from include.common.names import Conn
from include.orchestration.job_environment import data_dir, events_topic, features_dsn, metastore_uri

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

log = logging.getLogger(__name__)

RETENTION_HOURS = 7 * 24
"""More than a new stream generation reads back (a session's greatest length, its gap and the lateness)."""
_HOUR_MS = 3_600_000

PARAMS: Final = {
    "partitions": Param(
        EVENTS_PARTITIONS, type="integer", minimum=1, maximum=1000, title="Partitions of the events topic",
        description="A topic that exists with another number fails the run. It cannot be changed later "
        "without a new stream generation.",
    ),
    "replication_factor": Param(
        None, type=["null", "integer"], minimum=1, maximum=10, title="Replication factor",
        description="Empty: what the broker has as its default. Of new topics only.",
    ),
    "retention_hours": Param(
        RETENTION_HOURS, type="integer", minimum=-1, title="Retention of the events topic, hours",
        description="How long Kafka keeps an event, by its record's time; -1: for ever. Of a new topic only.",
        **{"not": {"const": 0}},
    ),
}  # fmt: skip
"""The trigger form."""


@dataclass(frozen=True)
class TopicForm:
    """What the trigger form says of the events topic. None: the broker's default."""

    partitions: int
    replication_factor: int | None
    retention_hours: int

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Self:
        """The form of a run."""
        return cls(params["partitions"], params["replication_factor"], params["retention_hours"])

    def specs(self, events: str) -> list[TopicSpec]:
        """Events topic `events`, and the control topic."""
        keep_ms = -1 if self.retention_hours == -1 else self.retention_hours * _HOUR_MS
        return [
            TopicSpec(events, self.partitions, self.replication_factor, keep_ms),
            control_topic(replication_factor=self.replication_factor),
        ]


def migrate_database() -> list[str]:
    """Bring the feature database up to date; returns the migrations applied."""
    try:
        applied = migrate(features_dsn())
    except MigrationError as error:
        raise AirflowFailException(str(error)) from error  # a retry finds the same files
    log.info("applied: %s", ", ".join(applied) or "nothing, the database is up to date")
    return applied


def create_topics() -> list[str]:
    """Make the topics that are missing, as the run's form says; returns their names."""
    from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook

    form = TopicForm.of(get_current_context()["params"])
    try:
        return ensure_topics(KafkaAdminClientHook(Conn.KAFKA).get_conn, form.specs(events_topic()))
    except TopicError as error:
        raise AirflowFailException(str(error)) from error


def ensure_topics(admin: "AdminClient", specs: list[TopicSpec]) -> list[str]:
    """Make the topics that are missing; returns their names.

    Raises TopicError where one that was there has another number of partitions.
    """
    made = create_missing_topics(admin, specs)
    # of a topic just made the broker may not tell yet
    check_partitions(admin, [spec for spec in specs if spec.name not in made])
    for spec in specs:
        log.info("%s: %s", spec.name, f"made, {spec}" if spec.name in made else "was there and stays")
    return made


def create_hive_tables() -> list[str]:
    """Make the Hive tables that are missing and add new columns to the others; returns all names."""
    with open_metastore(metastore_uri()) as metastore:
        try:
            return ensure_hive_tables(metastore, data_dir() / "warehouse")
        except MetastoreError as error:
            raise AirflowFailException(str(error)) from error  # a retry finds the same table


def ensure_hive_tables(metastore: Metastore, warehouse: Path) -> list[str]:
    """The database and every table of include.common.hive.tables; returns their names. Raises MetastoreError."""
    for table in TABLES:
        metastore.ensure_table(table, warehouse)
        log.info("%s.%s is at %s", metastore.database, table.name, table.location(warehouse))
    return [table.name for table in TABLES]
