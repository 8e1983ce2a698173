"""Which platforms sent events lately: a bounded read of recent records, newest first.

The platform stands in the payload, and nothing indexes it. At most MAX_RECORDS records (and one more a round and
partition) are read, in up to ROUNDS rounds: the newest of every partition first, then further back, evenly spread
over the time asked for where it holds more. The read ends when every platform was seen, on a healthy topic after
the first round. A found event is proof; a platform that sends less than about one event in 10,000 can be missed
on a topic that holds more than MAX_RECORDS, so the finding says how many of how many records were read.
Memory: librdkafka's queue (QUEUE_KB, and one fetch more) and nothing else; time: `timeout_s`.
"""

import math
import time
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from include.common.kafka.offsets import KafkaUnreachableError
from include.contract.event import ContractError, Platform, accept_record
from include.orchestration.sensors.producer_health import PlatformScan

if TYPE_CHECKING:
    from confluent_kafka import Consumer

MAX_RECORDS = 30_000
ROUNDS = 20
QUEUE_KB = 8192
CONSUMER_CONFIG: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "queued.max.messages.kbytes": QUEUE_KB,
}
"""What the consumer of `scan` must be configured with."""


class Window(NamedTuple):
    """Offsets `start` (included) to `stop` (excluded) of a partition."""

    start: int
    stop: int


def plan_rounds(windows: Mapping[int, Window], max_records: int = MAX_RECORDS) -> list[dict[int, Window]]:
    """What to read of each partition, round by round: all where it is no more than `max_records`.

    Else the newest part of each of ROUNDS equal parts, `max_records` in all and at least one of each part.
    """
    total = sum(window.stop - window.start for window in windows.values())
    if total == 0:
        return []
    count = min(ROUNDS, math.ceil(total * ROUNDS / max_records))
    share = min(1.0, max_records / total)
    rounds: list[dict[int, Window]] = []
    for turn in range(count):
        parts = {}
        for number, (start, stop) in windows.items():
            # rounded up, so that the first round has the newest record of every partition
            newest, oldest = (stop - math.ceil((stop - start) * part / count) for part in (turn, turn + 1))
            if newest > oldest:
                parts[number] = Window(newest - max(1, int((newest - oldest) * share)), newest)
        rounds.append(parts)
    return rounds


def scan(
    consumer: "Consumer",
    topic: str,
    windows: Mapping[int, Window],
    since_ms: int,
    expected: Collection[Platform],
    timeout_s: float,
) -> PlatformScan:
    """Read `windows` of `topic` until every platform of `expected` was seen in a record of `since_ms` or later.

    `consumer` has CONSUMER_CONFIG. Raises KafkaUnreachableError after `timeout_s`, confluent_kafka.KafkaException.
    """
    give_up = time.monotonic() + timeout_s
    seen: set[Platform] = set()
    read = dead_letters = 0
    for parts in plan_rounds(windows):
        for message in _records(consumer, topic, parts, give_up):
            read += 1
            kafka_ms = message.timestamp()[1]
            try:
                event = accept_record(message.key(), message.value(), kafka_ms)
            except ContractError:
                dead_letters += 1
                continue
            if kafka_ms >= since_ms:
                seen.add(event.platform)
        if seen.issuperset(expected):
            break
    held = sum(window.stop - window.start for window in windows.values())
    return PlatformScan(frozenset(seen), held, read, dead_letters)


def _records(consumer: "Consumer", topic: str, parts: Mapping[int, Window], give_up: float) -> Iterator[Any]:
    """The records of `parts`; offsets that hold none (compaction, transactions) are passed over."""
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    open_parts = dict(parts)
    positions = [TopicPartition(topic, number, part.start) for number, part in parts.items()]
    consumer.assign(positions)
    consumer.resume(positions)  # a pause outlives the assignment
    while open_parts:
        left_s = give_up - time.monotonic()
        message = consumer.poll(left_s) if left_s > 0 else None
        if message is None:
            raise KafkaUnreachableError(
                f"reading partition {', '.join(map(str, open_parts))} of {topic} did not end in time: its broker "
                f"is slow or has gone. Look at the broker's log"
            )
        number, error = message.partition(), message.error()
        part = open_parts.get(number)
        if part is None:
            continue  # fetched before its partition was paused
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        if error is not None or message.offset() >= part.stop - 1:
            del open_parts[number]
            consumer.pause([TopicPartition(topic, number)])
        if error is None and message.offset() < part.stop:
            yield message
