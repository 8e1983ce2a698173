"""What Kafka holds of the events topic, in the terms of `start`."""

import time
from collections.abc import Mapping
from functools import partial

from include.common.kafka.offsets import TIMEOUT_S, KafkaUnreachableError, offsets_at, watermarks
from include.orchestration.roll_out.start import Held, Offsets


def held(client_config: Mapping[str, str], topic: str) -> Held:
    """What the topic holds now; raises KafkaUnreachableError."""
    marks = watermarks(client_config, topic)
    low = {str(partition): found.low for partition, found in marks.items()}
    times_at = partial(_times_at, client_config, topic)
    return Held(
        low=low,
        high={str(partition): found.high for partition, found in marks.items()},
        first_ms=times_at(low),
        offsets_at=lambda time_ms: _as_text(offsets_at(client_config, topic, [max(0, time_ms)])[0]),
        times_at=times_at,
    )


def _as_text(offsets: Mapping[int, int]) -> Offsets:
    return {str(partition): offset for partition, offset in offsets.items()}


def _times_at(client_config: Mapping[str, str], topic: str, offsets: Offsets) -> dict[str, int]:
    """Kafka time of the first record at or after each offset; nothing for a partition that ends before
    one."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    settings = {
        "group.id": "webtoon-roll-out",
        **client_config,
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
    consumer = Consumer(settings)
    waiting = set(offsets)
    found: dict[str, int] = {}
    deadline = time.monotonic() + TIMEOUT_S
    try:
        consumer.assign([TopicPartition(topic, int(it), offset) for it, offset in offsets.items()])
        while waiting:
            message = consumer.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise KafkaUnreachableError(
                    f"Kafka at {client_config.get('bootstrap.servers')} gave no record of {topic} within {TIMEOUT_S:.0f} s"
                )
            partition = str(message.partition())
            if message.error() is None and partition in waiting:
                found[partition] = message.timestamp()[1]
            waiting.discard(partition)
        return found
    except KafkaException as error:
        raise KafkaUnreachableError(f"Kafka: {error.args[0].str()}") from error
    finally:
        consumer.close()
