"""The native stack with real parts: databases are fresh and migrated, topics take and give messages."""

import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Consumer, Producer

from include.common.migrate import MigrationError, migrate, read_migrations
from include.common.postgres import PostgresUnreachableError, connect, redact_dsn


def _count(dsn: str, statement: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


def test_feature_databases_are_migrated_and_separate(
    feature_db: str, feature_db_factory: Callable[[], str]
) -> None:
    other = feature_db_factory()
    with psycopg.connect(feature_db) as connection:
        connection.execute(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (1, 'current', 'c', '{}')"
        )
    assert _count(feature_db, "SELECT count(*) FROM ops.stream_generations") == 1
    assert _count(other, "SELECT count(*) FROM ops.stream_generations") == 0
    assert _count(other, "SELECT count(*) FROM public.schema_migrations") == len(read_migrations())


def test_the_feature_role_cannot_open_airflows_database(feature_db: str) -> None:
    with pytest.raises(PostgresUnreachableError, match="permission denied"):
        connect(feature_db.rsplit("/", 1)[0] + "/airflow", application_name="test")


def test_passwords_are_asked_for(feature_db: str) -> None:
    without = redact_dsn(feature_db).replace(":***@", ":wrong@")
    with pytest.raises(PostgresUnreachableError, match="password authentication failed"):
        connect(without, application_name="test")


def test_a_topic_gives_back_what_it_took(kafka: str, topic_factory: Callable[..., str]) -> None:
    topic = topic_factory(partitions=2)
    producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True})
    # an old time stamp: the topic must keep it
    producer.produce(topic, key=b"s1", value=b"payload", timestamp=1_000_000_000_000)
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = consumer.poll(20)
    assert message is not None
    assert message.error() is None
    assert (message.key(), message.value(), message.timestamp()[1]) == (b"s1", b"payload", 1_000_000_000_000)
    assert len(consumer.list_topics(topic).topics[topic].partitions) == 2
    consumer.close()


def test_hive_tables_are_seen_by_metastore_and_thrift_server(
    metastore: str, hiveserver2: tuple[str, int], data_dir: Path
) -> None:
    from hmsclient import hmsclient
    from pyhive import hive

    name = f"stack_test_{uuid.uuid4().hex[:8]}"
    host, port = hiveserver2
    connection = hive.connect(host=host, port=port, auth="NOSASL")
    cursor = connection.cursor()
    cursor.execute(f"CREATE DATABASE {name} LOCATION '{data_dir / 'warehouse' / name}'")
    cursor.execute(
        f"CREATE TABLE {name}.readings (episode_id string) PARTITIONED BY (dt date) STORED AS PARQUET"
    )
    cursor.execute(f"INSERT INTO {name}.readings PARTITION (dt = '2026-01-02') VALUES ('e1'), ('e2')")
    cursor.execute(f"SELECT count(*) FROM {name}.readings")
    assert cursor.fetchall() == [(2,)]
    meta_host, meta_port = metastore.removeprefix("thrift://").split(":")
    with hmsclient.HMSClient(host=meta_host, port=int(meta_port)) as client:
        assert client.get_partition_names(name, "readings", 10) == ["dt=2026-01-02"]
    cursor.execute(f"DROP DATABASE {name} CASCADE")
    connection.close()


def _migration(folder: Path, name: str, statements: str) -> None:
    (folder / name).write_text(statements)


def test_a_failing_migration_names_its_file_and_line_and_leaves_nothing(
    feature_db_factory: Callable[[], str], admin_dsn: str, tmp_path: Path
) -> None:
    from include.common.postgres import create_database, drop_database

    dsn = create_database(admin_dsn, "migrate_test")
    _migration(tmp_path, "0001_good.sql", "CREATE TABLE first (id integer);")
    _migration(
        tmp_path, "0002_bad.sql", "CREATE TABLE second (id integer);\nCREATE TABLE third (id nonsense);"
    )
    with pytest.raises(MigrationError, match=r"0002_bad\.sql, line 2: type \"nonsense\" does not exist"):
        migrate(dsn, tmp_path)
    assert _count(dsn, "SELECT count(*) FROM pg_tables WHERE tablename IN ('first', 'second', 'third')") == 1
    _migration(tmp_path, "0002_bad.sql", "CREATE TABLE second (id integer);")
    assert migrate(dsn, tmp_path) == ["0002_bad.sql"]
    assert migrate(dsn, tmp_path) == []
    _migration(tmp_path, "0001_good.sql", "CREATE TABLE first (id bigint);")
    with pytest.raises(MigrationError, match=r"0001_good\.sql was edited"):
        migrate(dsn, tmp_path)
    drop_database(admin_dsn, "migrate_test")
