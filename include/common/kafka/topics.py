"""Making topics: the one place, used by DAG ops__migrate_store and by the stream's preflight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from include.common.kafka.offsets import TIMEOUT_S, KafkaUnreachableError
from include.common.names import Topic

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient

EVENTS_PARTITIONS: Final = 3
CONTROL_PARTITIONS: Final = 1
"""A tick must be one record: the stream hands it to every bucket itself."""
_CREATE_TIMEOUT_S = 30.0
"""A broker that has just started takes its time."""


class TopicError(RuntimeError):
    """A topic cannot be made, or it is not as expected; the message says which and the mend."""


@dataclass(frozen=True)
class TopicSpec:
    """A topic as it is made. None: what the broker has as its default. `retention_ms` -1 keeps for ever."""

    name: str
    partitions: int
    replication_factor: int | None = None
    retention_ms: int | None = None


def control_topic(name: str = Topic.STREAM_CONTROL, replication_factor: int | None = None) -> TopicSpec:
    """The topic of wall-clock ticks, kept for ever (40 MB a year): a stream that was down for longer than a broker keeps
    records by default must find its next tick, as it finds its next event where those are kept for longer."""
    return TopicSpec(name, CONTROL_PARTITIONS, replication_factor, retention_ms=-1)


def create_missing_topics(admin: "AdminClient", specs: Sequence[TopicSpec]) -> list[str]:
    """Make those of `specs` that the broker does not have; returns their names. Others stay as they are.

    Safe to run twice and side by side. Raises KafkaUnreachableError, TopicError.
    """
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    present = _partitions(admin)
    missing = {spec.name: spec for spec in specs if spec.name not in present}
    if not missing:
        return []
    new = [
        NewTopic(
            spec.name,
            num_partitions=spec.partitions,
            replication_factor=-1 if spec.replication_factor is None else spec.replication_factor,
            config={} if spec.retention_ms is None else {"retention.ms": str(spec.retention_ms)},
        )
        for spec in missing.values()
    ]
    made = []
    for name, outcome in admin.create_topics(new, operation_timeout=_CREATE_TIMEOUT_S).items():
        try:
            outcome.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue  # made by somebody else at the same moment
            raise TopicError(
                f"topic {name!r} is missing and cannot be made: {error.args[0].str()}. Mend that, or have it "
                f"made with {missing[name].partitions} partition(s), and repeat"
            ) from error
        made.append(name)
    return made


def check_partitions(admin: "AdminClient", specs: Sequence[TopicSpec]) -> None:
    """Raise TopicError, naming all of them, where a topic has another number of partitions than `specs` say."""
    present = _partitions(admin)
    faults = [
        f"{spec.name!r} has {present.get(spec.name, 0)}, not {spec.partitions}"
        for spec in specs
        if present.get(spec.name, 0) != spec.partitions
    ]
    if faults:
        raise TopicError(
            f"partitions of topics differ from what was asked for: {'; '.join(faults)}. If the topic is right, "
            f"trigger again with its number; if not, delete it and trigger again (a stream that has read it "
            f"needs a new generation then). A topic in use is never changed here: its sessions would move to "
            f"other partitions"
        )


def _partitions(admin: "AdminClient") -> dict[str, int]:
    from confluent_kafka import KafkaException

    try:
        topics = admin.list_topics(timeout=TIMEOUT_S).topics
    except KafkaException as error:
        raise KafkaUnreachableError(
            f"no answer from Kafka within {TIMEOUT_S:.0f} s ({error.args[0].str()}). Is it running (make status), "
            f"and is WEBTOON_KAFKA (or connection kafka_default) right?"
        ) from error
    return {name: len(topic.partitions) for name, topic in topics.items()}
