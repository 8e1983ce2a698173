"""An erased reader leaves everything that the real stream writes, its checkpoint among it, and does not come back."""

import hashlib
import json
import signal
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from include.common.erasure.checkpoint_search import (
    CheckpointSearch,
    search_checkpoint,
    session_needles,
    state_needle,
)
from include.common.erasure.erasures import checked_key, open_erasure
from include.common.settings import ERASURE_KEY_VARIABLE
from include.orchestration.roll_out import generations
from include.spark_jobs.stream_sessionize.generations import Plan
from include.spark_jobs.stream_sessionize.spark import local_dir
from tests.integration import erasure_killed
from tests.integration.erasure_killed import MOMENT_VARIABLE, MOMENTS
from tests.integration.stream_support import (
    MINUTE_MS,
    StreamJob,
    first_bucket_session,
    produce,
    scalar,
    send_tick,
)
from tests.oracle import OracleRules, create_events_table, insert_events, run_oracle
from tests.vectors import VectorRecord

LEAVER, STAYER = "reader-that-leaves", "reader-that-stays"
START_MS = 1_767_225_600_000
WALL_MS = START_MS + 200 * MINUTE_MS


class Topic:
    """What was produced, in order; one partition, so that lateness is easy to say."""

    def __init__(self, kafka: str, name: str) -> None:
        self.kafka, self.name = kafka, name
        self.records: list[VectorRecord] = []

    def send(self, *events: dict[str, Any]) -> None:
        fresh = [
            VectorRecord(
                0,
                len(self.records) + place,
                event["timestamp"],
                event["session_id"].encode(),
                json.dumps(event).encode(),
            )
            for place, event in enumerate(events)
        ]
        produce(self.kafka, self.name, fresh)
        self.records += fresh

    def without(self, user_id: str) -> Iterator[tuple[int, int, int, bytes]]:
        """All events but those of a reader."""
        for record in self.records:
            assert record.value is not None
            if json.loads(record.value)["user_id"] != user_id:
                yield record.partition, record.offset, record.kafka_ms, record.value


def session(name: str, number: int) -> str:
    """A session id of a reader, its name in it; all share a bucket, and so a clock."""
    return first_bucket_session(f"{name}-{number}")


def event(
    user_id: str, session_id: str, minute: float, episode_id: str, kind: str = "enter"
) -> dict[str, Any]:
    return {
        "event_id": uuid.uuid4().hex,
        "user_id": user_id,
        "session_id": session_id,
        "episode_id": episode_id,
        "event_type": kind,
        "country": "KR",
        "device": "phone",
        "platform": "ios",
        "timestamp": START_MS + round(minute * MINUTE_MS),
    }


def visit(user_id: str, session_id: str, minute: float) -> list[dict[str, Any]]:
    """Two readings, three minutes."""
    return [
        event(user_id, session_id, minute, "ep-1"),
        event(user_id, session_id, minute + 1, "ep-1", "complete"),
        event(user_id, session_id, minute + 2, "ep-2"),
        event(user_id, session_id, minute + 3, "ep-2", "exit"),
    ]


def send_visits(topic: Topic) -> None:
    """Readings of both that are final, late and open, and a session of the two."""
    topic.send(*visit(STAYER, session(STAYER, 1), 0), *visit(LEAVER, session(LEAVER, 1), 1))
    topic.send(*visit(STAYER, session(STAYER, 2), 200))
    # too late, and what came first is final
    topic.send(event(LEAVER, session(LEAVER, 1), 4, "ep-1"), event(STAYER, session(STAYER, 1), 4, "ep-1"))
    topic.send(
        *visit(LEAVER, session(LEAVER, 2), 202),
        event(STAYER, session("both", 1), 203, "ep-3"),
        event(LEAVER, session("both", 1), 203.5, "ep-4"),
        event(STAYER, session("both", 1), 204, "ep-3"),
    )


@pytest.fixture
def topic(kafka: str, topic_factory: Callable[..., str]) -> Topic:
    return Topic(kafka, topic_factory(partitions=1))


@pytest.fixture
def job(topic: Topic, stream_job: Callable[[str], StreamJob]) -> StreamJob:
    return stream_job(topic.name)


def readings_and_sums(job: StreamJob, schema: str = "realtime") -> dict[str, Any]:
    """The rows of the stream's three tables in a schema."""
    with psycopg.connect(job.dsn) as connection:
        return {
            table: connection.execute(f"SELECT to_jsonb(t) FROM {schema}.{table} AS t ORDER BY 1").fetchall()
            for table in ("session_features", "user_features", "episode_features")
        }


def everything(job: StreamJob) -> dict[str, Any]:
    """The rows of the stream's tables and of the listed landing files, which must be as the ledger says."""
    found = readings_and_sums(job)
    with psycopg.connect(job.dsn) as connection:
        found["late_events"] = connection.execute(
            "SELECT to_jsonb(t) FROM quality.late_events AS t ORDER BY 1"
        ).fetchall()
        listed = connection.execute(
            "SELECT landing_path, landing_rows, landing_sha256 FROM ops.stream_batches WHERE landing_path IS NOT NULL"
        ).fetchall()
    landing = job.data_dir / "landing"
    for path, rows, sha256 in listed:
        assert hashlib.sha256((landing / path).read_bytes()).hexdigest() == sha256
        assert pq.read_metadata(landing / path).num_rows == rows
    present = {path.relative_to(landing).as_posix() for path in landing.rglob("*") if path.is_file()}
    assert present == {path for path, _, _ in listed}
    found["landing"] = sorted(
        (row for path, _, _ in listed for row in pq.read_table(landing / path).to_pylist()), key=str
    )
    return found


def about(user_id: str, found: dict[str, Any]) -> list[Any]:
    """Rows of one reader: readings, sums, landing; his late events by his session ids, which begin with his id."""
    return [row for rows in found.values() for row in rows if user_id in str(row)]


def alone(user_id: str, rows: list[Any]) -> list[Any]:
    """Rows of a reader's sessions that are nobody else's."""
    return [row for row in rows if session(user_id, 1) in str(row) or session(user_id, 2) in str(row)]


def search(job: StreamJob, user_id: str, generation: int = 1) -> CheckpointSearch:
    checkpoint = job.checkpoint.with_name(f"generation={generation}")
    return search_checkpoint(checkpoint, [state_needle(user_id), user_id.encode()])


def caught_up(job: StreamJob, topic: Topic) -> Callable[[], bool]:
    return lambda: (
        scalar(job.dsn, "SELECT max((end_offsets ->> '0')::bigint) FROM ops.stream_batches")
        == len(topic.records)
    )


def ticking(job: StreamJob, topic: Topic, condition: Callable[[], bool]) -> Callable[[], bool]:
    """`condition`, with ticks about once a second as the supervisor's, each a micro-batch."""
    asked = count()

    def ticks_and_asks() -> bool:
        if next(asked) % 20 == 0:
            send_tick(topic.kafka, job.control_topic, WALL_MS)
        return condition()

    return ticks_and_asks


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the driver is there no longer."""
    return process.poll() is not None


def forgotten(job: StreamJob, topic: Topic, erasure_id: int) -> Callable[[], bool]:
    """Whether the stream has said so, and how much it removed."""
    removed = "SELECT removed FROM ops.erasure_steps WHERE store = 'stream' AND erasure_id = %s"
    return ticking(job, topic, lambda: bool(scalar(job.dsn, removed, erasure_id) == 5 + 2 + 1))


def assert_as_if_never_there(job: StreamJob, topic: Topic) -> None:
    """Rows are those of a topic without the reader, by an implementation that shares nothing with the stream."""
    with psycopg.connect(job.dsn) as connection:
        create_events_table(connection, "public.events")
        insert_events(connection, "public.events", topic.without(LEAVER))
        result = run_oracle(connection, "public.events", rules=OracleRules(wall_ms=WALL_MS))
    result.assert_equal()
    assert result.counts["readings"] == 5


def test_an_erased_reader_is_gone_and_stays_away(job: StreamJob, topic: Topic) -> None:
    key = checked_key(job.env[ERASURE_KEY_VARIABLE])
    with job.running() as process:
        send_visits(topic)
        job.await_that("their visits", caught_up(job, topic), process, 120)
        before = everything(job)
        assert {name: len(about(LEAVER, {name: rows})) for name, rows in before.items()} == {
            "session_features": 5, "user_features": 1, "episode_features": 0, "late_events": 1, "landing": 2,
        }  # fmt: skip
        assert search(job, LEAVER).places
        for needles in ([state_needle(LEAVER)], session_needles(session(LEAVER, 2))):
            assert search_checkpoint(job.checkpoint, needles).places
        with psycopg.connect(job.dsn) as connection:
            erasure = open_erasure(connection, user_id=LEAVER, reason="a test", key=key)

        job.await_that("the stream to forget", forgotten(job, topic, erasure.erasure_id), process, 120)
        assert search(job, LEAVER).is_clean
        assert search(job, STAYER).places
        after = everything(job)
        assert about(LEAVER, after) == []
        for name in ("session_features", "late_events", "landing"):
            assert alone(STAYER, after[name]) == alone(STAYER, before[name]), name

        theirs = [record for record in topic.records if LEAVER.encode() in (record.value or b"")]
        again = [json.loads(record.value or b"") for record in theirs]
        topic.send(
            *again,
            event(LEAVER, session(LEAVER, 1), 5, "ep-1"),
            event(LEAVER, session(LEAVER, 3), 204, "ep-1"),
        )
        topic.send(event(STAYER, session(STAYER, 2), 204.5, "ep-2"))
        job.await_that("a replay", caught_up(job, topic), process, 60)
        assert about(LEAVER, everything(job)) == []
        assert search(job, LEAVER).is_clean
        process.terminate()
        assert process.wait(60) == 0, job.log.read_text()[-3000:]
    assert not any(path.is_file() for path in local_dir(job.checkpoint).rglob("*")), "Spark's own files"
    ledger = "SELECT sum(erased_events), sum(events) FROM ops.stream_batches"
    with psycopg.connect(job.dsn) as connection:
        assert connection.execute(ledger).fetchone() == (len(again) + 2, len(topic.records))
    assert_as_if_never_there(job, topic)


@pytest.mark.long
def test_a_driver_killed_at_each_moment_of_an_erasure_forgets_all_the_same(
    job: StreamJob, topic: Topic
) -> None:
    key = checked_key(job.env[ERASURE_KEY_VARIABLE])
    send_visits(topic)
    job.catch_up()
    before = everything(job)
    with psycopg.connect(job.dsn) as connection:
        erasure = open_erasure(connection, user_id=LEAVER, reason="a test", key=key)
    for moment in MOMENTS:
        struck = replace(job, script=Path(erasure_killed.__file__), overrides={MOMENT_VARIABLE: moment})
        with struck.running() as process:
            ended = ticking(job, topic, partial(has_ended, process))
            job.await_that(moment, ended, process, 120)
            assert process.wait() == -signal.SIGKILL, (moment, job.log.read_text()[-3000:])
        assert scalar(job.dsn, "SELECT count(*) FROM ops.erasure_steps WHERE store = 'stream'") == 0, moment
    with job.running() as process:
        job.await_that("the stream to forget", forgotten(job, topic, erasure.erasure_id), process, 120)
        after = everything(job)
        process.terminate()
        assert process.wait(60) == 0, job.log.read_text()[-3000:]
    assert about(LEAVER, after) == []
    assert search(job, LEAVER).is_clean
    for name in ("session_features", "late_events", "landing"):
        assert alone(STAYER, after[name]) == alone(STAYER, before[name]), name
    assert_as_if_never_there(job, topic)


@pytest.mark.long
def test_a_generation_that_is_filled_in_the_shadow_forgets_too(job: StreamJob, topic: Topic) -> None:
    key = checked_key(job.env[ERASURE_KEY_VARIABLE])
    send_visits(topic)
    job.catch_up()
    shadow = generations.begin(job.dsn, f"run-{uuid.uuid4().hex}", Plan(), {"0": 0})
    job.catch_up("--generation", str(shadow))
    before = readings_and_sums(job, "realtime_shadow")
    assert (len(about(LEAVER, before)), len(about(STAYER, before))) == (5 + 1, 5 + 1)
    assert search(job, LEAVER, shadow).places
    with psycopg.connect(job.dsn) as connection:
        erasure = open_erasure(connection, user_id=LEAVER, reason="a test", key=key)

    def removed(store: str) -> int | None:
        """By a part of the stream; None before it is done."""
        query = "SELECT removed FROM ops.erasure_steps WHERE store = %s AND erasure_id = %s"
        found = scalar(job.dsn, query, store, erasure.erasure_id)
        return None if found is None else int(found)

    # late events of both are in one table: who comes first removes them
    for number, theirs in {1: 5 + 2 + 2, shadow: 5 + 2}.items():
        assert removed("stream") is None
        step = f"stream_generation_{number}"
        with job.running(*(() if number == 1 else ("--generation", str(number)))) as process:
            done = ticking(job, topic, lambda step=step, theirs=theirs: removed(step) == theirs)
            job.await_that(f"generation {number} to forget", done, process, 120)
            process.terminate()
            assert process.wait(60) == 0, job.log.read_text()[-3000:]
        assert search(job, LEAVER, number).is_clean
    assert removed("stream") == (5 + 2 + 2) + (5 + 2)
    after = readings_and_sums(job, "realtime_shadow")
    assert about(LEAVER, after) == []
    assert alone(STAYER, after["session_features"]) == alone(STAYER, before["session_features"])
    assert search(job, STAYER, shadow).places
    assert_as_if_never_there(job, topic)
