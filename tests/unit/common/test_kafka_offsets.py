"""Watermarks of a topic whose partitions have no leader yet."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from include.common.kafka import offsets as kafka_offsets
from include.common.kafka.offsets import Watermarks


class LeaderlessConsumer:
    """Answers after `refusals` errors of one code."""

    def __init__(self, code: int, refusals: int) -> None:
        self.code, self.refusals = code, refusals

    def get_watermark_offsets(self, partition: TopicPartition, **_: Any) -> tuple[int, int]:
        if self.refusals:
            self.refusals -= 1
            raise KafkaException(KafkaError(self.code))
        return partition.partition, 7


def test_a_partition_without_leader_is_asked_again() -> None:
    for code in (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE):
        consumer: Any = LeaderlessConsumer(code, refusals=2)
        assert kafka_offsets._watermarks(consumer, "t", [0, 1]) == {0: Watermarks(0, 7), 1: Watermarks(1, 7)}


def test_not_for_ever_and_not_for_another_error(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer: Any = LeaderlessConsumer(KafkaError.UNKNOWN_TOPIC_OR_PART, refusals=1)
    with pytest.raises(KafkaException):
        kafka_offsets._watermarks(consumer, "t", [0])
    monkeypatch.setattr(kafka_offsets, "TIMEOUT_S", 0.2)
    consumer = LeaderlessConsumer(KafkaError.NOT_LEADER_FOR_PARTITION, refusals=1_000)
    with pytest.raises(KafkaException):
        kafka_offsets._watermarks(consumer, "t", [0])
    assert consumer.refusals > 990
