"""More generations through the real stream: with other rules, and from a timestamp with the same ones;
compared with the recomputation in SQL, dropped, swapped in, rolled back."""

import random
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from include.contract.rules import SessionRules
from include.orchestration.roll_out import generations, start, topic
from include.orchestration.roll_out.comparison import Comparison, compare
from include.orchestration.roll_out.form import PARAMS, Wish
from include.orchestration.roll_out.swap import swap
from include.spark_jobs.stream_sessionize.generations import Plan
from tests.integration import stream_support as support
from tests.integration.stream_support import BASE_MS, MINUTE_MS, StreamJob, good, produce, scalar
from tests.oracle import OracleRules, create_events_table, insert_events, run_oracle
from tests.vectors import VectorRecord

EVENTS, AT_THE_SWAP = 4_000, 3_200
PARTITIONS = 2
HOURS = 12
FIRST = {"max_length_ms": 45 * MINUTE_MS, "lateness_ms": MINUTE_MS}
"""Rules of the first generation, given to the job: a warm-up of 81 minutes."""
OTHER = {"gap_ms": 2 * MINUTE_MS, "dwell_cap_ms": MINUTE_MS, "state_partitions": 1}


def short_visits(seed: int) -> list[VectorRecord]:
    """Records of visits of at most 35 minutes over 12 hours, so that no chain of events reaches back beyond a
    warm-up; out of order, late and bad ones among them."""
    rng = random.Random(seed)
    arrivals: list[tuple[int, dict[str, Any]]] = []
    while len(arrivals) < EVENTS:
        times = [BASE_MS + rng.randrange(HOURS * 60 * MINUTE_MS)]
        for _ in range(rng.randrange(2, 8)):
            times.append(times[-1] + rng.randrange(5 * MINUTE_MS))
        arrivals += support._visit(rng, support._reader(rng, f"s{len(arrivals)}"), times)
    arrivals.sort(key=lambda it: it[0])
    return support._as_records(rng, arrivals[:EVENTS], PARTITIONS)


class Stream:
    """The job, a topic that grows, and what came of it."""

    def __init__(self, job: StreamJob, kafka: str) -> None:
        self.job = job
        self.dsn = job.dsn
        self.kafka = kafka
        self.records = short_visits(7)
        self.sent = 0

    def send(self, to: int) -> None:
        """Send the records up to number `to`."""
        produce(self.kafka, self.job.topic, self.records[self.sent : to])
        self.sent = to

    def begin(self, settings: dict[str, int], **form: Any) -> generations.Entry:
        """What task plan_generation does."""
        wish = Wish.of({name: param.value for name, param in PARAMS.items()} | form)
        held = topic.held({"bootstrap.servers": self.kafka}, self.job.topic)
        oldest = scalar(
            self.dsn, "SELECT min(session_start_ms) FROM realtime.session_features WHERE NOT is_final"
        )
        with psycopg.connect(self.dsn) as connection:
            plan = generations.current(connection).plan.with_settings(settings)
            now_ms = BASE_MS + HOURS * 60 * MINUTE_MS
            chosen = start.choose_start(wish, plan.rules, held, oldest, now_ms)
            plan = generations.publishing_from(plan, chosen.publish_from_ms)
            number = generations.begin(self.dsn, f"run-{uuid.uuid4().hex}", plan, chosen.offsets)
            return generations.find(connection, number)

    def fill(self, number: int) -> Comparison:
        """Run the shadow's driver to the topic's end, and compare."""
        self.job.catch_up("--generation", str(number))
        return compare(self.dsn, number, "run")

    def events_of(self, number: int) -> int:
        """Records that a generation has counted."""
        return int(
            scalar(self.dsn, "SELECT sum(events) FROM ops.stream_batches WHERE generation = %s", number)
        )

    def assert_recomputed(self, *numbers: int, schema: str = "realtime", **rules: int) -> None:
        """The rows equal the recomputation of all records sent; late events are those of generations
        `numbers`."""
        with psycopg.connect(self.dsn) as connection:
            create_events_table(connection, "public.events")
            insert_events(connection, "public.events", good(self.records[: self.sent]))
            connection.execute(
                "CREATE TEMP TABLE late AS SELECT DISTINCT ON (kafka_partition, kafka_offset) * FROM quality.late_events"
                " WHERE generation = ANY(%s) ORDER BY kafka_partition, kafka_offset, generation",
                (list(numbers),),
            )
            result = run_oracle(
                connection, "public.events", "pg_temp.late", rules=OracleRules(**{**FIRST, **rules}),
                readings_table=f"{schema}.session_features", users_table=f"{schema}.user_features",
                episodes_table=f"{schema}.episode_features",
            )  # fmt: skip
            connection.rollback()
        result.assert_equal()
        assert result.counts["late"] > 20 < result.counts["final_readings"]


@pytest.fixture
def stream(kafka: str, topic_factory: Callable[..., str], stream_job: Callable[[str], StreamJob]) -> Stream:
    return Stream(stream_job(topic_factory(partitions=PARTITIONS)), kafka)


@pytest.mark.long
def test_generations_are_dropped_swapped_in_and_rolled_back_and_each_counts_every_event_once(
    stream: Stream,
) -> None:
    stream.send(AT_THE_SWAP)
    stream.job.catch_up(
        *(w for name, value in FIRST.items() for w in (f"--{name.replace('_', '-')}", str(value)))
    )
    stream.assert_recomputed(1)

    # other rules, from the earliest record: the difference is shown, and nothing is left of them
    other = stream.begin(OTHER)
    assert other.plan == Plan(
        state_partitions=1, rules=SessionRules(**FIRST | {"gap_ms": 2 * MINUTE_MS, "dwell_cap_ms": MINUTE_MS})
    )
    readings, users, episodes = stream.fill(other.number).found
    assert readings.only_candidate > 500
    assert {"dwell_time_ms", "event_count"} <= readings.by_column.keys()
    assert users.different > 50 < episodes.different + episodes.in_motion
    stream.assert_recomputed(
        other.number, schema="realtime_shadow", gap_ms=2 * MINUTE_MS, dwell_cap_ms=MINUTE_MS
    )
    generations.drop(stream.dsn, other.number)
    stream.assert_recomputed(1)

    # the same rules, from a timestamp: older sessions are copied, and no row differs
    same = stream.begin({}, start="timestamp", from_timestamp="2026-01-01T06:00:00Z")
    assert same.plan.publish_from_ms == BASE_MS + 6 * 60 * MINUTE_MS
    assert all(offset > 500 for offset in same.reached.values()), "it reads less than half of the topic"
    compared = stream.fill(same.number)
    assert [(it.different, it.in_motion) for it in compared.found] == [(0, 0)] * 3
    own = scalar(stream.dsn, "SELECT count(*) FROM realtime_shadow.session_features WHERE batch_id >= 0")
    assert 300 < own < compared.found[0].rows_equal - 300
    swap(stream.dsn, same.number)
    stream.send(EVENTS)
    stream.job.catch_up()
    stream.assert_recomputed(1, same.number)
    assert stream.events_of(same.number) == EVENTS - sum(same.reached.values())
    assert stream.events_of(1) == AT_THE_SWAP

    swap(stream.dsn, 1)
    stream.job.catch_up()
    stream.assert_recomputed(1)
    assert stream.events_of(1) == EVENTS


def test_what_kafka_holds_by_time_and_by_offset(kafka: str, topic_factory: Callable[..., str]) -> None:
    name = topic_factory(partitions=3)
    produce(
        kafka,
        name,
        [
            VectorRecord(0, 0, 1000, b"k", b"v"),
            VectorRecord(0, 1, 2000, b"k", b"v"),
            VectorRecord(1, 0, 1500, b"k", b"v"),
        ],
    )
    held = topic.held({"bootstrap.servers": kafka}, name)
    assert (held.low, held.high) == ({"0": 0, "1": 0, "2": 0}, {"0": 2, "1": 1, "2": 0})
    assert held.first_ms == {"0": 1000, "1": 1500}
    assert held.offsets_at(1200) == {"0": 1, "1": 0, "2": 0}
    assert held.offsets_at(-5) == {"0": 0, "1": 0, "2": 0}
    assert held.times_at({"0": 1, "1": 1, "2": 0}) == {"0": 2000}
