"""From request to proof on real stores, without Airflow: what is filed anew, found in each store, and proven when Kafka lets go."""

import dataclasses
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from include.common.erasure.erasures import find_erasure, record_step
from include.common.kafka.offsets import watermarks
from include.orchestration.erasure import prove as prove_module
from include.orchestration.erasure.finding import FoundError, NotSearchedError
from include.orchestration.erasure.prove import find_due, prove
from include.orchestration.erasure.request import reopen
from include.orchestration.erasure.search import (
    Places,
    record_findings,
    require_nothing,
    search_kafka,
    search_stores,
)
from tests.integration.batch_support import as_records, event, produce

READER, OTHER = "privacy-proof-reader", "privacy-proof-other"
KEY = b"k" * 32
STORES = {
    "feature database", "airflow database", "metastore", "data folder", "checkpoints", "docs folder", "lineage",
    "airflow logs", "stack folder",
}  # fmt: skip


@pytest.fixture
def places(
    feature_db: str,
    feature_db_factory: Callable[[], str],
    metastore: str,
    kafka: str,
    topic_factory: Callable[..., str],
    tmp_path: Path,
) -> Places:
    """Stores with rows of another reader. The second feature database stands for Airflow's: any database is searched alike."""
    folders = {name: tmp_path / name for name in ("data", "docs", "logs", "lineage", "services")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "page").write_text(f"<b>{OTHER}</b>")
    (folders["data"] / "checkpoints").mkdir()
    topic = topic_factory("proof", 2, **{"retention.ms": "3600000", "segment.ms": "600000"})
    return Places(
        feature_db, feature_db_factory(), metastore, folders["data"], folders["docs"], folders["logs"],
        folders["lineage"], tmp_path, {"bootstrap.servers": kafka}, topic,
    )  # fmt: skip


@pytest.fixture
def number(places: Places) -> int:
    """A request of READER."""
    with psycopg.connect(places.features_dsn) as connection:
        return reopen(connection, user_id=READER, reason="ticket 1", key=KEY)


def test_each_store_is_searched_and_told(
    places: Places, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    clean = search_stores(places, READER, [])
    assert ({it.store for it in clean}, sum(it.found for it in clean)) == (STORES, 0)
    assert {it.store for it in clean if it.bytes} >= {"feature database", "data folder", "docs folder"}
    require_nothing(number, clean)

    with psycopg.connect(places.features_dsn) as connection:
        connection.execute("CREATE TABLE ops.left_over AS SELECT %s AS user_id", (READER,))
    assert places.airflow_dsn is not None
    with psycopg.connect(places.airflow_dsn) as connection:
        connection.execute("CREATE TABLE log AS SELECT %s AS extra", (f'{{"user_id": "{READER}"}}',))
    pq.write_table(pa.table({"user_id": [OTHER, READER]}), places.data_dir / "part.parquet")
    (places.data_dir / "checkpoints" / "1.delta").write_text(f"x {READER} x")
    for folder in (places.docs_dir, places.logs_dir, places.lineage_dir, places.state_dir):
        assert folder is not None
        (folder / "left_over.json").write_text(f'{{"user_id": "{READER}"}}')
    caplog.set_level(logging.INFO)
    found = search_stores(places, READER, [])
    assert {it.store: it.found for it in found} == dict.fromkeys(STORES - {"metastore"}, 1) | {"metastore": 0}
    with psycopg.connect(places.features_dsn) as connection:
        record_findings(connection, number, found)
        rows = connection.execute("SELECT store, found, places FROM ops.erasure_searches").fetchall()
    assert sorted(rows) == sorted((it.store, it.found, it.places) for it in found)
    with pytest.raises(FoundError, match=r"data folder: part\.parquet .*clear") as raised:
        require_nothing(number, found)
    assert READER not in str(raised.value) + caplog.text + str(rows)


def test_a_store_without_access_is_a_failure_unless_a_person_said_so(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = dataclasses.replace(places, airflow_dsn=None, logs_dir=None)
    with pytest.raises(
        NotSearchedError, match=r"airflow database: .*airflow_metadata.*airflow logs: .*elsewhere"
    ):
        search_stores(blind, READER, [])
    found = {it.store: it.places for it in search_stores(blind, READER, ["airflow database", "airflow logs"])}
    told = ["not searched: WEBTOON_ERASURE_NOT_SEARCHED"]
    assert (found["airflow database"], found["airflow logs"]) == (told, told)
    with pytest.raises(NotSearchedError, match="the stores are"):
        search_stores(blind, READER, ["airflow"])
    monkeypatch.setattr("include.common.hive.metastore._TIMEOUT_MS", 1000)
    away = dataclasses.replace(
        places, metastore_uri="thrift://127.0.0.1:1", features_dsn="postgresql://x@127.0.0.1:1/x"
    )
    with pytest.raises(NotSearchedError, match=r"cannot connect to PostgreSQL.*no Hive metastore"):
        search_stores(away, READER, [])


def test_a_second_request_does_everything_anew_and_keeps_what_was_done(places: Places, number: int) -> None:
    with psycopg.connect(places.features_dsn) as connection:
        record_step(connection, number, "stream", 5)
        record_step(connection, number, "archive", 7)
        connection.execute("UPDATE ops.erasures SET erased_at = now(), kafka_clear_after = now()")
        assert reopen(connection, user_id=READER, reason="ticket 2", key=KEY) == number
        assert reopen(connection, user_id=OTHER, reason="ticket 3", key=KEY) != number
        record_step(connection, number, "stream", 0)
        steps = connection.execute(
            "SELECT store, removed FROM ops.erasure_steps WHERE erasure_id = %s ORDER BY store", (number,)
        ).fetchall()
        row = connection.execute(
            "SELECT erased_at, kafka_clear_after, reason FROM ops.erasures WHERE erasure_id = %s", (number,)
        ).fetchone()
    assert [removed for _, removed in steps] == [7, 0, 5]
    assert [store.split(" until ")[0] for store, _ in steps] == ["archive", "stream", "stream"]
    assert row == (None, None, "ticket 1"), "the reason of the first request stays"


def test_who_is_due(places: Places, number: int) -> None:
    now = datetime.now(UTC)
    later = now + timedelta(days=4)
    with psycopg.connect(places.features_dsn) as connection:
        assert (find_due(connection, now).to_prove, find_due(connection, now).overdue) == ([], [])
        assert find_due(connection, later).overdue == [number]
        connection.execute(
            "UPDATE ops.erasures SET erased_at = %s, kafka_clear_after = %s", (now, now + timedelta(days=1))
        )
        assert (find_due(connection, now).to_prove, find_due(connection, now).overdue) == ([], [])
        assert (find_due(connection, later).to_prove, find_due(connection, later).overdue) == ([number], [])
        connection.execute("UPDATE ops.erasures SET kafka_clear_after = NULL")  # a topic without end
        assert (find_due(connection, later).to_prove, find_due(connection, later).overdue) == ([], [number])


def test_a_request_that_comes_again_during_the_search_is_not_proven(
    places: Places, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = prove_module.search_stores

    def search_and_ask_again(*arguments: Any) -> Any:
        with psycopg.connect(places.features_dsn) as connection:
            reopen(connection, user_id=READER, reason="ticket 2", key=KEY)
        return searched(*arguments)

    monkeypatch.setattr(prove_module, "search_stores", search_and_ask_again)
    with psycopg.connect(places.features_dsn) as connection:
        with pytest.raises(FoundError, match="requested again"):
            prove(connection, places, number, READER)
        assert find_erasure(connection, KEY, number).user_id == READER
        assert connection.execute("SELECT proven_at FROM ops.erasures").fetchone() == (None,)


def test_proof_waits_for_the_topic_and_then_forgets(places: Places, number: int) -> None:
    client = dict(places.kafka)
    events = [
        event(n, event_id=f"e{n}", user_id=READER if n % 3 else OTHER, session_id=f"proof-{n}")
        for n in range(30)
    ]
    produce(client["bootstrap.servers"], places.topic, as_records(events))
    finding, newest = search_kafka(places, READER)
    assert finding.found == 20
    assert newest is not None
    with psycopg.connect(places.features_dsn) as connection:
        with pytest.raises(FoundError, match=r"kafka: .*sends events of the reader"):
            prove(connection, places, number, READER)
        row = connection.execute("SELECT kafka_clear_after, proven_at FROM ops.erasures").fetchone()
        assert row == (newest + timedelta(hours=1, minutes=10) + timedelta(hours=1), None), (
            "the date moves on"
        )

        admin = AdminClient(client)
        ends = [
            TopicPartition(places.topic, part, marks.high)
            for part, marks in watermarks(client, places.topic).items()
        ]
        for outcome in admin.delete_records(ends).values():
            outcome.result()
        prove(connection, places, number, READER)
        row = connection.execute(
            "SELECT subject_encrypted, proven_at IS NOT NULL FROM ops.erasures"
        ).fetchone()
        assert row == (None, True)
        assert find_erasure(connection, KEY, number).user_id is None
        searches = connection.execute(
            "SELECT store, found FROM ops.erasure_searches ORDER BY searched_at"
        ).fetchall()
    assert {store for store, _ in searches} == {*STORES, "kafka"}
    assert [found for store, found in searches if store == "kafka"] == [20, 0]
    assert sum(found for store, found in searches if store != "kafka") == 0
