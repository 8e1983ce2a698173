"""What must be there before Spark is started: topics and database. Each check fails within seconds."""

from include.common.kafka_offsets import TIMEOUT_S, KafkaUnreachableError, watermarks
from include.spark_jobs.session import JobError
from include.spark_jobs.stream_sessionize.reader import Offsets, Topics


def starting_offsets(bootstrap_servers: str, topics: Topics) -> dict[str, Offsets]:
    """Where a first micro-batch begins: all events that the topic holds, no tick of the past.

    Makes the control topic if it is missing. Raises KafkaUnreachableError for no broker or no events topic.
    """
    config = {"bootstrap.servers": bootstrap_servers}
    events = watermarks(config, topics.events)
    _ensure_control_topic(config, topics.control)
    control = watermarks(config, topics.control)
    return {
        topics.events: {str(partition): marks.low for partition, marks in events.items()},
        topics.control: {str(partition): marks.high for partition, marks in control.items()},
    }


def _ensure_control_topic(config: dict[str, str], topic: str) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient(config)
    try:
        if topic in admin.list_topics(timeout=TIMEOUT_S).topics:
            return
        admin.create_topics([NewTopic(topic, num_partitions=1)], operation_timeout=TIMEOUT_S)[topic].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return
        raise JobError(
            f"topic {topic!r} (wall-clock ticks) is missing and cannot be made: {error.args[0].str()}. "
            f"Create it with one partition (DAG ops__migrate_store)"
        ) from error


__all__ = ["JobError", "KafkaUnreachableError", "starting_offsets"]
