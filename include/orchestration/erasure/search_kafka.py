"""What the topic still holds of a reader. It removes by age alone: what is there is counted, and awaited."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from include.common.erasure.needles import Needles
from include.common.kafka.offsets import TIMEOUT_S, KafkaUnreachableError, watermarks
from include.orchestration.erasure.finding import Finding, NotSearchedError, Progress

_RECORDS: Final = 10_000
_POLL_S: Final = 0.5
"""A call waits so long for _RECORDS of them, also when there are no more."""
_SLACK: Final = timedelta(hours=1)
"""The broker looks every 5 minutes which segments are too old, and deletes a minute later."""


@dataclass(frozen=True)
class Retention:
    """How long a record may stay on the topic: a segment goes when its newest record is too old."""

    retention_ms: int
    segment_ms: int

    @property
    def is_endless(self) -> bool:
        """Nothing is ever removed by age."""
        return self.retention_ms < 0

    def clear_after(self, newest: datetime) -> datetime:
        """By then a record of `newest` is gone. Raises OverflowError for one without end."""
        if self.is_endless:
            raise OverflowError("the topic keeps records for ever")
        return newest + timedelta(milliseconds=self.retention_ms + self.segment_ms) + _SLACK


def search_topic(
    finding: Finding, client_config: Mapping[str, str], topic: str, needles: Needles
) -> datetime | None:
    """Look through every record that the topic holds now, key and value; returns the time of the newest one found."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    try:
        held = watermarks(client_config, topic)
    except KafkaUnreachableError as error:
        raise NotSearchedError(f"{finding.store}: {error}") from None
    progress = Progress(finding)
    newest_ms = -1
    counts: dict[int, int] = {}
    ends = {number: marks.high for number, marks in held.items() if marks.low < marks.high}
    heard = time.monotonic()
    consumer = Consumer(
        {
            "group.id": "webtoon-privacy-search", **client_config, "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "earliest",
        }
    )  # fmt: skip
    try:
        consumer.assign([TopicPartition(topic, number, held[number].low) for number in ends])
        while ends:
            messages = consumer.consume(_RECORDS, timeout=_POLL_S)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > TIMEOUT_S:
                raise NotSearchedError(
                    f"{finding.store}: no record and no end of partitions {sorted(ends)} within {TIMEOUT_S:.0f} s: look at "
                    f"the broker's log, then clear this task"
                )
            for message in messages:
                number, fault = message.partition(), message.error()
                if fault is not None and fault.code() != KafkaError._PARTITION_EOF:
                    raise NotSearchedError(f"{finding.store}: {fault.str()}")
                if fault is None:
                    data = (message.key() or b"") + b"\n" + (message.value() or b"")
                    finding.bytes += len(data)
                    if needles.is_in(data):
                        counts[number] = counts.get(number, 0) + 1
                        newest_ms = max(newest_ms, message.timestamp()[1])
                if number in ends and (fault is not None or message.offset() + 1 >= ends[number]):
                    del ends[number]
            progress.say(f"{topic}, {len(ends)} partitions to go")
    finally:
        consumer.close()
    for number, count in sorted(counts.items()):
        finding.add(f"{topic}, partition {number}", count)
    return datetime.fromtimestamp(newest_ms / 1000, UTC) if counts else None


def retention_of(client_config: Mapping[str, str], topic: str) -> Retention:
    """retention.ms and segment.ms of the topic. Raises NotSearchedError where the broker does not say."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

    client: Any = AdminClient({name: value for name, value in client_config.items() if name != "group.id"})
    (answer,) = client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    try:
        told = answer.result(timeout=TIMEOUT_S)
    except KafkaException as error:
        raise NotSearchedError(
            f"the broker does not say how long {topic} keeps records ({error.args[0].str()}): let connection "
            f"kafka_default describe the topic's configuration"
        ) from None
    return Retention(int(told["retention.ms"].value), int(told["segment.ms"].value))
