"""Freshness measured on real ledgers and a real topic; and DAG ops__watch_freshness on a whole Airflow."""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from include.common.kafka.offsets import records_at
from include.common.migrate import migrate
from include.common.names import Dag, Topic
from include.contract.event import encode
from include.orchestration.freshness import history
from include.orchestration.freshness.judge import Measured, judge
from include.orchestration.freshness.measure import measure
from local_stack.demo.clock import Clock
from local_stack.demo.runs import Runs
from local_stack.slack_receiver import as_text
from tests.integration.batch_support import event
from tests.integration.conftest import AirflowStack, get_page

GENERATION = 9002
"""Not one of a real stream's: the DAG's test shares Airflow's feature database."""
REALTIME = "realtime.session_features"


class Ledger:
    """Rows of the ledgers; times are minutes ago."""

    def __init__(self, dsn: str, generation: int = 1) -> None:
        self.dsn = dsn
        self.generation = generation
        self.now = datetime.now(UTC)
        self.batches = 0

    def ago(self, minutes: float) -> datetime:
        return self.now - timedelta(minutes=minutes)

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def begin(self, since: float = 120) -> None:
        self.sql(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules, started_at, status_since)"
            """ VALUES (%s, 'current', 'c', '{"start_offsets": {"0": 0, "1": 0}}', %s, %s)""",
            self.generation, self.ago(240), self.ago(since),
        )  # fmt: skip

    def commit(
        self, minutes: float, oldest_s: float, events: int, final: int = 0, reached: Mapping[str, int] | None = None
    ) -> int:  # fmt: skip
        """A micro-batch whose oldest event was `oldest_s` old at its commit; returns its position."""
        at = self.ago(minutes)
        self.batches += 1
        return int(
            self.sql(
                "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
                " dead_letters, duplicates, late_events, rows_upserted, rows_deleted, committed_at, min_kafka_at)"
                " VALUES (%s, %s, '{}', %s, %s, %s, 0, 0, 0, 0, 0, %s, %s) RETURNING position",
                self.generation, self.batches, json.dumps(reached or {"0": 0, "1": 0}), final, events, at,
                at - timedelta(seconds=oldest_s),
            )[0][0]
        )  # fmt: skip

    def cut(self, minutes: float, position: int, as_of: float) -> int:
        """A published cut."""
        return int(
            self.sql(
                "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)"
                " VALUES (%s, %s, %s, %s, 'published', %s) RETURNING cut_id",
                f"run-{position}", self.generation, position, self.ago(as_of), self.ago(minutes),
            )[0][0]
        )  # fmt: skip

    def hive(self, table: str, minutes: float, cut_id: int) -> None:
        """A publication of a partition."""
        self.sql(
            "INSERT INTO ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count, published_at)"
            " VALUES (%s, 'dt=2026-11-26', %s, %s, 'l', 1, %s)",
            table, f"publish-{cut_id}", cut_id, self.ago(minutes),
        )  # fmt: skip

    def slice(self, topic: str, status: str, start: int, end: int, minutes: float | None) -> None:
        """An archive slice of partition 0."""
        self.sql(
            "INSERT INTO ops.archive_slices (slice_id, run_id, topic, start_offsets, end_offsets, status, produced, archived,"
            " finished_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            f"s{start}", f"r{start}", topic, json.dumps({"0": start, "1": 0}), json.dumps({"0": end, "1": 0}), status,
            end - start, end - start if status == "published" else None, None if minutes is None else self.ago(minutes),
        )  # fmt: skip


class Bench(Ledger):
    """A topic of two partitions beside the ledgers."""

    def __init__(self, kafka: str, topic: str, dsn: str) -> None:
        super().__init__(dsn)
        self.kafka = {"bootstrap.servers": kafka}
        self.topic = topic

    def send(self, minutes: float, count: int, partition: int = 0, value: bytes = b"x") -> None:
        """Records of that Kafka time."""
        producer = Producer(self.kafka)
        for _ in range(count):
            at_ms = int(self.ago(minutes).timestamp() * 1000)
            producer.produce(self.topic, value, key=b"s1", partition=partition, timestamp=at_ms)
        assert producer.flush(30) == 0

    def measure(self) -> dict[str, Measured]:
        """By table, with ages as of `now` rather than of the moment of measuring."""
        at, found = measure(self.dsn, self.kafka, self.topic)
        passed = (at - self.now).total_seconds()

        def then(age_s: float | None) -> float | None:
            return None if age_s is None else age_s - passed

        return {
            item.table: Measured(
                item.table, sorted(item.points), then(item.waiting_s), then(item.value_age_s)
            )
            for item in found
        }


@pytest.fixture
def bench(kafka: str, topic_factory: Callable[..., str], feature_db: str) -> Bench:
    return Bench(kafka, topic_factory(partitions=2), feature_db)


def test_records_at_are_the_first_held_from_an_offset_on(bench: Bench) -> None:
    bench.send(9, 2, value=b"a")
    bench.send(3, 1, value=b"b")
    bench.send(1, 1, partition=1, value=b"c")
    found = records_at(bench.kafka, bench.topic, [{0: 0, 1: 0}, {0: 2, 1: 1}, {0: 3}, None, {}, {0: 1, 7: 0}])
    values = [{number: record.value for number, record in records.items()} for records in found]
    assert values == [{0: b"a", 1: b"c"}, {0: b"b"}, {}, {0: b"a", 1: b"c"}, {}, {0: b"a"}]
    assert found[1][0].time_ms == int(bench.ago(3).timestamp() * 1000)
    assert found[1][0].key == b"s1"


def test_a_new_store_and_an_empty_topic_are_idle(bench: Bench) -> None:
    found = bench.measure()
    assert {table: (m.points, m.waiting_s, m.value_age_s) for table, m in found.items()} == dict.fromkeys(
        found, ([], None, None)
    )


def test_realtime_is_of_the_ledger_and_what_the_topic_holds_beyond_it(bench: Bench) -> None:
    bench.begin(since=8)
    bench.send(7, 4)
    bench.send(2, 1, partition=1)
    bench.commit(20, 99, 5)  # before the window
    bench.commit(9, 500, 5)  # a replay, before this generation was swapped in
    bench.commit(6, 1.5, 300)
    bench.commit(5, 2.5, 100, reached={"0": 3, "1": 1})
    found = bench.measure()
    for table in (REALTIME, "realtime.user_features", "serving.episode_features"):
        assert found[table].points == [(1.5, 300), (2.5, 100)]
        assert found[table].waiting_s == pytest.approx(7 * 60, abs=0.01), "record 3 of partition 0"
    bench.commit(4, 1.0, 1, reached={"0": 4, "1": 1})
    assert bench.measure()[REALTIME].waiting_s is None


def test_the_age_of_the_newest_value_is_of_its_event_time(bench: Bench) -> None:
    bench.sql(
        "INSERT INTO realtime.episode_features SELECT 'e' || n, 0, 1, 1, 0, 0, 0, 0, 0, 0, %s - n * interval '1 hour',"
        " now(), 1, 1, now() FROM generate_series(0, 2) AS n",
        bench.ago(30),
    )
    bench.begin()
    found = bench.measure()[REALTIME]
    assert found.value_age_s == pytest.approx(30 * 60, abs=0.01)
    assert found.points == [], "old, and not late"


def test_marts_are_measured_from_the_event_that_made_readings_final(bench: Bench) -> None:
    bench.begin()
    published = bench.commit(60, 1, 10, final=7)
    bench.cut(55, published, as_of=90)
    bench.commit(20, 2, 100)  # makes nothing final
    bench.commit(15, 3, 100, final=40)
    reached = bench.commit(14, 1, 100, final=2)
    bench.commit(12, 1, 100, final=5)
    bench.cut(5, reached, as_of=47)
    found = bench.measure()
    for table in ("marts.user_features", "marts.segment_features", "serving.segment_features"):
        assert found[table].points == [(9 * 60 + 1, 2), (10 * 60 + 3, 40)]
        assert found[table].waiting_s == pytest.approx(12 * 60 + 1, abs=0.01)
        assert found[table].value_age_s == pytest.approx(47 * 60, abs=0.01)
    bench.send(30, 1)
    assert bench.measure()["marts.user_features"].waiting_s == pytest.approx(30 * 60, abs=0.01), (
        "what the stream has not read cannot be in a mart"
    )


def test_hive_has_publications_of_its_own(bench: Bench) -> None:
    bench.begin()
    first, second = bench.commit(40, 1, 10, final=3), bench.commit(30, 1, 10, final=4)
    cuts = [bench.cut(38, first, as_of=70), bench.cut(28, second, as_of=60)]
    bench.hive("session_features", 36, cuts[0])
    bench.hive("session_features", 6, cuts[1])
    bench.hive("user_features_daily", 5, cuts[0])
    found = bench.measure()
    assert found["webtoon.session_features"].points == [(24 * 60 + 1, 4)]
    assert found["webtoon.session_features"].waiting_s is None
    assert found["webtoon.user_features_daily"].points == [(35 * 60 + 1, 3)]
    assert found["webtoon.user_features_daily"].waiting_s == pytest.approx(30 * 60 + 1, abs=0.01)
    assert found["webtoon.episode_features_daily"].points == []
    assert found["webtoon.episode_features_daily"].waiting_s == pytest.approx(40 * 60 + 1, abs=0.01)


def test_raw_events_are_of_the_slices_and_the_records_at_their_offsets(bench: Bench) -> None:
    at_ms = int(bench.ago(26).timestamp() * 1000)
    bench.send(25, 3)
    bench.send(24, 1, value=encode(event(1, at_ms=at_ms, session_id="s1")))
    bench.send(12, 2)
    assert bench.measure()["webtoon.raw_events"].waiting_s == pytest.approx(25 * 60, abs=0.01)
    bench.slice(bench.topic, "published", 0, 4, minutes=8)
    found = bench.measure()["webtoon.raw_events"]
    assert found.points == [(pytest.approx(17 * 60, abs=0.01), 4)]
    assert found.waiting_s == pytest.approx(12 * 60, abs=0.01)
    assert found.value_age_s == pytest.approx(26 * 60, abs=0.01), (
        "event time of the last record, not its Kafka time"
    )
    bench.sql("UPDATE ops.archive_slices SET decided_by = 'somebody'")
    assert bench.measure()["webtoon.raw_events"].points == [], "released: the gate had withheld it"
    bench.slice(bench.topic, "recorded", 4, 5, minutes=None)
    bench.slice(bench.topic, "quarantined", 5, 6, minutes=2)
    assert bench.measure()["webtoon.raw_events"].waiting_s == pytest.approx(12 * 60, abs=0.01), (
        "the first slice that did not end"
    )
    bench.sql("UPDATE ops.archive_slices SET status = 'quarantined' WHERE status = 'recorded'")
    assert bench.measure()["webtoon.raw_events"].waiting_s is None


def test_history_keeps_a_breach_and_the_slo_of_its_time(feature_db: str) -> None:
    now = datetime.now(UTC)
    late = Measured(REALTIME, [(7.0, 3)], None, None)
    with psycopg.connect(feature_db, autocommit=True) as connection:
        slos = history.slos(connection, now)
        assert (slos[REALTIME], slos["marts.user_features"]) == (5, 1200)
        connection.execute(
            "INSERT INTO reference.thresholds VALUES (%s, 30, 'seconds', 'm', '-infinity', 'infinity')",
            (f"freshness_slo_s:{REALTIME}",),
        )
        assert history.slos(connection, now)[REALTIME] == 30
        old = judge(late, 5, None, now - history.KEEP - timedelta(minutes=5))
        history.record(connection, now - history.KEEP - timedelta(minutes=5), [old])
        first = judge(late, 5, None, now)
        history.record(connection, now, [first])
        assert history.newest_rows(connection) == {REALTIME: first}
        history.mark_told(connection, [REALTIME, "x"], now)
        told = history.newest_rows(connection)[REALTIME]
        assert (told.missed_since, told.told_at) == (now, now)
        history.mark_told(connection, [REALTIME], None)
        assert history.newest_rows(connection)[REALTIME].missed_since is None
        day = history.rows_between(connection, now - timedelta(days=400), now + timedelta(seconds=1))
        assert [at for at, _ in day[REALTIME]] == [now], "older than KEEP is dropped"
        assert connection.execute("SELECT met FROM ops.freshness").fetchall() == [(False,)]


@pytest.fixture
def stream(airflow_stack: AirflowStack) -> Iterator[Ledger]:
    """A generation of this test's own in Airflow's feature database, and the topic."""
    migrate(airflow_stack.feature_dsn)
    admin = AdminClient({"bootstrap.servers": airflow_stack.env["WEBTOON_KAFKA"]})
    if Topic.EVENTS not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(Topic.EVENTS, num_partitions=3)])[Topic.EVENTS].result()
    ledger = Ledger(airflow_stack.feature_dsn, GENERATION)
    current = ledger.sql(
        "UPDATE ops.stream_generations SET status = 'retired' WHERE status = 'current' RETURNING generation"
    )
    ledger.sql("DELETE FROM ops.freshness")
    ledger.begin()
    airflow_stack.api.wait_for_dags({Dag.WATCH_FRESHNESS}, timeout_s=60)
    yield ledger
    airflow_stack.api.set_paused(Dag.WATCH_FRESHNESS, True)
    ledger.sql("DELETE FROM ops.stream_batches WHERE generation = %s", GENERATION)
    ledger.sql("DELETE FROM ops.stream_generations WHERE generation = %s", GENERATION)
    ledger.sql("DELETE FROM ops.freshness")
    for (generation,) in current:
        ledger.sql("UPDATE ops.stream_generations SET status = 'current' WHERE generation = %s", generation)


def test_a_breach_is_told_once_and_its_end_too(airflow_stack: AirflowStack, stream: Ledger) -> None:
    api, told = airflow_stack.api, len(airflow_stack.slack.messages())
    reached = {"0": 1 << 40, "1": 1 << 40, "2": 1 << 40}

    def messages() -> list[str]:
        """About this table: other tests' records may make others late."""
        texts = (as_text(message["payload"]) for message in airflow_stack.slack.messages()[told:])
        return [text for text in texts if Dag.WATCH_FRESHNESS in text and REALTIME in text]

    def run() -> list[str]:
        run_id = Runs(api, Clock(steps=1)).start(Dag.WATCH_FRESHNESS)
        assert api.wait_for_run(Dag.WATCH_FRESHNESS, run_id, timeout_s=120) == "success"
        return messages()

    stream.commit(0.1, oldest_s=42.0, events=5, reached=reached)
    (breach,) = run()
    assert breach.startswith("*ops__watch_freshness: SLO of ")
    assert "tables missed*" in breach
    assert "took up to 42.0 s (SLO 5.0 s, reference.thresholds freshness_slo_s:" in breach
    assert "docs/runbooks/ops_watch_freshness.md" in breach
    assert run() == [breach], "Slack knows"

    stream.sql("DELETE FROM ops.stream_batches WHERE generation = %s", GENERATION)
    stream.commit(0, oldest_s=0.5, events=5, reached=reached)
    _, recovery = run()
    assert "kept again*" in recovery
    assert "was missed since 20" in recovery
    assert run() == [breach, recovery]
    address = f"{api.base_url}/freshness/"
    assert get_page(address) == (401, "")
    status, page = get_page(address, api.token())
    assert status == 200
    assert f"<code>{REALTIME}</code>" in page
    assert "42.0 s" not in page, "the last value"
    assert 'class="miss"' in page, "and the day"

    # a run of the schedule may have come between
    rows = stream.sql(
        "SELECT DISTINCT met, p99_s FROM ops.freshness WHERE table_name = %s ORDER BY met", REALTIME
    )
    assert rows == [(False, 42.0), (True, 0.5)]
