"""The SQL recomputation passes every vector, and agrees with the bucket engine on random topics."""

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from include.contract.bucket import BucketState, LateEvent, Record, bucket_of
from include.contract.event import accept_record
from include.contract.rules import SessionRules
from include.contract.sessions import Reading, ReadingKey
from tests import oracle
from tests.oracle import OracleRules, create_events_table, insert_events, recompute, run_oracle
from tests.vectors import (
    BUCKETS_PER_PARTITION,
    FLUSH_PREFIX,
    EpisodeRow,
    UserRow,
    Vector,
    VectorRecord,
    flush_records,
    load_vectors,
)

VECTORS = load_vectors(own_partitions=True)
SMALL = SessionRules(gap_ms=30, max_length_ms=100, lateness_ms=20, dwell_cap_ms=10)


def good(
    records: Iterable[VectorRecord], dead_letters: Iterable[int]
) -> Iterator[tuple[int, int, int, bytes]]:
    for record in records:
        if record.offset not in dead_letters:
            assert record.value is not None
            yield record.partition, record.offset, record.kafka_ms, record.value


@pytest.fixture
def conn(feature_db: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(feature_db) as connection:
        yield connection


@pytest.fixture(scope="module")
def recomputed(postgres: str) -> Iterator[psycopg.Connection[Any]]:
    """All vectors as one topic, a partition each, recomputed in SQL."""
    with psycopg.connect(postgres) as connection:
        create_events_table(connection, "pg_temp.vector_events")
        for vector in VECTORS:
            records = [*vector.records, *flush_records(vector)]
            insert_events(connection, "pg_temp.vector_events", good(records, vector.dead_letters))
        rules = OracleRules(buckets_per_partition=BUCKETS_PER_PARTITION)
        recompute(connection, "pg_temp.vector_events", rules)
        yield connection
        connection.rollback()


def millis(column: str) -> str:
    return f"(extract(epoch FROM {column}) * 1000)::bigint"


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_sql_passes(recomputed: psycopg.Connection[Any], vector: Vector) -> None:
    columns = [
        millis(name.replace("_ms", "_at") if name.startswith("last_event") else name[:-3])
        if name in {"started_at_ms", "ended_at_ms", "last_event_kafka_ms"}
        else name
        for name in Reading._fields
    ]
    rows = recomputed.execute(
        f"SELECT {', '.join(columns)} FROM oracle_readings WHERE source_partition = %s", (vector.partition,)
    ).fetchall()
    actual = [Reading(*row) for row in rows if not row[0].startswith(FLUSH_PREFIX)]
    expected = [row._replace(experiments=row.experiments or {}) for row in vector.rows]
    assert sorted(actual, key=lambda row: row.key) == sorted(expected, key=lambda row: row.key)
    assert offsets(recomputed, "is_late", vector) == vector.late
    assert offsets(recomputed, "is_repeat", vector) == vector.duplicates


def offsets(conn: psycopg.Connection[Any], flag: str, vector: Vector) -> list[int]:
    statement = f"SELECT kafka_offset FROM oracle_classified WHERE {flag} AND kafka_partition = %s ORDER BY 1"
    return [offset for (offset,) in conn.execute(statement, (vector.partition,))]


def test_sql_folds_users_and_episodes(recomputed: psycopg.Connection[Any]) -> None:
    for row_type, table, expected in (
        (UserRow, "oracle_users", [row for vector in VECTORS for row in vector.users]),
        (EpisodeRow, "oracle_episodes", [row for vector in VECTORS for row in vector.episodes]),
    ):
        names = {
            "last_read_at_ms": millis("last_read_at"),
            "last_event_kafka_ms": millis("last_event_kafka_at"),
        }
        columns = ", ".join(names.get(name, name) for name in row_type._fields)
        key = row_type._fields[0]
        assert expected
        for row in expected:
            found = recomputed.execute(
                f"SELECT {columns} FROM {table} WHERE {key} = %s", (row[0],)
            ).fetchall()
            assert found == [tuple(row)]


def random_topic(
    seed: int, size: int, partitions: int, ids: int = 400, drift: int = 1_000_000
) -> list[VectorRecord]:
    """Disorder, repeats, ids used again with other content, late events, long sessions; rules are SMALL.

    `ids` distinct event ids (times 5) in a session_id; every `drift` records the session ids move on by one.
    """
    rng = random.Random(seed)
    records: list[VectorRecord] = []
    clocks, counts = [0] * partitions, [0] * partitions
    sent: list[tuple[str, dict[str, Any]]] = []
    while len(records) < size:
        session = f"s{rng.randrange(12) + len(records) // drift}"
        partition = int(session[1:]) % partitions
        clocks[partition] += rng.choice([0, 0, 1, 1, 2, 3, 5, 8] + [40] * (rng.random() < 0.1))
        if sent and rng.random() < 0.12:
            session, event = rng.choice(sent[-60:])
            partition = int(session[1:]) % partitions
            if rng.random() < 0.5:
                event = {**event, "timestamp": clocks[partition] + rng.randrange(-10, 5), "country": "US"}
        else:
            kind = rng.choice(["enter", "scroll", "scroll", "complete", "exit"])
            event = {
                "event_id": rng.choice(["a", "Z", "é", "～", "😀"]) + str(rng.randrange(ids)),
                "user_id": f"u{rng.randrange(4)}",
                "session_id": session,
                "episode_id": f"e{rng.randrange(3)}",
                "event_type": kind,
                "country": rng.choice(["KR", "JP"]),
                "device": "phone",
                "platform": "web",
                "timestamp": max(0, clocks[partition] - rng.choice([0, 0, 0, 3, 10, 20, 21, 60])),
            }
            if kind == "scroll" or rng.random() < 0.2:
                event["scroll_ratio"] = rng.random()
            if rng.random() < 0.3:
                event["experiments"] = {"cta": rng.choice("ab"), "å": "b"}
        event["timestamp"] = max(0, event["timestamp"])
        sent.append((session, event))
        raw = json.dumps(event).encode()
        records.append(
            VectorRecord(partition, counts[partition], 1_000 + len(records), session.encode(), raw)
        )
        counts[partition] += 1
    return records


def through_engine(
    records: list[VectorRecord], rules: SessionRules, buckets: int, cut: int
) -> tuple[dict[ReadingKey, Reading], list[LateEvent]]:
    states: dict[int, BucketState] = {}
    rows: dict[ReadingKey, Reading] = {}
    late: list[LateEvent] = []
    for start in range(0, len(records), cut):
        by_bucket: dict[int, list[Record]] = {}
        for record in records[start : start + cut]:
            event = accept_record(record.key, record.value, record.kafka_ms)
            bucket = bucket_of(event.session_id, record.partition, buckets)
            accepted = Record(record.partition, record.offset, record.kafka_ms, event)
            by_bucket.setdefault(bucket, []).append(accepted)
        for bucket, accepted_records in by_bucket.items():
            changes = states.setdefault(bucket, BucketState(rules)).apply(accepted_records)
            for key in changes.deletes:
                del rows[key]
            rows |= {row.key: row for row in changes.upserts}
            late += changes.late
    return rows, late


def store(conn: psycopg.Connection[Any], rows: Iterable[Reading], late: Iterable[LateEvent]) -> None:
    """Write what the engine says into the tables that the stream would have written."""
    slots = ", ".join(
        "timestamptz 'epoch' + %s * interval '1 millisecond'"
        if column in {"started_at", "ended_at", "last_event_kafka_at"}
        else "%s"
        for column in oracle.READING_COLUMNS
    )
    with conn.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO realtime.session_features ({', '.join(oracle.READING_COLUMNS)},"
            f" generation, batch_id, ledger_position) VALUES ({slots}, 1, 1, 1)",
            [
                [
                    Jsonb(value or {}) if name == "experiments" else value
                    for name, value in row._asdict().items()
                ]
                for row in rows
            ],
        )
        cursor.executemany(
            "INSERT INTO quality.late_events VALUES ('t', %s, %s, %s, %s, %s, %s, 1, 1, %s)", list(late)
        )


def agree(conn: psycopg.Connection[Any], rules: SessionRules, buckets: int) -> oracle.OracleResult:
    return run_oracle(
        conn,
        "public.events",
        rules=OracleRules(rules.gap_ms, rules.max_length_ms, rules.lateness_ms, rules.dwell_cap_ms, buckets),
        users_table="pg_temp.oracle_users",  # nobody wrote these; the stream's own test compares them
        episodes_table="pg_temp.oracle_episodes",
    )


@pytest.mark.parametrize("seed", range(12))
def test_engine_and_sql_agree_on_random_topics(conn: psycopg.Connection[Any], seed: int) -> None:
    buckets = 1 + seed % 3
    records = random_topic(seed, 700, partitions=2)
    create_events_table(conn, "public.events")
    insert_events(conn, "public.events", good(records, ()))
    rows, late = through_engine(records, SMALL, buckets, cut=1 + 37 * (seed % 4))
    store(conn, rows.values(), late)
    result = agree(conn, SMALL, buckets)
    result.assert_equal()
    counts = result.counts
    assert counts["repeats"] > 5, counts
    assert counts["late"] > 5, counts
    assert counts["ids_used_again"] > 5, counts
    assert counts["final_readings"] > 20, counts


def test_the_oracle_sees_one_wrong_value(conn: psycopg.Connection[Any]) -> None:
    records = random_topic(99, 300, partitions=2)
    create_events_table(conn, "public.events")
    insert_events(conn, "public.events", good(records, ()))
    rows, late = through_engine(records, SMALL, 1, cut=10)
    store(conn, rows.values(), late[1:])
    conn.execute(
        "UPDATE realtime.session_features SET dwell_time_ms = dwell_time_ms + 1 WHERE (session_id,"
        " session_start_ms, episode_id) = (SELECT session_id, session_start_ms, episode_id"
        " FROM realtime.session_features LIMIT 1)"
    )
    differences = agree(conn, SMALL, 1).differences
    assert [(it.table, it.column) for it in differences] == [
        ("realtime.session_features", "dwell_time_ms"),
        ("quality.late_events", "row"),
    ]
    assert differences[0].actual == differences[0].expected + 1


def test_engine_and_sql_agree_on_25_000_events(conn: psycopg.Connection[Any]) -> None:
    records = random_topic(7, 25_000, partitions=3, ids=10_000, drift=40)
    create_events_table(conn, "public.events")
    insert_events(conn, "public.events", good(records, ()))
    rows, late = through_engine(records, SMALL, 8, cut=500)
    store(conn, rows.values(), late)
    result = agree(conn, SMALL, 8)
    result.assert_equal()
    assert result.counts["events"] == 25_000
