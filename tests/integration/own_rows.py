"""Rows of one test's own events, in a store that others write to as well, against their recomputation from the topic."""

import time
from collections.abc import Iterator

import psycopg
from confluent_kafka import Consumer, TopicPartition

from include.common.kafka.offsets import watermarks
from include.common.names import Topic
from tests.oracle import OracleResult, create_events_table, insert_events, run_oracle

_LIMIT_S = 60.0
_OWN = """
CREATE TEMPORARY VIEW own_readings AS SELECT * FROM {schema}.session_features WHERE session_id LIKE '{mark}%';
CREATE TEMPORARY VIEW own_users AS SELECT * FROM {schema}.user_features WHERE user_id LIKE '{mark}%';
CREATE TEMPORARY VIEW own_episodes AS SELECT * FROM {schema}.episode_features WHERE episode_id LIKE '{mark}%';
CREATE TEMPORARY VIEW own_late AS SELECT * FROM quality.late_events WHERE session_id LIKE '{mark}%'
"""


def assert_own_rows_as_recomputed(dsn: str, kafka: str, mark: str, schema: str = "realtime") -> OracleResult:
    """The readings, readers and episodes whose ids begin with `mark` are what their records on the topic make, row by row.

    Other events may share neither such an id nor a bucket whose clock they set ahead: ours must all have come in time.
    """
    with psycopg.connect(dsn) as connection:
        create_events_table(connection, "pg_temp.own_events")
        insert_events(connection, "pg_temp.own_events", _records(kafka, mark.encode()))
        connection.execute(_OWN.format(schema=schema, mark=mark).encode())
        result = run_oracle(
            connection, "pg_temp.own_events", "pg_temp.own_late", readings_table="pg_temp.own_readings",
            users_table="pg_temp.own_users", episodes_table="pg_temp.own_episodes",
        )  # fmt: skip
        result.assert_equal()
        return result


def _records(kafka: str, mark: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(partition, offset, kafka_ms, value) of the records on the topic now whose key begins with `mark`."""
    client = {"bootstrap.servers": kafka}
    marks = watermarks(client, Topic.EVENTS)
    consumer = Consumer({**client, "group.id": "own-rows", "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(Topic.EVENTS, number, it.low) for number, it in marks.items()])
        left = {number: it.high - it.low for number, it in marks.items()}
        deadline = time.monotonic() + _LIMIT_S
        while any(count > 0 for count in left.values()):
            assert time.monotonic() < deadline, f"not read in {_LIMIT_S} s: {left}"
            for message in consumer.consume(10_000, 0.5):
                assert message.error() is None, message.error()
                left[message.partition()] = marks[message.partition()].high - 1 - message.offset()
                if (message.key() or b"").startswith(mark):
                    yield message.partition(), message.offset(), message.timestamp()[1], message.value()
    finally:
        consumer.close()
