"""privacy__erase_user through everything, by the real scheduler: two readers, one of whom is forgotten everywhere."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from include.common.erasure.erasures import digest_of
from include.common.hive.metastore import open_metastore
from include.common.hive.reading import hive_dataset
from include.common.hive.tables import RAW_EVENTS, SESSION_FEATURES, USER_FEATURE_HISTORY, USER_FEATURES_DAILY
from include.common.kafka.offsets import watermarks
from include.common.migrate import migrate
from include.common.names import Conn, Dag, Topic
from include.common.postgres import with_database
from include.contract.event import EventType
from tests.integration.batch_support import as_records, event, produce
from tests.integration.conftest import AirflowStack
from tests.integration.erasure_support import dump_of, files_with, tables_with

HOUR_MS = 3_600_000
HIVE = {"raw_events": RAW_EVENTS, "session_features": SESSION_FEATURES, "user_features_daily": USER_FEATURES_DAILY,
        "user_feature_history": USER_FEATURE_HISTORY}  # fmt: skip
POSTGRES = ("realtime.session_features", "realtime.user_features", "marts.user_features")
OF_A_CUT = {"cut_id", "as_of", "known_at", "publication_id"}
STEPS = {"stream", "archive", "marts", "features", "airflow", "pages"}


class Readers:
    """One who stays and one who goes, and what the stores have of them."""

    def __init__(self, stack: AirflowStack) -> None:
        self.stack, self.api = stack, stack.api
        self.kafka = stack.env["WEBTOON_KAFKA"]
        mark = uuid.uuid4().hex
        self.gone, self.kept, self.filler = (f"{name}-{mark}" for name in ("gone", "kept", "filler"))
        self.key = json.loads(stack.env[f"AIRFLOW_CONN_{Conn.ERASURE_KEY.upper()}"])["password"].encode()
        self.now_ms = int(time.time() * 1000)
        self.mark = mark[:8]

    def sessions_of(self, user_id: str, count: int = 6) -> list[tuple[bytes, bytes]]:
        """Sessions of three hours ago: entered, scrolled, completed."""
        begun_ms = self.now_ms - 3 * HOUR_MS
        return as_records([
            event(
                n, at_ms=begun_ms + n * 1000, event_id=f"{user_id}-{n}", user_id=user_id, episode_id=f"{self.mark}-ep",
                session_id=f"s-{digest_of(user_id, self.key)[:12]}-{n // 3}", event_type=kind,
                scroll_ratio=0.5 if kind is EventType.SCROLL else None,
            )
            for n in range(3 * count)
            for kind in [(EventType.ENTER, EventType.SCROLL, EventType.COMPLETE)[n % 3]]
        ])  # fmt: skip

    def clock(self) -> list[tuple[bytes, bytes]]:
        """Events of now in every bucket: what was three hours ago is final."""
        now_ms = int(time.time() * 1000)
        return as_records([
            event(
                n, at_ms=now_ms, event_id=f"{self.mark}-{now_ms}-{n}", user_id=self.filler, episode_id=f"{self.mark}-ep",
                session_id=f"{self.mark}-{now_ms}-{n}",
            )
            for n in range(400)
        ])  # fmt: skip

    def send(self, *records: tuple[bytes, bytes]) -> None:
        produce(self.kafka, Topic.EVENTS, records)

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.feature_dsn) as connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def run(self, dag_id: str, conf: dict[str, Any] | None = None, limit_s: float = 240) -> str:
        """A new run of the DAG, which must succeed; returns its id."""
        self.api.set_paused(dag_id, False)
        run_id = self.api.trigger(dag_id, conf)
        assert self.api.wait_for_run(dag_id, run_id, timeout_s=limit_s) == "success", self.api.task_states(
            dag_id, run_id
        )
        return run_id

    def erase(self, reason: str, limit_s: float = 420) -> dict[str, int]:
        """Fill in the form and await the run that does it; returns what each store removed."""
        self.run(Dag.ERASE_USER, {"user_id": self.gone, "reason": reason}, limit_s=120)
        ((number,),) = self.sql(
            "SELECT erasure_id FROM ops.erasures WHERE subject_digest = %s", digest_of(self.gone, self.key)
        )
        started = [
            run["dag_run_id"]
            for run in self.api.runs(Dag.ERASE_USER)
            if run["dag_run_id"].startswith(f"erasure_{number}__")
        ]
        state = self.api.wait_for_run(Dag.ERASE_USER, started[0], timeout_s=limit_s)
        found = self.sql("SELECT store, found, places FROM ops.erasure_searches WHERE found > 0")
        assert state == "success", json.dumps([self.api.task_states(Dag.ERASE_USER, started[0]), found])
        rows = self.sql("SELECT store, removed FROM ops.erasure_steps WHERE erasure_id = %s", number)
        return {store: removed for store, removed in rows if store in STEPS}

    def rows_of(self, user_id: str) -> dict[str, list[Any]]:
        """All rows of a reader, by table; of the published ones what does not say which cut brought them."""
        import pyarrow.dataset as ds

        found: dict[str, list[Any]] = {
            table: self.sql(f"SELECT to_jsonb(t) FROM {table} AS t WHERE user_id = %s ORDER BY 1", user_id)
            for table in POSTGRES
        }
        with open_metastore(self.stack.context.metastore_uri) as metastore:
            for name, table in HIVE.items():
                rows = (
                    hive_dataset(metastore, table).to_table(filter=ds.field("user_id") == user_id).to_pylist()
                )
                found[name] = sorted(
                    str({key: row[key] for key in row if key not in OF_A_CUT}) for row in rows
                )
        return found

    def places_of(self, user_id: str) -> set[str]:
        """Tables of both databases, and files of the whole stack, in which the id stands."""
        airflow = with_database(self.stack.context.admin_dsn, "airflow")
        found = tables_with(dump_of(self.stack.feature_dsn), user_id)
        found |= {f"airflow {table}" for table in tables_with(dump_of(airflow), user_id)}
        return found | set(files_with(self.stack.context.paths.root, user_id))

    def await_that(self, what: str, condition: Callable[[], bool], limit_s: float = 120) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"not in {limit_s} s: {what}"
            time.sleep(0.5)

    def final_readings(self, user_id: str) -> int:
        """Readings of closed sessions."""
        query = "SELECT count(*) FROM realtime.session_features WHERE user_id = %s AND is_final"
        return int(self.sql(query, user_id)[0][0])

    def stream_has_read_all(self) -> bool:
        """Is the stream level with the topic?"""
        rows = self.sql("SELECT end_offsets FROM ops.stream_batches ORDER BY batch_id DESC LIMIT 1")
        held = watermarks({"bootstrap.servers": self.kafka}, Topic.EVENTS)
        return bool(rows) and all(
            int(rows[0][0].get(str(part), 0)) >= marks.high for part, marks in held.items()
        )


@pytest.fixture(scope="module")
def readers(airflow_alone: AirflowStack) -> Readers:
    """Both have gone through stream, archive, model and publication; somebody has traced the one who goes."""
    migrate(airflow_alone.feature_dsn)
    it = Readers(airflow_alone)
    it.api.wait_for_dags({Dag.ERASE_USER, Dag.SESSIONIZE, Dag.ARCHIVE, Dag.MODEL}, timeout_s=60)
    it.run(Dag.MIGRATE_STORE)
    it.run(Dag.REFERENCE_LOAD)  # thresholds, without which no cut is tested
    it.sql(
        "INSERT INTO reference.episode_metadata (episode_id, title_id, title, episode_number, genre, tags, rating,"
        " launch_date, valid_from) VALUES (%s, 't', 'T', 1, 'drama', '{}', 8, '2026-01-01', '2026-01-01')",
        f"{it.mark}-ep",
    )
    it.api.set_paused(Dag.SESSIONIZE, False)
    it.send(*it.sessions_of(it.gone), *it.sessions_of(it.kept))
    it.send(*it.clock())
    it.await_that("final readings", lambda: it.final_readings(it.gone) == it.final_readings(it.kept) == 6)
    it.run(Dag.ARCHIVE)
    it.run(Dag.MODEL)
    it.run(Dag.PUBLISH_BATCH)
    it.run(Dag.TRACE_VALUE, {"traced_value": f"realtime.user_features/{it.gone}"})
    return it


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_one_reader_is_forgotten_and_the_other_stays(readers: Readers) -> None:
    before = {user_id: readers.rows_of(user_id) for user_id in (readers.gone, readers.kept)}
    assert {table for table, rows in before[readers.gone].items() if rows} == {*POSTGRES, *HIVE}
    assert len(readers.places_of(readers.gone)) > 8

    removed = readers.erase("ticket 1")
    assert set(removed) == STEPS
    assert {store for store, count in removed.items() if count} >= {
        "stream",
        "archive",
        "features",
        "airflow",
        "pages",
    }
    assert {table: rows for table, rows in readers.rows_of(readers.gone).items() if rows} == {}
    assert readers.places_of(readers.gone) == set(), "nothing but Kafka"
    assert readers.rows_of(readers.kept) == before[readers.kept]
    assert readers.places_of(readers.kept) != set()

    # what was sent before is sent again; all of it is late, too
    readers.send(*readers.sessions_of(readers.gone), *readers.clock())
    readers.await_that("the stream has read all", readers.stream_has_read_all)
    readers.run(Dag.ARCHIVE)
    assert readers.places_of(readers.gone) == set(), "nothing came back"

    again = readers.erase("ticket 2")
    assert set(again) == STEPS
    assert {store: count for store, count in again.items() if count} == {"airflow": 1}, (
        "the second form itself"
    )
    ((held,),) = readers.sql(
        "SELECT found FROM ops.erasure_searches WHERE store = 'kafka' ORDER BY searched_at DESC LIMIT 1"
    )
    assert held == 36

    client = {"bootstrap.servers": readers.kafka}
    ends = [
        TopicPartition(Topic.EVENTS, part, marks.high)
        for part, marks in watermarks(client, Topic.EVENTS).items()
    ]
    admin = AdminClient(client)  # held: its answers come as long as it lives
    for outcome in admin.delete_records(ends).values():
        outcome.result()
    digest = digest_of(readers.gone, readers.key)
    readers.sql("UPDATE ops.erasures SET kafka_clear_after = now() WHERE subject_digest = %s", digest)
    readers.run(Dag.PROVE_ERASURES)
    query = (
        "SELECT subject_encrypted, proven_at IS NOT NULL, reason FROM ops.erasures WHERE subject_digest = %s"
    )
    rows = readers.sql(query, digest)
    assert rows == [(None, True, "ticket 1")]
