"""Raw events: from the partitions of Hive's raw_events and quarantined_events, and from Kafka what is not archived yet."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS
from include.common.kafka.offsets import watermarks
from include.contract.event import ContractError, accept_record
from include.trace.chain import RawEvent
from include.trace.hive_rows import HiveReader

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

_HOUR: Final = timedelta(hours=1)
_KAFKA_S: Final = 60.0
KAFKA_MOST: Final = 2_000_000
"""Most records that are read from Kafka in search of a session."""
_EVENT: Final = "topic, kafka_partition AS partition, kafka_offset AS offset, epoch_ms(kafka_timestamp) AS kafka_ms, slice_id"
_FIELDS: Final = (
    "session_id, user_id, event_id, episode_id, event_type, timestamp AS event_ms, scroll_ratio, country, device,"
    " platform, ui_version"
)


class KafkaRangeError(RuntimeError):
    """Kafka did not give the records in time, or there are too many to look through."""


@dataclass(frozen=True)
class SessionSpan:
    """A session whose events are wanted: event times in epoch ms, both ends included."""

    partition: int
    session_id: str
    from_ms: int
    to_ms: int


def archived_events(hive: HiveReader, topic: str, spans: Sequence[SessionSpan]) -> list[RawEvent]:
    """Events of the sessions that the archive holds, whether their slice passed its gate or not."""
    hours = {hour for span in spans for hour in _hours(span)}
    dates = {dt for dt, _ in hours}
    found: list[RawEvent] = []
    for table in (RAW_EVENTS, QUARANTINED_EVENTS):
        wanted: set[PartitionValues] = set(hours) if table is RAW_EVENTS else {(dt,) for dt in dates}
        rows = hive.rows(
            table,
            wanted,
            f"SELECT {_EVENT}, {_FIELDS} FROM rows"  # noqa: S608  constants
            " WHERE topic = $topic AND list_contains($sessions, session_id)",
            {"topic": topic, "sessions": sorted({span.session_id for span in spans})},
        )
        found += [RawEvent(**row, source=f"hive.{table.name}") for row in rows]
    return [event for event in found if any(_within(event, span) for span in spans)]


def archived_record(hive: HiveReader, topic: str, partition: int, offset: int) -> RawEvent | None:
    """One record, from whichever table holds it."""
    tables: tuple[HiveTable, ...] = (RAW_EVENTS, QUARANTINED_EVENTS, DEAD_LETTERS)
    for table in tables:
        fields = "reason, detail" if table is DEAD_LETTERS else _FIELDS
        rows = hive.rows(
            table,
            None,
            f"SELECT {_EVENT}, {fields} FROM rows"  # noqa: S608  constants
            " WHERE topic = $topic AND kafka_partition = $partition AND kafka_offset = $offset",
            {"topic": topic, "partition": partition, "offset": offset},
        )
        for row in rows:
            return RawEvent(**row, source=f"hive.{table.name}")
    return None


def kafka_events(
    client_config: Mapping[str, str],
    topic: str,
    ranges: Mapping[int, tuple[int, int]],
    spans: Sequence[SessionSpan],
) -> list[RawEvent]:
    """Events of the sessions in these offset ranges (start included, end not), as far as Kafka still holds them.

    Raises KafkaUnreachableError, KafkaRangeError.
    """
    wanted = {span.session_id.encode() for span in spans}
    events = [
        event
        for message in _messages(client_config, topic, ranges)
        if message.key() in wanted and (event := _event(topic, message)).reason is None
    ]
    return [event for event in events if any(_within(event, span) for span in spans)]


def kafka_record(
    client_config: Mapping[str, str], topic: str, partition: int, offset: int
) -> RawEvent | None:
    """One record, None where Kafka no longer or not yet holds it; raises as `kafka_events`."""
    for message in _messages(client_config, topic, {partition: (offset, offset + 1)}):
        return _event(topic, message)
    return None


def _within(event: RawEvent, span: SessionSpan) -> bool:
    return (
        event.session_id == span.session_id
        and event.partition == span.partition
        and event.event_ms is not None
        and span.from_ms <= event.event_ms <= span.to_ms
    )


def _hours(span: SessionSpan) -> Iterable[tuple[str, str]]:
    hour = datetime.fromtimestamp(span.from_ms // 1000, UTC).replace(minute=0, second=0)
    while hour.timestamp() * 1000 <= span.to_ms:
        yield f"{hour:%Y-%m-%d}", str(hour.hour)
        hour += _HOUR


def decode_record(
    topic: str, partition: int, offset: int, kafka_ms: int, key: bytes | None, value: bytes | None
) -> RawEvent:
    """A record of the topic by the event contract: its fields, or the reason why it is a dead letter."""
    place: dict[str, Any] = {
        "topic": topic, "partition": partition, "offset": offset, "kafka_ms": kafka_ms, "source": "kafka",
        "slice_id": None,
    }  # fmt: skip
    try:
        event = accept_record(key, value, kafka_ms)
    except ContractError as error:
        return RawEvent(**place, reason=str(error.reason), detail=error.detail)
    return RawEvent(
        **place, session_id=event.session_id, user_id=event.user_id, event_id=event.event_id,
        episode_id=event.episode_id, event_type=str(event.event_type), event_ms=event.timestamp,
        scroll_ratio=event.scroll_ratio, country=event.country, device=str(event.device),
        platform=str(event.platform), ui_version=event.ui_version,
    )  # fmt: skip


def without_fields(event: RawEvent, reason: str) -> RawEvent:
    """Where the record is, and the reason why nothing of it is shown."""
    return RawEvent(
        event.topic,
        event.partition,
        event.offset,
        event.kafka_ms,
        event.source,
        event.slice_id,
        reason=reason,
    )


def _event(topic: str, message: "Message") -> RawEvent:
    return decode_record(
        topic,
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
    )


def _messages(
    client_config: Mapping[str, str], topic: str, ranges: Mapping[int, tuple[int, int]]
) -> Iterable["Message"]:
    from confluent_kafka import Consumer, TopicPartition

    held = watermarks(client_config, topic)
    todo = {
        number: (max(first, held[number].low), min(end, held[number].high))
        for number, (first, end) in ranges.items()
        if number in held
    }
    todo = {number: span for number, span in todo.items() if span[0] < span[1]}
    if (count := sum(end - first for first, end in todo.values())) > KAFKA_MOST:
        raise KafkaRangeError(
            f"{count} records on {topic} are not archived yet, too many to look through: let events__archive "
            f"catch up, and trace again"
        )
    if not todo:
        return
    consumer = Consumer({"group.id": "webtoon-trace", **client_config, "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, number, first) for number, (first, _) in todo.items()])
        yield from _poll(consumer, topic, {number: end for number, (_, end) in todo.items()})
    finally:
        consumer.close()


def _poll(consumer: "Consumer", topic: str, ends: Mapping[int, int]) -> Iterable["Message"]:
    from confluent_kafka import TopicPartition

    deadline = time.monotonic() + _KAFKA_S
    left = dict(ends)
    while left:
        if time.monotonic() > deadline:
            raise KafkaRangeError(f"Kafka did not give the records of {topic} within {_KAFKA_S:.0f} s")
        for message in consumer.consume(10_000, timeout=1.0):
            if message.error() is None and message.offset() < ends.get(message.partition(), 0):
                yield message
        # not by the messages: a compacted topic, or a transaction's marker, leaves offsets out
        for part in consumer.position([TopicPartition(topic, number) for number in left]):
            if part.offset >= ends[part.partition]:
                del left[part.partition]
