"""Sensors that watch the producers, on the Kafka provider's hooks.

Why not the provider's own AwaitMessageSensor and AwaitMessageTriggerFunctionSensor: they wait for a message
that is still to come, read and commit as a consumer group, and sleep five seconds after each message that does
not match; they can see neither a topic's partitions nor the age of its newest event nor how far somebody else
is behind, and a time-out says only that it is one.

A sensor looks, and looks again every `poke_interval` for `wait` where something is wrong (mode reschedule: no
worker slot is held meanwhile). Then it fails with what it saw last, which is the `Why` of the alert. Limits are
Airflow variables, read while the task runs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook
from airflow.providers.apache.kafka.hooks.consume import KafkaConsumerHook
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout

from include.common.kafka.offsets import KafkaUnreachableError, Watermarks, until_led
from include.common.names import Conn, Pg, Var
from include.common.postgres import connect
from include.contract.event import Platform
from include.orchestration.job_environment import events_topic, features_dsn, kafka_client_config
from include.orchestration.limits import limit
from include.orchestration.sensors import platform_scan, producer_health
from include.orchestration.sensors.producer_health import StreamPosition, TopicFound

if TYPE_CHECKING:
    from airflow.sdk import Context
    from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, OffsetSpec

SCAN_TIMEOUT_S = 30.0
_POSITION = f"""
SELECT g.generation, b.end_offsets, b.committed_at
FROM {Pg.STREAM_GENERATIONS} AS g
LEFT JOIN LATERAL (
    SELECT end_offsets, committed_at FROM {Pg.STREAM_BATCHES}
    WHERE generation = g.generation ORDER BY batch_id DESC LIMIT 1
) AS b ON true
WHERE g.status = 'current'
"""  # noqa: S608 - constants


class ProducerUnhealthyError(AirflowSensorTimeout):
    """What a sensor saw last."""


class HealthSensor(BaseSensorOperator):
    """Base: `find` says what is wrong, or None.

    `wait`: how long to look again before failing. None at all for what has its patience in its limit.
    `answer_within_s`: how long Kafka may take for an answer.
    """

    def __init__(
        self, *, wait: timedelta = timedelta(0), answer_within_s: float = 10.0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("mode", "reschedule")
        super().__init__(timeout=wait, **kwargs)
        self.answer_within_s = answer_within_s
        self._fault: str | None = None

    def find(self) -> str | None:
        """What is wrong, with figures; raises KafkaUnreachableError, which counts as that."""
        raise NotImplementedError

    def poke(self, context: "Context") -> bool:
        """Whether all is well."""
        try:
            self._fault = self.find()
        except KafkaUnreachableError as error:
            self._fault = str(error)
        if self._fault is not None:
            self.log.warning(self._fault)
        return self._fault is None

    def execute(self, context: "Context") -> Any:
        """Look until all is well; raises ProducerUnhealthyError after `wait`."""
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            raise ProducerUnhealthyError(self._fault) from None

    @cached_property
    def _admin(self) -> "AdminClient":
        return KafkaAdminClientHook(Conn.KAFKA).get_conn

    @contextmanager
    def _kafka_answers(self) -> Iterator[None]:
        """Kafka's exceptions as KafkaUnreachableError."""
        from confluent_kafka import KafkaException

        try:
            yield
        except KafkaException as error:
            raise KafkaUnreachableError(
                f"no answer from Kafka at {kafka_client_config()['bootstrap.servers']} within "
                f"{self.answer_within_s:.0f} s ({error.args[0].str()}). Is it running, and is connection "
                f"{Conn.KAFKA} right?"
            ) from error

    def _topic(self) -> TopicFound | None:
        # not list_topics(topic): a broker that makes topics by itself would make it
        with self._kafka_answers():
            metadata = self._admin.list_topics(timeout=self.answer_within_s)
        found = metadata.topics.get(events_topic())
        if found is None:
            return None
        headless = (number for number, partition in found.partitions.items() if partition.leader < 0)
        return TopicFound(len(found.partitions), tuple(sorted(headless)))

    def _partitions(self) -> int:
        found = self._topic()
        if found is None:
            raise KafkaUnreachableError(f"topic {events_topic()} has gone")
        return found.partitions

    def _offsets(self, partitions: int, spec: "OffsetSpec") -> dict[int, "ListOffsetsResultInfo"]:
        """Offset (and time) of each partition by `spec`; -1 where there is none."""
        from confluent_kafka import TopicPartition

        asked = {TopicPartition(events_topic(), number): spec for number in range(partitions)}

        def ask() -> dict[int, "ListOffsetsResultInfo"]:
            answers = self._admin.list_offsets(asked, request_timeout=self.answer_within_s)
            return {part.partition: future.result() for part, future in answers.items()}

        with self._kafka_answers():
            return until_led(ask)

    def _ends(self, partitions: int) -> dict[int, int]:
        from confluent_kafka.admin import OffsetSpec

        return {
            number: info.offset for number, info in self._offsets(partitions, OffsetSpec.latest()).items()
        }


class BrokerSensor(HealthSensor):
    """Kafka answers."""

    def find(self) -> str | None:
        """Whether a broker describes its cluster."""
        with self._kafka_answers():
            brokers = self._admin.list_topics(timeout=self.answer_within_s).brokers
        self.log.info("brokers: %s", ", ".join(map(str, brokers.values())))
        return None


class TopicSensor(HealthSensor):
    """The events topic is there, with the expected number of partitions, each with a leader."""

    def find(self) -> str | None:
        """What is wrong with the topic."""
        found = self._topic()
        self.log.info("%s: %s", events_topic(), found)
        servers = kafka_client_config()["bootstrap.servers"]
        expected = int(limit(Var.EVENTS_PARTITIONS))
        return producer_health.topic_fault(events_topic(), found, expected, servers)


class NewestEventSensor(HealthSensor):
    """The newest event is young enough. By Kafka's record time: a late event is a sign of life, too."""

    def find(self) -> str | None:
        """How old it is, where that is too old."""
        from confluent_kafka.admin import OffsetSpec

        # the broker knows it: the record before the end may be a transaction's marker, or of a slow producer
        found = self._offsets(self._partitions(), OffsetSpec.max_timestamp())
        newest_ms = max(info.timestamp for info in found.values())
        newest = datetime.fromtimestamp(newest_ms / 1000, UTC) if newest_ms >= 0 else None
        self.log.info("newest event: %s", newest)
        allowed = timedelta(seconds=limit(Var.NEWEST_EVENT_LIMIT_S))
        return producer_health.newest_event_fault(events_topic(), newest, datetime.now(UTC), allowed)


class PlatformSensor(HealthSensor):
    """Every platform of the contract sent something lately."""

    def find(self) -> str | None:
        """Which did not."""
        from confluent_kafka.admin import OffsetSpec

        allowed = timedelta(seconds=limit(Var.PLATFORM_SILENCE_LIMIT_S))
        since = datetime.now(UTC) - allowed
        since_ms = int(since.timestamp() * 1000)
        partitions = self._partitions()
        ends = self._ends(partitions)
        starts = self._offsets(partitions, OffsetSpec.for_timestamp(since_ms))
        windows = {
            number: platform_scan.Window(starts[number].offset, end)
            for number, end in ends.items()
            if starts[number].offset >= 0
        }
        consumer = _ScanHook([], Conn.KAFKA).get_conn
        try:
            with self._kafka_answers():
                scan = platform_scan.scan(
                    consumer, events_topic(), windows, since_ms, tuple(Platform), SCAN_TIMEOUT_S
                )
        finally:
            consumer.close()
        self.log.info("since %s: %s", since, scan)
        return producer_health.platform_fault(events_topic(), scan, tuple(Platform), since, allowed)


class StreamLagSensor(HealthSensor):
    """The stream's last commit is near enough to the topic's end. Spark commits no offsets to Kafka."""

    def find(self) -> str | None:
        """How far behind, where that is too far. Raises PostgresUnreachableError."""
        from confluent_kafka.admin import OffsetSpec

        # position before ends: a record that comes between the two is lag, never the other way round
        position = stream_position()
        partitions = self._partitions()
        lows = self._offsets(partitions, OffsetSpec.earliest())
        held = {
            number: Watermarks(lows[number].offset, end) for number, end in self._ends(partitions).items()
        }
        self.log.info("held: %s, stream: %s", held, position)
        allowed = int(limit(Var.STREAM_LAG_LIMIT))
        return producer_health.stream_lag_fault(events_topic(), held, position, allowed, datetime.now(UTC))


class _ScanHook(KafkaConsumerHook):
    """The provider's consumer, as the scan needs it whatever the connection says."""

    def _get_client(self, config: dict[str, Any]) -> Any:
        return super()._get_client({**config, **platform_scan.CONSUMER_CONFIG})


def stream_position() -> StreamPosition | None:
    """Where the current generation stands by the ledger; None where the stream has never run.

    Raises PostgresUnreachableError, psycopg.Error.
    """
    with connect(features_dsn(), application_name="watch_producers") as connection:
        row = connection.execute(_POSITION).fetchone()
    if row is None:
        return None
    generation, end_offsets, committed_at = row
    return StreamPosition(
        generation, {int(number): offset for number, offset in (end_offsets or {}).items()}, committed_at
    )
