"""ops__migrate_store on a real broker, PostgreSQL and metastore: what is missing is made, what is there stays."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from include.common.hive.metastore import Metastore, MetastoreError, open_metastore
from include.common.hive.schema import HiveTable
from include.common.hive.tables import TABLES
from include.common.kafka.offsets import KafkaUnreachableError
from include.common.kafka.topics import TopicError, TopicSpec, create_missing_topics
from include.common.names import Topic
from include.orchestration.migrate_store import TopicForm, ensure_hive_tables, ensure_topics
from include.spark_jobs.session import JobError
from include.spark_jobs.stream_sessionize.preflight import starting_offsets
from include.spark_jobs.stream_sessionize.reader import Topics


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka})


@pytest.fixture
def new_name(admin: AdminClient) -> Iterator[str]:
    """Name of a topic that is not there yet, and is removed at the end."""
    name = f"made_{uuid.uuid4().hex[:10]}"
    yield name
    admin.delete_topics([name], operation_timeout=30)[name].result()


def _config(admin: AdminClient, topic: str, key: str) -> str:
    """A setting of a topic; a broker that has just begun may know the topic a moment later."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    deadline = time.monotonic() + 20
    while True:
        try:
            return str(admin.describe_configs([resource])[resource].result()[key].value)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_a_missing_topic_is_made_as_the_form_says_and_then_stays(admin: AdminClient, new_name: str) -> None:
    specs = TopicForm(partitions=4, replication_factor=1, retention_hours=48).specs(new_name)
    assert [spec.name for spec in specs] == [new_name, Topic.STREAM_CONTROL]
    assert new_name in ensure_topics(admin, specs)
    assert len(admin.list_topics(new_name).topics[new_name].partitions) == 4
    assert _config(admin, new_name, "retention.ms") == str(48 * 3_600_000)

    longer = TopicForm(partitions=4, replication_factor=None, retention_hours=-1).specs(new_name)
    assert ensure_topics(admin, longer) == []
    assert _config(admin, new_name, "retention.ms") == str(48 * 3_600_000)


def test_defaults_are_the_brokers(admin: AdminClient, new_name: str) -> None:
    assert create_missing_topics(admin, [TopicSpec(new_name, 1)]) == [new_name]
    assert _config(admin, new_name, "retention.ms") == str(168 * 3_600_000)


def test_retention_for_ever(admin: AdminClient, new_name: str) -> None:
    ensure_topics(admin, TopicForm(1, None, -1).specs(new_name)[:1])
    assert _config(admin, new_name, "retention.ms") == "-1"


def test_another_number_of_partitions_is_refused_and_nothing_changed(admin: AdminClient, topic: str) -> None:
    with pytest.raises(TopicError, match=rf"'{topic}' has 3, not 6.*trigger again with its number"):
        ensure_topics(admin, [TopicSpec(topic, 6)])
    assert len(admin.list_topics(topic).topics[topic].partitions) == 3


def test_what_the_broker_refuses_is_said(admin: AdminClient) -> None:
    with pytest.raises(TopicError, match=r"'too_safe' is missing and cannot be made: .*replication"):
        create_missing_topics(admin, [TopicSpec("too_safe", 1, replication_factor=5)])


def test_no_broker_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.common.kafka.topics.TIMEOUT_S", 0.5)
    nobody = AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    with pytest.raises(KafkaUnreachableError, match=r"no answer from Kafka .*make status"):
        create_missing_topics(nobody, [TopicSpec("t", 1)])


def test_the_streams_preflight_makes_its_control_topic(
    kafka: str, admin: AdminClient, topic: str, new_name: str
) -> None:
    assert starting_offsets({"bootstrap.servers": kafka}, Topics(topic, new_name)) == {
        topic: {"0": 0, "1": 0, "2": 0}, new_name: {"0": 0},
    }  # fmt: skip
    assert len(admin.list_topics(new_name).topics[new_name].partitions) == 1
    with pytest.raises(JobError, match="no topic for wall-clock ticks: topic 'a b' is missing and cannot"):
        starting_offsets({"bootstrap.servers": kafka}, Topics(topic, "a b"))


@pytest.fixture
def empty_database(metastore: str) -> Iterator[Metastore]:
    """A Hive database of this test alone, which does not exist yet."""
    with open_metastore(metastore) as opened:
        opened.database = f"webtoon_{uuid.uuid4().hex[:8]}"
        yield opened
        opened._client.drop_database(opened.database, deleteData=False, cascade=True)


def test_all_hive_tables_are_made_once(empty_database: Metastore, data_dir: Path) -> None:
    names = sorted(table.name for table in TABLES)
    for _ in range(2):
        assert sorted(ensure_hive_tables(empty_database, data_dir / "warehouse")) == names
        assert sorted(empty_database._client.get_all_tables(empty_database.database)) == names
    for table in TABLES:
        assert table.location(data_dir / "warehouse").is_dir()
        assert empty_database.all_locations(table) == {}


def test_an_older_hive_table_gets_the_new_columns(empty_database: Metastore, data_dir: Path) -> None:
    whole = TABLES[0]
    older = HiveTable(whole.name, whole.columns[:-2], whole.partitions, whole.key, whole.comment)
    empty_database.ensure_table(older, data_dir / "warehouse")
    ensure_hive_tables(empty_database, data_dir / "warehouse")
    stored = empty_database._client.get_table(empty_database.database, whole.name)
    assert [field.name for field in stored.sd.cols] == whole.column_names()


def test_a_hive_table_of_another_data_folder_is_refused(
    empty_database: Metastore, data_dir_factory: Callable[[], Path], data_dir: Path
) -> None:
    ensure_hive_tables(empty_database, data_dir / "warehouse")
    with pytest.raises(MetastoreError, match=r"lies at .* is the data folder"):
        ensure_hive_tables(empty_database, data_dir_factory() / "warehouse")
