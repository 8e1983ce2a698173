"""Kafka 4 in KRaft mode, one node that is broker and controller, from Maven's jars."""

import base64
import shutil
import uuid

from include.common.kafka.offsets import KafkaUnreachableError
from include.common.kafka.topics import (
    EVENTS_PARTITIONS,
    TopicError,
    TopicSpec,
    control_topic,
    create_missing_topics,
)
from include.common.names import Topic
from local_stack import health
from local_stack.commands import run
from local_stack.context import Context
from local_stack.errors import StackError
from local_stack.paths import KAFKA_JARS_DIR, jars, java, require_java
from local_stack.ports import HOST
from local_stack.service import Service

TOPICS = (TopicSpec(Topic.EVENTS, EVENTS_PARTITIONS), control_topic())
_LOG4J = """rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %-5p %c{1}: %m%n
logger.start.name = kafka.server.KafkaRaftServer
logger.start.level = info
"""


def properties(context: Context, log_dir: str) -> str:
    """server.properties: small, loopback only, topics are made on purpose only."""
    broker, controller = context.ports["kafka"], context.ports["kafka_controller"]
    lines = [
        "process.roles=broker,controller",
        "node.id=1",
        f"controller.quorum.voters=1@{HOST}:{controller}",
        "controller.listener.names=CONTROLLER",
        f"listeners=PLAINTEXT://{HOST}:{broker},CONTROLLER://{HOST}:{controller}",
        f"advertised.listeners=PLAINTEXT://{HOST}:{broker}",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        f"log.dirs={log_dir}",
        "auto.create.topics.enable=false",
        "num.partitions=3",
        "default.replication.factor=1",
        "offsets.topic.replication.factor=1",
        "offsets.topic.num.partitions=3",
        "transaction.state.log.replication.factor=1",
        "transaction.state.log.min.isr=1",
        "transaction.state.log.num.partitions=3",
        "share.coordinator.state.topic.replication.factor=1",
        "share.coordinator.state.topic.min.isr=1",
        "group.initial.rebalance.delay.ms=0",
        # messages larger than the contract allows must arrive, to become dead letters
        "message.max.bytes=4194304",
        # ample for a laptop; an event stream keeps a week by its record time
        "log.retention.hours=168",
        "log.segment.bytes=134217728",
        "log.index.size.max.bytes=1048576",
        "log.cleaner.dedupe.buffer.size=16777216",
        "num.network.threads=2",
        "num.io.threads=4",
    ]
    return "\n".join(lines) + "\n"


def _format(context: Context) -> None:
    """Render the configuration; format the storage into a folder that is renamed when it is whole."""
    require_java()
    jars(KAFKA_JARS_DIR, "kafka_2.13")
    folder = context.paths.root / "kafka"
    data, partial = folder / "data", folder / "data.partial"
    folder.mkdir(exist_ok=True)
    (context.paths.conf / "kafka-log4j2.properties").write_text(_LOG4J)
    (context.paths.conf / "kafka.properties").write_text(properties(context, str(data)))
    if data.exists():
        return
    shutil.rmtree(partial, ignore_errors=True)
    formatting = context.paths.conf / "kafka-format.properties"
    formatting.write_text(properties(context, str(partial)))
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    while cluster_id.startswith("-"):  # it would be read as an option
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    run(
        (*_java(context, 128), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(formatting)),
        what="formatting Kafka's storage", log=context.paths.logs / "kafka-format.log",
        env=context.process_env(), cwd=folder, timeout_s=60,
    )  # fmt: skip
    partial.rename(data)


def _java(context: Context, heap_mib: int) -> tuple[str, ...]:
    log4j = context.paths.conf / "kafka-log4j2.properties"
    return (
        java(), *context.jvm_flags(heap_mib), f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{KAFKA_JARS_DIR}/*",
    )  # fmt: skip


def _make_topics(context: Context) -> None:
    """The project's topics, where they are not there yet."""
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": context.ports.address("kafka"), "log_level": 0})
    try:
        create_missing_topics(admin, TOPICS)
    except (TopicError, KafkaUnreachableError) as error:
        raise StackError(str(error)) from error


def service(context: Context) -> Service:
    """The broker; up in about 5 s, 330 MiB."""
    return Service(
        name="kafka",
        component="kafka",
        argv=(*_java(context, 448), "kafka.Kafka", str(context.paths.conf / "kafka.properties")),
        env=context.process_env(),
        health=health.kafka(context.ports.address("kafka"), context.ports["kafka"]),
        health_text="broker metadata",
        ready_within_s=90,
        memory_limit_mib=768,
        stop_order=80,
        stop_within_s=40,
        prepare=lambda: _format(context),
        after_ready=lambda: _make_topics(context),
        cwd=context.paths.root / "kafka",
    )
