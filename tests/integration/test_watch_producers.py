"""Producer health: each sensor on a real broker and a real ledger, well and unwell; then the DAG on a whole Airflow."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from include.common.names import Var
from include.contract.event import Platform, encode
from include.orchestration.sensors import platform_scan
from include.orchestration.sensors.kafka_sensors import (
    BrokerSensor,
    HealthSensor,
    NewestEventSensor,
    PlatformSensor,
    ProducerUnhealthyError,
    StreamLagSensor,
    TopicSensor,
)
from local_stack.ports import ephemeral
from tests.integration.batch_support import event

MINUTE_MS = 60_000
Connections = Callable[..., None]


@pytest.fixture
def connect_kafka(monkeypatch: pytest.MonkeyPatch, kafka: str) -> Connections:
    """`connect_kafka(topic, servers=...)` gives the sensors' connection and topic."""

    def connect(topic: str, servers: str = kafka) -> None:
        extra = {"bootstrap.servers": servers, "group.id": "watch", "log_level": 0}
        monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": extra}))
        monkeypatch.setenv("WEBTOON_EVENTS_TOPIC", topic)

    return connect


@pytest.fixture
def set_variable(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], None]:
    """`set_variable(key, value)`; others have their defaults."""
    return lambda key, value: monkeypatch.setenv(f"AIRFLOW_VAR_{key.upper()}", str(value))


def send(
    kafka: str, topic: str, platforms: Iterable[Platform], *, age_ms: int = 0, partition: int | None = None
) -> None:
    """One event of each of `platforms`, with a Kafka time `age_ms` ago."""
    at_ms = int(time.time() * 1000) - age_ms
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5})
    where = {} if partition is None else {"partition": partition}
    for number, platform in enumerate(platforms):
        item = event(number, at_ms=at_ms, platform=platform)
        producer.produce(topic, encode(item), item.session_id.encode(), timestamp=at_ms, **where)
    assert producer.flush(30) == 0


def look(sensor_class: type[HealthSensor], **arguments: Any) -> None:
    """Run the sensor as a task does."""
    sensor_class(task_id="look", mode="poke", poke_interval=0.1, **arguments).execute({})


def test_a_broker_that_answers(connect_kafka: Connections, topic: str) -> None:
    connect_kafka(topic)
    look(BrokerSensor)


def test_a_closed_port_is_waited_for_and_then_named(connect_kafka: Connections, topic: str) -> None:
    address = f"127.0.0.1:{ephemeral()['kafka']}"
    connect_kafka(topic, address)
    with pytest.raises(ProducerUnhealthyError, match=f"no answer from Kafka at {address} within 1 s") as seen:
        look(BrokerSensor, answer_within_s=1, wait=timedelta(seconds=1.5))
    assert "connection kafka_default" in str(seen.value)


def test_the_topic(connect_kafka: Connections, set_variable: Any, topic_factory: Callable[..., str]) -> None:
    topic = topic_factory(partitions=3)
    connect_kafka(topic)
    look(TopicSensor)
    set_variable(Var.EVENTS_PARTITIONS, 12)
    with pytest.raises(ProducerUnhealthyError, match=f"{topic} has 3 partitions, expected 12"):
        look(TopicSensor)
    connect_kafka("no-such-topic")
    with pytest.raises(ProducerUnhealthyError, match=r"no-such-topic is not on 127\.0\.0\.1:\d+"):
        look(TopicSensor)
    for sensor in (NewestEventSensor, PlatformSensor):
        with pytest.raises(ProducerUnhealthyError, match="no-such-topic has gone"):
            look(sensor)


def test_the_newest_event(connect_kafka: Connections, set_variable: Any, kafka: str, topic: str) -> None:
    connect_kafka(topic)
    with pytest.raises(ProducerUnhealthyError, match=f"there is no event on {topic}"):
        look(NewestEventSensor)
    send(kafka, topic, [Platform.IOS], age_ms=11 * MINUTE_MS)
    with pytest.raises(
        ProducerUnhealthyError, match=r"no event on .* ago \(allowed 10 min, variable webtoon_newest"
    ):
        look(NewestEventSensor)
    send(kafka, topic, [Platform.IOS])
    look(NewestEventSensor)
    # a slow producer's old record is the last of its partition: the newest is still the newest
    send(kafka, topic, [Platform.IOS], age_ms=60 * MINUTE_MS)
    look(NewestEventSensor)
    set_variable(Var.NEWEST_EVENT_LIMIT_S, 0)
    with pytest.raises(ProducerUnhealthyError, match="allowed 0 s"):
        look(NewestEventSensor)


def test_a_producers_clock_that_is_ahead(connect_kafka: Connections, kafka: str, topic: str) -> None:
    connect_kafka(topic)
    send(kafka, topic, [Platform.WEB], age_ms=-30 * MINUTE_MS)
    with pytest.raises(ProducerUnhealthyError, match="a producer's clock is wrong"):
        look(NewestEventSensor)


def test_a_silent_platform(connect_kafka: Connections, kafka: str, topic: str) -> None:
    connect_kafka(topic)
    with pytest.raises(ProducerUnhealthyError, match=r"platform ios, android, web .* all of 0 records"):
        look(PlatformSensor)
    send(kafka, topic, [Platform.WEB], age_ms=40 * MINUTE_MS)
    send(kafka, topic, [Platform.ANDROID], age_ms=20 * MINUTE_MS)
    send(kafka, topic, [Platform.IOS] * 300)
    producer = Producer({"bootstrap.servers": kafka})
    dead_letter = encode(event(1, platform=Platform.WEB))
    producer.produce(topic, dead_letter, b"not its session")
    assert producer.flush(30) == 0
    with pytest.raises(
        ProducerUnhealthyError,
        match=r"platform web on .*1 dead letters among them; platforms seen: ios, android",
    ):
        look(PlatformSensor)
    send(kafka, topic, [Platform.WEB])
    look(PlatformSensor)


def test_the_watchers_consumer_leaves_no_offsets(connect_kafka: Connections, kafka: str, topic: str) -> None:
    connect_kafka(topic)
    send(kafka, topic, Platform)
    look(PlatformSensor)
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "watch"})
    (committed,) = consumer.committed([TopicPartition(topic, 0)], timeout=10)
    consumer.close()
    assert committed.offset < 0


def test_a_large_topic_is_read_within_the_bound(connect_kafka: Connections, kafka: str, topic: str) -> None:
    connect_kafka(topic)
    send(kafka, topic, [Platform.IOS] * 60_000, partition=0)
    send(kafka, topic, [Platform.ANDROID], partition=1)
    with pytest.raises(
        ProducerUnhealthyError, match=r"platform web on .*: (\d+), evenly spread, of 60001 "
    ) as seen:
        look(PlatformSensor)
    read = int(str(seen.value).split(": ")[1].split(",")[0])
    assert 0.99 * platform_scan.MAX_RECORDS <= read <= platform_scan.MAX_RECORDS + platform_scan.ROUNDS * 2


@pytest.fixture
def ledger(feature_db: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection]:
    """The stream's ledger, which the sensor reads through its connection."""
    parts = urlsplit(feature_db)
    fields = {
        "conn_type": "postgres", "host": parts.hostname, "port": parts.port, "login": parts.username,
        "password": parts.password, "schema": parts.path.strip("/"),
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_FEATURES", json.dumps(fields))
    with psycopg.connect(feature_db, autocommit=True) as connection:
        yield connection


def commit(ledger: psycopg.Connection, generation: int, batch_id: int, end: dict[str, int]) -> None:
    """One micro-batch in the ledger."""
    ledger.execute(
        "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
        " dead_letters, duplicates, late_events, rows_upserted, rows_deleted) VALUES (%s, %s, '{}', %s, 0, 0, 0, 0,"
        " 0, 0, 0)",
        (generation, batch_id, json.dumps(end)),
    )


def test_the_streams_lag(
    connect_kafka: Connections, set_variable: Any, kafka: str, topic: str, ledger: psycopg.Connection
) -> None:
    connect_kafka(topic)
    set_variable(Var.STREAM_LAG_LIMIT, 20)
    for partition in range(3):
        send(kafka, topic, [Platform.IOS] * 10, partition=partition)
    with pytest.raises(
        ProducerUnhealthyError, match=r"30 records behind .* \(allowed 20, .*; it has never run"
    ):
        look(StreamLagSensor)

    ledger.execute(
        "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules)"
        " VALUES (1, 'retired', 'c1', '{}'), (2, 'current', 'c2', '{}')"
    )
    commit(ledger, 1, 7, {"0": 10, "1": 10, "2": 10})
    with pytest.raises(ProducerUnhealthyError, match="generation 2 has committed nothing yet"):
        look(StreamLagSensor)
    commit(ledger, 2, 0, {"0": 5, "1": 0, "2": 0})
    with pytest.raises(
        ProducerUnhealthyError,
        match=r"25 records behind .*, 10 of them on partition [12] .* generation 2 committed last",
    ):
        look(StreamLagSensor)
    commit(ledger, 2, 1, {"0": 10, "1": 0, "2": 0})
    look(StreamLagSensor)
    commit(ledger, 2, 2, {"0": 10, "1": 11, "2": 10})
    with pytest.raises(ProducerUnhealthyError, match="partition 1 at 11, its end is 10"):
        look(StreamLagSensor)


def test_a_limit_that_is_no_number_is_named(
    connect_kafka: Connections, set_variable: Any, topic: str
) -> None:
    connect_kafka(topic)
    set_variable(Var.EVENTS_PARTITIONS, "three")
    with pytest.raises(ValueError, match="variable webtoon_events_partitions is 'three': set it to a number"):
        look(TopicSensor)
