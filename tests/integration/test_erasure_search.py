"""The search of an erasure on a real PostgreSQL, broker and metastore: it finds, it tells ids apart, it says what it cannot read."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from include.common.erasure.needles import Needles
from include.orchestration.erasure.airflow_traces import runs_with
from include.orchestration.erasure.finding import Finding, NotSearchedError
from include.orchestration.erasure.search_kafka import retention_of, search_topic
from include.orchestration.erasure.search_postgres import refresh_statistics, search_database
from tests.integration.batch_support import produce

READER, OTHER = "privacy-reader-7", "privacy-reader-77"
SHORT, NUMBER = "u1", "42"


def places(dsn: str, user_id: str) -> list[str]:
    finding = Finding("db")
    search_database(finding, dsn, Needles(user_id))
    assert finding.bytes > 0
    return finding.places


@pytest.fixture
def rows(feature_db: str) -> str:
    """A feature database with a table that has every kind of column."""
    with psycopg.connect(feature_db) as connection:
        connection.execute(
            "CREATE TABLE ops.of_test (t text, j jsonb, a text[], b bytea, n bigint, d timestamptz, empty text)"
        )
    return feature_db


@pytest.mark.parametrize("user_id", [READER, SHORT, NUMBER, 'a"b\\c', "독자"])
@pytest.mark.parametrize(
    ("column", "value", "place"),
    [
        ("t", "%s", "ops.of_test"),
        ("j", "jsonb_build_object('user_id', %s::text)", "ops.of_test"),
        ("a", "ARRAY['x', %s]", "ops.of_test"),
        ("b", "convert_to('{\"user_id\":' || to_json(%s::text) || '}', 'UTF8')", "ops.of_test.b"),
    ],
)
def test_every_kind_of_column(user_id: str, column: str, value: str, place: str, rows: str) -> None:
    with psycopg.connect(rows) as connection:
        connection.execute(
            "INSERT INTO ops.of_test (t, n) VALUES (%s || '0', 42), ('x' || %s, 42)", (user_id, user_id)
        )
    assert places(rows, user_id) == []
    with psycopg.connect(rows) as connection:
        connection.execute(f"INSERT INTO ops.of_test ({column}) VALUES ({value})", (user_id,))
    assert places(rows, user_id) == [place]


def test_the_planner_forgets_too(rows: str) -> None:
    with psycopg.connect(rows, autocommit=True) as connection:
        connection.execute("INSERT INTO ops.of_test (t) SELECT %s FROM generate_series(1, 50)", (READER,))
        connection.execute("INSERT INTO ops.of_test (t) SELECT %s FROM generate_series(1, 50)", (OTHER,))
        connection.execute("ANALYZE ops.of_test")
        connection.execute("DELETE FROM ops.of_test WHERE t = %s", (READER,))
    assert places(rows, READER) == ["pg_stats of ops.of_test.t"]
    assert refresh_statistics(rows, Needles(READER)) == 1
    assert places(rows, READER) == []
    with psycopg.connect(rows, autocommit=True) as connection:
        connection.execute("TRUNCATE ops.of_test")  # ANALYZE of an empty table would leave the old values
    assert refresh_statistics(rows, Needles(OTHER)) == 1
    assert refresh_statistics(rows, Needles(OTHER)) == 0


def test_a_table_that_may_not_be_read_is_no_proof(rows: str, admin_dsn: str) -> None:
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS privacy_blind")
        connection.execute("CREATE ROLE privacy_blind LOGIN PASSWORD 'x'")
    blind = rows.replace(rows.split("//")[1].split("@")[0], "privacy_blind:x")
    try:
        with pytest.raises((NotSearchedError), match="cannot be read"):
            search_database(Finding("db"), blind, Needles(READER))
    finally:
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            connection.execute("DROP ROLE privacy_blind")


def test_runs_of_airflow_that_hold_the_id(rows: str) -> None:
    with psycopg.connect(rows) as connection:
        connection.execute(
            "CREATE TABLE ops.of_runs (id int, dag_id text, run_id text, conf jsonb, at timestamptz)"
        )
        connection.execute(
            "INSERT INTO ops.of_runs VALUES (1, 'd', 'manual__1', jsonb_build_object('user_id', %s::text)),"
            " (2, 'd', 'manual__2', jsonb_build_object('user_id', %s::text)), (3, 'e', 'of_' || %s, '{}')",
            (READER, OTHER, READER),
        )
    assert runs_with(rows, Needles(READER)) == {("d", "manual__1"), ("e", f"of_{READER}")}


def test_topic(kafka: str, topic_factory: Callable[..., str]) -> None:
    client = {"bootstrap.servers": kafka}
    topic = topic_factory("privacy", 3, **{"retention.ms": "86400000", "segment.ms": "3600000"})
    records = [(f"s{n}".encode(), f'{{"user_id":"privacy-reader-{n}"}}'.encode()) for n in range(2000)]
    before = datetime.now(UTC) - timedelta(seconds=5)
    produce(kafka, topic, [*records, (READER.encode(), None)])
    none, found = Finding("kafka"), Finding("kafka")
    assert search_topic(none, client, topic, Needles("privacy-reader-2000")) is None
    assert (none.found, none.places, none.bytes > 2000 * 30) == (0, [], True)
    newest = search_topic(found, client, topic, Needles(READER))
    assert newest is not None
    assert before < newest < datetime.now(UTC) + timedelta(seconds=5)
    assert (found.found, found.bytes > 2000 * 30) == (2, True)
    retention = retention_of(client, topic)
    assert (retention.retention_ms, retention.segment_ms) == (86_400_000, 3_600_000)
    assert retention.clear_after(newest) - newest == timedelta(hours=26)


def test_a_broker_that_is_away_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.common.kafka.offsets.TIMEOUT_S", 1.0)
    with pytest.raises(NotSearchedError, match="kafka"):
        search_topic(Finding("kafka"), {"bootstrap.servers": "127.0.0.1:1"}, "nowhere", Needles(READER))
