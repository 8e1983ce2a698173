"""Offsets that a topic holds now, or held from a time on, and the record at one."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from confluent_kafka import Consumer

TIMEOUT_S = 10.0
_Answer = TypeVar("_Answer")


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
    with _consumer(client_config, topic) as (consumer, partitions):
        return _watermarks(consumer, topic, partitions)


def offsets_at(client_config: Mapping[str, str], topic: str, times_ms: Sequence[int]) -> list[dict[int, int]]:
    """For each Kafka time (epoch ms), by partition: the first offset whose record is of that time or later, the end
    where there is none. Raises KafkaUnreachableError.
    """
    from confluent_kafka import TopicPartition

    with _consumer(client_config, topic) as (consumer, partitions):
        found = [
            consumer.offsets_for_times(
                [TopicPartition(topic, number, time_ms) for number in partitions], timeout=TIMEOUT_S
            )
            for time_ms in times_ms
        ]
        # last, so that no offset found lies beyond
        ends = {number: marks.high for number, marks in _watermarks(consumer, topic, partitions).items()}
        return [
            {part.partition: part.offset if part.offset >= 0 else ends[part.partition] for part in parts}
            for parts in found
        ]


class HeldRecord(NamedTuple):
    """A record of the topic; `time_ms` is its Kafka timestamp (epoch ms), -1 where it has none."""

    time_ms: int
    key: bytes | None
    value: bytes | None


def records_at(
    client_config: Mapping[str, str], topic: str, offsets: Sequence[Mapping[int, int] | None]
) -> list[dict[int, HeldRecord]]:
    """For each of `offsets` (partition -> offset; None: all that is held): the first record held from there on, by
    partition; no entry where there is none.

    Raises KafkaUnreachableError.
    """
    quick = {**client_config, "enable.partition.eof": "true", "auto.offset.reset": "earliest"}
    with _consumer(quick, topic) as (consumer, partitions):
        held = _watermarks(consumer, topic, partitions)
        found: list[dict[int, HeldRecord]] = []
        for wanted in offsets:
            starts = {
                number: max(offset, held[number].low)
                for number, offset in (dict.fromkeys(held, 0) if wanted is None else wanted).items()
                if number in held and offset < held[number].high
            }
            found.append(_first_records(consumer, topic, starts))
        return found


def _first_records(consumer: "Consumer", topic: str, starts: Mapping[int, int]) -> dict[int, HeldRecord]:
    """One record of each partition; offsets that hold none (compaction, transactions) are passed over."""
    from confluent_kafka import KafkaError, KafkaException, TopicPartition

    found: dict[int, HeldRecord] = {}
    open_parts = set(starts)
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in starts.items()])
    give_up = time.monotonic() + TIMEOUT_S
    while open_parts:
        message = consumer.poll(max(0.0, give_up - time.monotonic()))
        if message is None:
            raise KafkaUnreachableError(
                f"reading partitions {sorted(open_parts)} of {topic} did not end within {TIMEOUT_S:.0f} s: its broker "
                f"is slow or has gone. Look at the broker's log"
            )
        error = message.error()
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        if error is None and message.partition() in open_parts:
            found[message.partition()] = HeldRecord(message.timestamp()[1], message.key(), message.value())
        open_parts.discard(message.partition())
    return found


def _watermarks(consumer: "Consumer", topic: str, partitions: Sequence[int]) -> dict[int, Watermarks]:
    return {number: _watermarks_of(consumer, topic, number) for number in partitions}


def _watermarks_of(consumer: "Consumer", topic: str, partition: int) -> Watermarks:
    from confluent_kafka import TopicPartition

    asked = TopicPartition(topic, partition)
    answer = until_led(consumer.get_watermark_offsets, asked, timeout=TIMEOUT_S, cached=False)
    return Watermarks(*answer)


def until_led(ask: Callable[..., _Answer], *arguments: Any, **options: Any) -> _Answer:
    """`ask(...)`, again while a partition has no leader, as for a moment after its topic was made or a broker fell."""
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

    leader = Retrying(
        retry=retry_if_exception(_has_no_leader_yet),
        stop=stop_after_delay(TIMEOUT_S),
        wait=wait_fixed(0.1),
        reraise=True,
    )
    return leader(ask, *arguments, **options)


def _has_no_leader_yet(error: BaseException) -> bool:
    from confluent_kafka import KafkaError, KafkaException

    return isinstance(error, KafkaException) and error.args[0].code() in (
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
    )


@contextmanager
def _consumer(client_config: Mapping[str, str], topic: str) -> Iterator[tuple["Consumer", list[int]]]:
    """A consumer, and the partitions of `topic`; Kafka's exceptions as KafkaUnreachableError."""
    from confluent_kafka import Consumer, KafkaException

    consumer = Consumer({"group.id": "webtoon-watermarks", **client_config, "enable.auto.commit": False})
    servers = client_config.get("bootstrap.servers")
    try:
        metadata = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        if metadata.error is not None or not metadata.partitions:
            raise KafkaUnreachableError(
                f"topic {topic!r} is not on {servers}. Create it (DAG ops__migrate_store), or set "
                f"WEBTOON_EVENTS_TOPIC to the right name"
            )
        yield consumer, sorted(metadata.partitions)
    except KafkaException as error:
        raise KafkaUnreachableError(
            f"no answer from Kafka at {servers} within {TIMEOUT_S:.0f} s ({error.args[0].str()}). "
            f"Is it running (make status), and is WEBTOON_KAFKA (or connection kafka_default) right?"
        ) from error
    finally:
        consumer.close()
