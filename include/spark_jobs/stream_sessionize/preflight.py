"""What must be there before Spark is started: topics and database. Each check fails within seconds."""

from collections.abc import Mapping

from include.common.kafka.offsets import KafkaUnreachableError, watermarks
from include.common.kafka.topics import TopicError, control_topic, create_missing_topics
from include.spark_jobs.session import JobError
from include.spark_jobs.stream_sessionize.reader import Offsets, Topics


def starting_offsets(client_config: Mapping[str, str], topics: Topics) -> dict[str, Offsets]:
    """Where a first micro-batch begins: all events that the topic holds, no tick of the past.

    `client_config` is librdkafka's. Makes the control topic if it is missing. Raises KafkaUnreachableError for no broker or no events topic.
    """
    config = dict(client_config)
    events = watermarks(config, topics.events)
    _ensure_control_topic(config, topics.control)
    control = watermarks(config, topics.control)
    return {
        topics.events: {str(partition): marks.low for partition, marks in events.items()},
        topics.control: {str(partition): marks.high for partition, marks in control.items()},
    }


def _ensure_control_topic(config: dict[str, str], topic: str) -> None:
    from confluent_kafka.admin import AdminClient

    try:
        create_missing_topics(AdminClient(config), [control_topic(topic)])
    except TopicError as error:
        raise JobError(f"no topic for wall-clock ticks: {error}") from error


__all__ = ["JobError", "KafkaUnreachableError", "starting_offsets"]
