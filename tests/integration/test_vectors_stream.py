"""The real stream (broker, Spark, PostgreSQL) passes every vector: all of them on one topic, a partition each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from include.contract.sessions import Reading
from tests.integration.stream_support import StreamJob, produce, send_tick
from tests.vectors import FLUSH_PREFIX, EpisodeRow, Snapshot, UserRow, Vector, flush_records, load_vectors

VECTORS = load_vectors(own_partitions=True)
BATCHES = 6
_TIMES = {
    "started_at_ms": "started_at",
    "ended_at_ms": "ended_at",
    "last_event_kafka_ms": "last_event_kafka_at",
}


@dataclass(frozen=True)
class Bench:
    """Where a stream of this file runs."""

    kafka: str
    env: dict[str, str]
    jars: str
    topics: Callable[..., str]
    databases: Callable[[], str]
    folders: Callable[[], Path]

    def job(self, partitions: int) -> StreamJob:
        """A stream on a fresh topic, database and folder."""
        topic = self.topics(partitions=partitions)
        # kept for ever, as the vectors' ticks are older than what a broker keeps
        ticks = self.topics("ticks", partitions=1)
        return StreamJob(self.env, self.jars, self.databases(), self.folders(), topic, ticks)


@pytest.fixture(scope="module")
def bench(
    kafka: str,
    stack_env: dict[str, str],
    spark_jars: str,
    topic_factory: Callable[..., str],
    feature_db_factory: Callable[[], str],
    data_dir_factory: Callable[[], Path],
) -> Bench:
    return Bench(kafka, stack_env, spark_jars, topic_factory, feature_db_factory, data_dir_factory)


@pytest.fixture(scope="module")
def store(bench: Bench) -> Iterator[psycopg.Connection[Any]]:
    """What the stream made of all vectors, in several micro-batches."""
    job = bench.job(len(VECTORS))
    records = [record for vector in VECTORS for record in (*vector.records, *flush_records(vector))]
    produce(bench.kafka, job.topic, records)
    job.catch_up("--max-offsets-per-trigger", str(-(-len(records) // BATCHES)))
    with psycopg.connect(job.dsn) as connection:
        yield connection


def millis(column: str) -> str:
    return f"(extract(EPOCH FROM {column}) * 1000)::bigint"


def readings(connection: psycopg.Connection[Any], condition: str, *values: object) -> list[Reading]:
    """Rows of realtime.session_features by their key."""
    columns = [millis(_TIMES[name]) if name in _TIMES else name for name in Reading._fields]
    query = f"SELECT {', '.join(columns)} FROM realtime.session_features WHERE {condition}"
    rows = [Reading(*row) for row in connection.execute(query.encode(), values).fetchall()]
    return sorted(
        (row for row in rows if not row.session_id.startswith(FLUSH_PREFIX)), key=lambda row: row.key
    )


def expected(rows: list[Reading]) -> list[Reading]:
    """As the store has them: no experiments is an empty object."""
    return sorted((row._replace(experiments=row.experiments or {}) for row in rows), key=lambda row: row.key)


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_the_stream_passes(store: psycopg.Connection[Any], vector: Vector) -> None:
    assert readings(store, "source_partition = %s", vector.partition) == expected(vector.rows)
    late = store.execute(
        "SELECT kafka_offset FROM quality.late_events WHERE kafka_partition = %s ORDER BY 1",
        (vector.partition,),
    ).fetchall()
    assert [row[0] for row in late] == vector.late


def test_the_stream_counts_what_the_vectors_say(store: psycopg.Connection[Any]) -> None:
    row = store.execute(
        "SELECT count(*), sum(dead_letters), sum(duplicates), sum(late_events) FROM ops.stream_batches"
    ).fetchone()
    assert row is not None
    assert row[0] >= BATCHES
    assert row[1:] == tuple(
        sum(len(getattr(vector, name)) for vector in VECTORS)
        for name in ("dead_letters", "duplicates", "late")
    )


def test_the_stream_folds_users_and_episodes(store: psycopg.Connection[Any]) -> None:
    for table, key, rows in (
        ("user_features", "user_id", [row for vector in VECTORS for row in vector.users]),
        ("episode_features", "episode_id", [row for vector in VECTORS for row in vector.episodes]),
    ):
        kind: type[UserRow] | type[EpisodeRow] = UserRow if table == "user_features" else EpisodeRow
        times = {"last_read_at_ms": "last_read_at", "last_event_kafka_ms": "last_event_kafka_at"}
        columns = ", ".join(millis(times[name]) if name in times else name for name in kind._fields)
        assert rows, f"no vector says anything of {table}"
        for row in rows:
            found = store.execute(
                f"SELECT {columns} FROM realtime.{table} WHERE {key} = %s".encode(), (row[0],)
            ).fetchall()
            assert [kind(*values) for values in found] == [row]  # type: ignore[arg-type]  # either kind


@pytest.mark.long
def test_ticks_close_and_events_reopen(bench: Bench) -> None:
    """All snapshots through one stream, in order of their ticks; a vector a partition."""
    vectors = [vector for vector in VECTORS if vector.snapshots]
    steps: list[tuple[Vector, Snapshot]] = sorted(
        ((vector, snapshot) for vector in vectors for snapshot in vector.snapshots),
        key=lambda step: -1 if step[1].wall_ms is None else step[1].wall_ms,
    )
    assert len(steps) >= 8
    job = bench.job(len(VECTORS))
    sent = dict.fromkeys((vector.name for vector in vectors), 0)
    with (
        job.running("--trigger-ms", "100") as process,
        psycopg.connect(job.dsn, autocommit=True) as connection,
    ):
        for vector, snapshot in steps:
            fresh = vector.records[sent[vector.name] : snapshot.after + 1]
            sent[vector.name] = max(sent[vector.name], snapshot.after + 1)
            if fresh:
                produce(bench.kafka, job.topic, fresh)
                total = sum(sent.values())
                counted = "SELECT coalesce(sum(events), 0) = %s FROM ops.stream_batches"
                job.await_that(
                    f"{total} records are committed",
                    lambda counted=counted, total=total: bool(
                        connection.execute(counted, (total,)).fetchone()[0]
                    ),
                    process,
                )
            if snapshot.wall_ms is not None:
                batches = connection.execute("SELECT count(*) FROM ops.stream_batches").fetchone()
                assert batches is not None
                send_tick(bench.kafka, job.control_topic, snapshot.wall_ms)
                job.await_that(
                    f"the tick at {snapshot.wall_ms} is committed",
                    lambda before=batches[0]: connection.execute(
                        "SELECT count(*) > %s FROM ops.stream_batches", (before,)
                    ).fetchone()[0],
                    process,
                )
            wanted = expected(snapshot.rows)
            assert readings(connection, "source_partition = %s", vector.partition) == wanted, (
                vector.name,
                snapshot,
            )
