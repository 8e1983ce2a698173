"""Offsets that a topic holds now."""

from collections.abc import Mapping
from typing import NamedTuple

TIMEOUT_S = 10.0


class KafkaUnreachableError(RuntimeError):
    """No broker answered, or it has no such topic; the message says which and the mend."""


class Watermarks(NamedTuple):
    """`low`: the first offset still held; `high`: the next offset that will be written."""

    low: int
    high: int


def watermarks(client_config: Mapping[str, str], topic: str) -> dict[int, Watermarks]:
    """Watermarks of every partition of `topic`; raises KafkaUnreachableError.

    `client_config` is librdkafka's, at least `bootstrap.servers`.
    """
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer({"group.id": "webtoon-watermarks", **client_config, "enable.auto.commit": False})
    servers = client_config.get("bootstrap.servers")
    try:
        metadata = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if metadata.error is not None or not metadata.partitions:
            raise KafkaUnreachableError(
                f"topic {topic!r} is not on {servers}. Create it (DAG ops__migrate_store), or set "
                f"WEBTOON_EVENTS_TOPIC to the right name"
            )
        return {
            number: Watermarks(
                *consumer.get_watermark_offsets(
                    TopicPartition(topic, number), timeout=TIMEOUT_S, cached=False
                )
            )
            for number in sorted(metadata.partitions)
        }
    except KafkaException as error:
        raise KafkaUnreachableError(
            f"no answer from Kafka at {servers} within {TIMEOUT_S:.0f} s ({error.args[0].str()}). "
            f"Is it running (make status), and is WEBTOON_KAFKA (or connection kafka_default) right?"
        ) from error
    finally:
        consumer.close()
