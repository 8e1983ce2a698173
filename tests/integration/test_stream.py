"""The real stream (broker, Spark, PostgreSQL) on a busy topic equals the independent recomputation in SQL."""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from tests.integration.stream_support import StreamJob, busy_topic, good, is_spoilt, produce, scalar
from tests.oracle import OracleResult, create_events_table, insert_events, run_oracle
from tests.otlp_receiver import Receiver, receiving
from tests.vectors import VectorRecord

EVENTS = 24_000
PER_BATCH = 600
PARTITIONS = 3


@dataclass(frozen=True)
class Outcome:
    """A topic that the stream has worked through."""

    job: StreamJob
    records: list[VectorRecord]
    metrics: Receiver


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


@pytest.fixture(scope="module")
def outcome(
    kafka: str,
    stack_env: dict[str, str],
    spark_jars: str,
    topic_factory: Callable[..., str],
    feature_db_factory: Callable[[], str],
    data_dir_factory: Callable[[], Path],
    receiver: Receiver,
) -> Outcome:
    topic = topic_factory(partitions=PARTITIONS)
    records = busy_topic(1, EVENTS, PARTITIONS)
    produce(kafka, topic, records)
    job = StreamJob(
        stack_env, spark_jars, feature_db_factory(), data_dir_factory(), topic, f"ticks_{uuid.uuid4().hex[:8]}"
    )  # fmt: skip
    with psycopg.connect(job.dsn) as connection:  # as after three restarts by a supervisor
        connection.execute(
            "INSERT INTO ops.stream_control (name, desired_state, restarts) VALUES ('sessionize', 'running', 3)"
        )
    job.catch_up(
        "--max-offsets-per-trigger", str(PER_BATCH), "--heartbeat-file", str(job.data_dir / "hb"),
        "--metrics-endpoint", receiver.endpoint,
    )  # fmt: skip
    return Outcome(job, records, receiver)


@pytest.fixture
def conn(outcome: Outcome) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(outcome.job.dsn) as connection:
        yield connection
        connection.rollback()


def recompute_and_compare(conn: psycopg.Connection[Any], records: list[VectorRecord]) -> OracleResult:
    create_events_table(conn, "public.events")
    insert_events(conn, "public.events", good(records))
    return run_oracle(conn, "public.events")


def test_the_first_micro_batch_was_prepared_beside_its_planning(outcome: Outcome) -> None:
    said = outcome.job.log.read_text()
    assert "stream_sessionize: warmed up in " in said
    assert "no warm-up" not in said


def test_rows_equal_the_recomputation_feature_by_feature(
    outcome: Outcome, conn: psycopg.Connection[Any]
) -> None:
    result = recompute_and_compare(conn, outcome.records)
    result.assert_equal()
    counts = result.counts
    assert counts["events"] > 20_000, counts
    assert counts["repeats"] > 100, counts
    assert counts["late"] > 100, counts
    assert counts["ids_used_again"] > 0, counts
    assert 1_000 < counts["final_readings"] < counts["readings"], counts
    crossing = conn.execute(
        """
        SELECT count(*) FILTER (WHERE batches > 1)
        FROM (
            SELECT count(DISTINCT ledger.batch_id) AS batches
            FROM oracle_session_events AS event
            INNER JOIN ops.stream_batches AS ledger
                ON
                    event.kafka_offset >= (ledger.start_offsets ->> event.kafka_partition::text)::bigint
                    AND event.kafka_offset < (ledger.end_offsets ->> event.kafka_partition::text)::bigint
            GROUP BY event.session_id, event.start_ms
        ) AS sessions
        """
    ).fetchone()
    assert crossing is not None
    assert crossing[0] > 300, f"only {crossing[0]} sessions have events in several micro-batches"


def test_it_was_at_least_20_micro_batches_over_3_partitions(conn: psycopg.Connection[Any]) -> None:
    ledger = conn.execute(
        "SELECT batch_id, start_offsets, end_offsets, rows_deleted FROM ops.stream_batches ORDER BY position"
    ).fetchall()
    assert len(ledger) >= 20
    assert [row[0] for row in ledger] == list(range(len(ledger)))
    for partition in map(str, range(PARTITIONS)):
        reached = 0
        for batch_id, start, end, _ in ledger:
            assert start[partition] == reached, (
                f"micro-batch {batch_id} leaves a hole in partition {partition}"
            )
            reached = end[partition]
        assert reached > 1_000
    assert sum(row[3] for row in ledger) > 20, "too few re-keyed rows to have tested anything"


def test_every_produced_record_is_counted_once(outcome: Outcome, conn: psycopg.Connection[Any]) -> None:
    events, dead_letters, duplicates, late = (
        conn.execute(
            "SELECT sum(events), sum(dead_letters), sum(duplicates), sum(late_events) FROM ops.stream_batches"
        ).fetchone()
        or ()
    )
    accepted = {(partition, offset) for partition, offset, _, _ in good(outcome.records)}
    assert accepted == {(it.partition, it.offset) for it in outcome.records if not is_spoilt(it)}
    assert events == len(outcome.records) == EVENTS
    assert dead_letters == len(outcome.records) - len(accepted) > 300
    oracle = recompute_and_compare(conn, outcome.records).counts
    assert (duplicates, late) == (oracle["repeats"], oracle["late"])
    in_rows = scalar(outcome.job.dsn, "SELECT sum(event_count) FROM realtime.session_features")
    assert in_rows == events - dead_letters - duplicates - late
    by_offsets = scalar(
        outcome.job.dsn,
        "SELECT sum((e.value::bigint) - (s.value::bigint)) FROM ops.stream_batches"
        " CROSS JOIN LATERAL jsonb_each_text(end_offsets) AS e"
        " INNER JOIN LATERAL jsonb_each_text(start_offsets) AS s ON e.key = s.key",
    )
    assert by_offsets == events


def test_landing_files_hold_the_final_rows(outcome: Outcome, conn: psycopg.Connection[Any]) -> None:
    landing = outcome.job.data_dir / "landing"
    listed = conn.execute(
        "SELECT position, landing_path, landing_rows, landing_sha256 FROM ops.stream_batches"
        " WHERE landing_path IS NOT NULL ORDER BY position"
    ).fetchall()
    assert len(listed) > 5
    landed = {}
    for position, path, rows, sha256 in listed:
        assert hashlib.sha256((landing / path).read_bytes()).hexdigest() == sha256
        table = pq.read_table(landing / path)
        assert table.num_rows == rows
        landed |= {
            (row["session_id"], row["session_start_ms"], row["episode_id"]): (position, row)
            for row in table.to_pylist()
        }
    with conn.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        stored = cursor.execute("SELECT * FROM realtime.session_features WHERE is_final").fetchall()
    assert len(stored) == len(landed) == sum(rows for _, _, rows, _ in listed)
    import json

    for row in stored:
        position, landed_row = landed[(row["session_id"], row["session_start_ms"], row["episode_id"])]
        assert position == row["ledger_position"]
        landed_row["experiments"] = json.loads(landed_row["experiments"])
        assert landed_row == {name: row[name] for name in landed_row}
    present = {path.relative_to(landing).as_posix() for path in landing.rglob("*") if path.is_file()}
    assert present == {path for _, path, _, _ in listed}, "files that the ledger does not list"


def test_most_updates_of_readings_touch_no_index(conn: psycopg.Connection[Any]) -> None:
    updates = conn.execute(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        " WHERE schemaname = 'realtime' AND relname = 'session_features'"
    ).fetchone()
    assert updates is not None
    assert updates[0] > 5_000
    assert updates[1] > 0.5 * updates[0], updates


def test_progress_has_a_row_per_micro_batch(outcome: Outcome, conn: psycopg.Connection[Any]) -> None:
    progress = conn.execute(
        "SELECT batch_id, input_rows, durations_ms, lag_records, state FROM ops.stream_progress ORDER BY 1"
    ).fetchall()
    batches = scalar(outcome.job.dsn, "SELECT count(*) FROM ops.stream_batches")
    assert [row[0] for row in progress] == list(range(batches))
    assert sum(row[1] for row in progress) == EVENTS
    for _, _, durations, lag, state in progress:
        assert {"triggerExecution", "walCommit", "writer.copy", "writer.upsert_sessions"} <= durations.keys()
        assert lag.keys() == {"0", "1", "2"}
        assert state["numRowsTotal"] > 0
    assert sum(progress[0][3].values()) > 10_000, "lag falls from nearly the whole topic"
    assert sum(progress[-1][3].values()) == 0
    assert (outcome.job.data_dir / "hb").exists()


def test_progress_has_the_watermark_and_the_ledger_the_oldest_record(conn: psycopg.Connection[Any]) -> None:
    clocks = conn.execute(
        "SELECT low_clock_at, high_clock_at FROM ops.stream_progress ORDER BY batch_id"
    ).fetchall()
    newest = conn.execute("SELECT max(ended_at) FROM realtime.session_features").fetchone()
    assert newest is not None
    assert clocks[-1][1] == newest[0], "the highest clock is the largest event time accepted"
    assert [high for _, high in clocks] == sorted(high for _, high in clocks)
    assert all(low < high for low, high in clocks[-3:])
    spans = conn.execute(
        "SELECT min_kafka_at, max_kafka_at FROM ops.stream_batches WHERE events > 0"
    ).fetchall()
    assert len(spans) >= 20
    assert all(oldest <= latest for oldest, latest in spans)
    assert any(oldest < latest for oldest, latest in spans)


def test_metrics_equal_ledger_and_progress(outcome: Outcome, conn: psycopg.Connection[Any]) -> None:
    metrics = outcome.metrics
    ledger = conn.execute(
        "SELECT sum(events - dead_letters - duplicates - late_events), sum(duplicates), sum(late_events),"
        " sum(dead_letters), sum(rows_upserted), sum(rows_deleted), sum(landing_rows), max(batch_id), count(*),"
        " extract(epoch FROM max(committed_at))::float8 FROM ops.stream_batches"
    ).fetchone()
    assert ledger is not None
    outcomes = ("accepted", "duplicate", "late", "dead_letter")
    told = [metrics.number("webtoon_stream_records_total", outcome=it) for it in outcomes]
    rows = [metrics.number(f"webtoon_stream_rows_{it}_total") for it in ("upserted", "deleted", "landed")]
    assert (*told, *rows, metrics.number("webtoon_stream_last_batch_id")) == ledger[:8]
    assert min(told) > 0
    batches, committed_at = ledger[8:]
    assert committed_at <= metrics.number("webtoon_stream_last_commit_timestamp_seconds") <= time.time()

    progress = conn.execute(
        "SELECT lag_records, state, p.total FROM ops.stream_progress, (SELECT jsonb_object_agg(key, ms) AS total FROM"
        " (SELECT key, sum(value::bigint) AS ms FROM ops.stream_progress, jsonb_each_text(durations_ms) GROUP BY key)"
        " AS by_phase) AS p ORDER BY batch_id DESC LIMIT 1"
    ).fetchone()
    assert progress is not None
    lag, state, milliseconds = progress
    assert {it: metrics.number("webtoon_stream_lag_records", partition=it) for it in lag} == lag
    assert metrics.number("webtoon_stream_state_rows") == state["numRowsTotal"]
    assert metrics.number("webtoon_stream_state_memory_bytes") == state["memoryUsedBytes"]
    phase = "webtoon_stream_batch_phase_duration_seconds"
    series = metrics.families()[phase].series
    assert {dict(labels)["phase"] for labels in series} == milliseconds.keys()
    for name, total_ms in milliseconds.items():
        assert metrics.histogram(phase, phase=name).sum * 1000 == pytest.approx(total_ms, abs=0.01)
    assert metrics.histogram(phase, phase="triggerExecution").count == batches
    freshness = metrics.histogram("webtoon_stream_freshness_seconds")
    assert freshness.count == sum(told[:3]), "every event that the contract accepts"
    assert freshness.counts[-1] == freshness.count, "their Kafka times are months old"
    assert metrics.number("webtoon_stream_generation") == 1
    assert metrics.number("webtoon_stream_restarts") == 3
