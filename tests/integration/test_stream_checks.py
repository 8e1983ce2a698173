"""What the checks of the stream measure, on a real broker and a real ledger; and the page's history of the same."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from confluent_kafka import Producer

from include.common.kafka.offsets import offsets_at
from include.orchestration.progress_page.history import read_history
from include.orchestration.progress_page.html import render
from include.orchestration.stream_checks.faults import PROGRESS, Limits, faults
from include.orchestration.stream_checks.measure import Measurement, measure

ALLOWED = timedelta(minutes=2)
LIMITS = Limits(ALLOWED, lag_growth_records=10, dead_letter_percent=3, freshness_s=4)


class Bench:
    """A topic of two partitions and a ledger; times are minutes ago, `start` is when the generation was begun, `swapped`
    when it became the current one (at once, where it is not given)."""

    def __init__(self, kafka: str, topic: str, dsn: str) -> None:
        self.kafka = {"bootstrap.servers": kafka}
        self.topic = topic
        self.dsn = dsn
        self.now = datetime.now(UTC)
        self.batches = 0

    def ago(self, minutes: float) -> datetime:
        return self.now - timedelta(minutes=minutes)

    def begin(self, start: float, swapped: float | None = None) -> None:
        rules = json.dumps({"start_offsets": {"0": 0, "1": 0}})
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules, started_at, status_since)"
                " VALUES (1, 'current', 'c', %s, %s, %s)",
                (rules, self.ago(start), self.ago(start if swapped is None else swapped)),
            )

    def commit(
        self, minutes: float, reached: Mapping[str, int], events: int, *, dead: int = 0, oldest_s: float = 1.0
    ) -> None:
        """A micro-batch of `events` records, the oldest of them `oldest_s` old when it was committed."""
        at = self.ago(minutes)
        with psycopg.connect(self.dsn) as connection:
            connection.execute(
                "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
                " dead_letters, duplicates, late_events, rows_upserted, rows_deleted, committed_at, min_kafka_at)"
                " VALUES (1, %s, '{}', %s, 0, %s, %s, 0, 0, 0, 0, %s, %s)",
                (self.batches, json.dumps(reached), events, dead, at, at - timedelta(seconds=oldest_s)),
            )
        self.batches += 1

    def send(self, minutes: float, partition: int, count: int) -> None:
        """Records of that Kafka time."""
        producer = Producer({**self.kafka, "linger.ms": 5})
        for _ in range(count):
            at_ms = int(self.ago(minutes).timestamp() * 1000)
            producer.produce(self.topic, b"x", partition=partition, timestamp=at_ms)
        assert producer.flush(30) == 0

    def measure(self) -> Measurement:
        found = measure(self.dsn, self.kafka, self.topic, ALLOWED)
        assert found is not None
        return found


@pytest.fixture
def bench(kafka: str, topic_factory: Callable[..., str], feature_db: str) -> Bench:
    return Bench(kafka, topic_factory(partitions=2), feature_db)


def test_before_a_generation_is_begun_there_is_nothing_to_measure(bench: Bench) -> None:
    assert measure(bench.dsn, bench.kafka, bench.topic, ALLOWED) is None


def test_lag_of_the_past_is_what_the_topic_held_then_less_what_was_committed_then(bench: Bench) -> None:
    bench.begin(start=60)
    bench.send(30, 0, 5)
    bench.send(7, 0, 10)
    bench.send(7, 1, 3)
    bench.send(3, 1, 20)
    bench.commit(12, {"0": 3, "1": 0}, 3)
    bench.commit(6, {"0": 9, "1": 1}, 7)
    bench.commit(1, {"0": 15, "1": 4}, 9)
    found = bench.measure()
    assert found.lags == (5 - 3, (15 - 9) + (3 - 1), 23 - 4)
    assert found.overdue_records == 23 - 4, "sent three minutes ago, and not committed"
    assert found.last_commit == bench.ago(1)
    assert found.events == 7 + 9, "what was committed in these ten minutes"


def test_young_records_are_not_overdue(bench: Bench) -> None:
    bench.begin(start=60)
    bench.send(9, 0, 4)
    bench.send(0.5, 0, 6)
    bench.commit(8, {"0": 3, "1": 0}, 3)
    found = bench.measure()
    assert found.overdue_records == 1
    assert found.lags[-1] == 7


def test_a_generation_that_has_just_begun_has_no_past(bench: Bench) -> None:
    bench.begin(start=4)
    bench.send(30, 0, 5)
    found = bench.measure()
    assert found.lags == ()
    assert (found.last_commit, found.overdue_records) == (bench.ago(4), 5)
    assert (found.events, found.dead_letters, found.p99_freshness_s) == (0, 0, None)


def test_what_a_shadow_replayed_before_it_was_swapped_in_is_not_judged(bench: Bench) -> None:
    bench.begin(start=60, swapped=3)
    bench.commit(8, {"0": 5}, 10_000, oldest_s=86_400, dead=500)
    bench.commit(2, {"0": 9}, 40, oldest_s=1.5, dead=1)
    found = bench.measure()
    assert (found.events, found.dead_letters, found.p99_freshness_s) == (40, 1, pytest.approx(1.5))
    assert found.last_commit == bench.ago(2)
    assert faults(found, LIMITS) == {}


def test_a_generation_that_was_rolled_back_is_given_the_time_to_begin(bench: Bench) -> None:
    """It was retired three hours ago: since then it fell behind and committed nothing, by nature."""
    bench.begin(start=600, swapped=1)
    bench.send(200, 0, 3)
    bench.send(7, 0, 10)
    bench.send(3, 1, 20)
    bench.commit(180, {"0": 3, "1": 0}, 3)
    found = bench.measure()
    assert (found.last_commit, found.overdue_records, found.lags) == (bench.ago(1), 30, ())
    assert faults(found, LIMITS) == {}


def test_a_generation_that_was_rolled_back_and_commits_nothing_stands_still(bench: Bench) -> None:
    bench.begin(start=600, swapped=3)
    bench.send(7, 0, 10)
    bench.commit(180, {"0": 0, "1": 0}, 3)
    found = bench.measure()
    assert found.last_commit == bench.ago(3)
    assert list(faults(found, LIMITS)) == [PROGRESS]


def test_freshness_is_weighed_by_events(bench: Bench) -> None:
    bench.begin(start=60)
    bench.commit(11, {"0": 0}, 1_000_000, oldest_s=500)  # too long ago to count
    bench.commit(9, {"0": 0}, 9_895, oldest_s=1.5, dead=12)
    bench.commit(5, {"0": 0}, 10, oldest_s=2.5)
    bench.commit(4, {"0": 0}, 95, oldest_s=30, dead=1)
    found = bench.measure()
    assert found.p99_freshness_s == pytest.approx(2.5), "95 of 10,000 took longer"
    assert (found.events, found.dead_letters) == (10_000, 13)
    bench.commit(3, {"0": 0}, 10, oldest_s=31)
    assert bench.measure().p99_freshness_s == pytest.approx(30), "105 of 10,010 did"


def test_offsets_at_a_time_are_of_the_first_record_from_then_on(bench: Bench) -> None:
    bench.send(10, 0, 2)
    bench.send(5, 0, 3)
    times = [int(bench.ago(minutes).timestamp() * 1000) for minutes in (20, 7, 5, 1)]
    assert offsets_at(bench.kafka, bench.topic, times) == [
        {0: 0, 1: 0},
        {0: 2, 1: 0},
        {0: 2, 1: 0},
        {0: 5, 1: 0},
    ]


def test_the_page_shows_the_ledger_by_minute_and_by_micro_batch(bench: Bench) -> None:
    bench.begin(start=300)
    bench.commit(200, {"0": 1}, 1)
    for _ in range(3):
        bench.commit(10, {"0": 1}, 100, oldest_s=2.0)
    with psycopg.connect(bench.dsn) as connection:
        connection.execute(
            "INSERT INTO ops.stream_progress (generation, batch_id, input_rows, durations_ms, lag_records, state)"
            """ VALUES (1, 3, 100, '{"triggerExecution": 800}', '{"0": 7, "1": 5}', '{}')"""
        )
    history = read_history(bench.dsn, "sessionize", datetime.now(UTC))
    assert [(row["batches"], row["records"]) for row in history.minutes] == [(3, 300)], "two hours"
    assert (history.minutes[0]["max_ms"], history.minutes[0]["max_lag"]) == (800, 12)
    assert [row["batch_id"] for row in history.batches] == [3, 2, 1, 0]
    assert "<td>0: 7, 1: 5</td>" in render(history)
