"""What the reconciliation reads from a real PostgreSQL, and what it writes there."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from include.common.hive.metastore import open_metastore
from include.common.names import Pg
from include.orchestration.reconcile import published as store
from include.orchestration.reconcile.duck import open_duckdb
from include.orchestration.reconcile.inputs import Stores, read_inputs
from include.orchestration.reconcile.model import (
    Comparison,
    Day,
    Gap,
    Outcome,
    ReconcileError,
    Rules,
    Verdict,
)
from include.orchestration.reconcile.record import Last, history, last_of_each_day, record
from include.spark_jobs.publish_features.lineage import Origin, spans

RULES = {"gap_ms": 1, "max_length_ms": 2, "lateness_ms": 3, "dwell_cap_ms": 4}
TOPIC = "t"


@pytest.fixture
def connection(feature_db: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(feature_db, autocommit=True) as opened:
        yield opened


def generation(connection: psycopg.Connection[Any], number: int, **stored: Any) -> None:
    rules = {"buckets_per_partition": 8, "rules": RULES, "start_offsets": {"0": 0, "1": 5}} | stored
    connection.execute(
        "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (%s, 'dropped', 'c', %s)",
        (number, Jsonb(rules)),
    )


def batch(connection: psycopg.Connection[Any], number: int, batch_id: int, start: int, end: int) -> int:
    row = connection.execute(
        "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
        " dead_letters, duplicates, late_events, rows_upserted, rows_deleted, max_kafka_at)"
        " VALUES (%s, %s, %s, %s, 0, 0, 0, 0, 0, 0, 0, timestamptz 'epoch' + %s * interval '1 ms') RETURNING position",
        (number, batch_id, Jsonb({"0": start, "1": start}), Jsonb({"0": end, "1": end}), end),
    ).fetchone()
    assert row is not None
    return int(row[0])


def publish(connection: psycopg.Connection[Any], number: int, position: int) -> None:
    connection.execute(
        "WITH cut AS (INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)"
        " VALUES (%(run)s, %(generation)s, %(position)s, now(), 'published', clock_timestamp()) RETURNING cut_id)"
        " INSERT INTO ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count)"
        " SELECT 'session_features', 'dt=2026-01-01', %(run)s, cut_id, 'file:///x', 1 FROM cut",
        {"run": f"run-{number}-{position}", "generation": number, "position": position},
    )


def archive(
    connection: psycopg.Connection[Any], name: str, start: int, end: int, status: str, topic: str = TOPIC
) -> None:
    connection.execute(
        "INSERT INTO ops.archive_slices (slice_id, run_id, topic, start_offsets, end_offsets, status, produced, archived)"
        " VALUES (%s, %s, %s, %s, %s, %s, 0, 7)",
        (name, name, topic, Jsonb({"0": start, "1": start}), Jsonb({"0": end, "1": end}), status),
    )


def test_before_the_first_publication_there_is_nothing(connection: psycopg.Connection[Any]) -> None:
    generation(connection, 1)
    batch(connection, 1, 0, 0, 10)
    assert store.find_published(connection, TOPIC) is None


def test_what_is_published_ends_at_its_cut(connection: psycopg.Connection[Any]) -> None:
    generation(connection, 1)
    batch(connection, 1, 0, 0, 10)
    publish(connection, 1, batch(connection, 1, 1, 10, 20))
    batch(connection, 1, 2, 20, 30)  # behind the cut
    archive(connection, "a", 0, 8, "published")
    archive(connection, "b", 8, 12, "quarantined")
    archive(connection, "c", 12, 15, "staged")
    archive(connection, "d", 15, 18, "published")
    archive(connection, "e", 18, 40, "published", topic="another")
    found = store.find_published(connection, TOPIC)
    assert found is not None
    (span,) = found.spans
    assert (found.generation, found.ledger_position, found.next_generation) == (1, 2, 1)
    assert (span.rules, span.is_current) == (Rules(1, 2, 3, 4, 8), True)
    assert (span.start, span.end) == ({0: 0, 1: 5}, {0: 20, 1: 20})
    assert span.gaps == tuple(
        Gap(partition, first, last, 20) for partition in (0, 1) for first, last in ((12, 15), (18, 20))
    )
    assert store.archived_rows(connection) == 28


def test_the_events_of_a_discarded_slice_are_in_quarantine(connection: psycopg.Connection[Any]) -> None:
    generation(connection, 1)
    publish(connection, 1, batch(connection, 1, 0, 5, 10))
    found = store.find_published(connection, TOPIC)
    assert found is not None
    assert len(found.spans[0].gaps) == 2
    archive(connection, "a", 0, 10, "discarded")
    found = store.find_published(connection, TOPIC)
    assert found is not None
    assert found.spans[0].gaps == ()


@pytest.mark.parametrize(
    "origins",
    [
        {1: Origin()},
        {1: Origin(), 2: Origin(100, 1)},
        {1: Origin(), 2: Origin(None, 1)},
        {1: Origin(), 2: Origin(100, 1), 3: Origin(200, 2)},
        {1: Origin(), 2: Origin(200, 1), 3: Origin(100, 2)},
        {1: Origin(), 2: Origin(100, 1), 3: Origin(None, 2)},
    ],
    ids=lambda it: "-".join(str(origin.point_ms) for origin in it.values()),
)
def test_sessions_are_of_the_generations_that_the_publisher_takes(
    connection: psycopg.Connection[Any], origins: dict[int, Origin]
) -> None:
    """Two ways to the same steps: the publisher's and this one's."""
    for number, origin in origins.items():
        generation(connection, number, publish_from_ms=origin.point_ms, follows=origin.follows)
        batch(connection, number, 0, 5, 10 * number)
    publish(connection, max(origins), 99)
    found = store.find_published(connection, TOPIC)
    assert found is not None
    assert [(it.generation, it.from_ms, it.to_ms) for it in found.spans] == [
        (it.generation, it.from_ms, it.to_ms) for it in spans(max(origins), origins)
    ]
    assert [it.is_current for it in found.spans] == [True] + [False] * (len(found.spans) - 1)
    assert [it.end[0] for it in found.spans] == [10 * it.generation for it in found.spans]


def test_a_generation_without_rules_is_said_with_the_mend(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (1, 'current', 'c', '{}')"
    )
    publish(connection, 1, batch(connection, 1, 0, 0, 10))
    with pytest.raises(ReconcileError, match=r"generation 1 .*does not say with what rules"):
        store.find_published(connection, TOPIC)


def test_raw_events_are_kept_from_where_their_policy_says(
    connection: psycopg.Connection[Any], metastore: str, data_dir: Path, tmp_path: Path
) -> None:
    generation(connection, 1)
    publish(connection, 1, batch(connection, 1, 0, 0, 10))
    connection.execute(
        "INSERT INTO reference.thresholds (name, value, unit, meaning, valid_from)"
        " VALUES ('retention_raw_events_days', 200, 'days', 'set by hand', '-infinity')"
    )
    day = datetime.now(UTC).date() - timedelta(days=200)
    with (
        open_metastore(metastore, f"webtoon_{data_dir.name}") as client,
        open_duckdb(tmp_path, "500MB") as duck,
    ):
        inputs = read_inputs(Stores(connection, client, data_dir / "warehouse", TOPIC), duck)
    # midnight may pass meanwhile
    assert inputs.source.kept_from_ms in (Day(day).from_ms, Day(day).to_ms)


def test_late_events_and_episodes_are_read(connection: psycopg.Connection[Any]) -> None:
    day = Day.of_ms(0)
    for offset, (at_ms, clock_ms) in enumerate(
        [(50, 900), (5_000, 90_000_000), (86_400_000, 500), (90_000_000, 99_000_000)]
    ):
        connection.execute(
            "INSERT INTO quality.late_events VALUES (%s, 0, %s, 's', 'e', %s, %s, 1, 1)",
            (TOPIC, offset, at_ms, clock_ms),
        )
    assert store.late_events(connection, TOPIC, 1, 0, 1_000, day)["kafka_offset"].to_pylist() == [0, 2]
    assert store.late_events(connection, TOPIC, 2, 0, 1_000, day).num_rows == 0
    connection.execute(
        "INSERT INTO reference.episode_metadata VALUES ('e', 't', 'T', 1, 'g', '{}', 8, '2026-01-01', '-infinity',"
        " timestamptz 'epoch' + interval '2 s'), ('e', 't', 'T', 1, 'h', '{}', 8, '2026-01-01', 'epoch', 'infinity')"
    )
    versions = store.episode_versions(connection).to_pylist()
    assert [tuple(it.values()) for it in versions] == [
        ("e", "g", 8.0, -(2**63), 2_000_000),
        ("e", "h", 8.0, 0, 2**63 - 1),
    ]


def test_findings_are_added_and_the_newest_of_a_day_counts(connection: psycopg.Connection[Any]) -> None:
    day = Day.of_ms(0)
    wrong = Comparison(3, 1, 0, 0, 0, {"dwell_time_ms": 1}, 2, {"a_repeat": 1}, 0, ({"kind": "differing"},))
    first = Outcome(day, Verdict.DIFFERENT, None, 1, 7, "/x", wrong, 10, 0.5)
    record(connection, "run-1", first)
    assert last_of_each_day(connection)[day].verdict is Verdict.DIFFERENT
    record(
        connection, "run-2", Outcome(day, Verdict.NOT_CHECKED, "sessions_open: 1", 1, 8, None, None, 0, 0.1)
    )
    newest, oldest = history(connection, 5)
    assert (newest["verdict"], newest["reason"], newest["rows_equal"]) == (
        "not_checked",
        "sessions_open: 1",
        None,
    )
    assert (oldest["rows_differing"], oldest["late_events_wrong"], oldest["samples"]) == (
        1, {"a_repeat": 1}, [{"kind": "differing"}],
    )  # fmt: skip
    assert last_of_each_day(connection)[day].location is None
    revised = Outcome(
        day, Verdict.EQUAL, "revised: 2 are not compared", 1, 9, "/y", replace(wrong, differing=0), 10, 0.5
    )
    record(connection, "run-3", revised)
    assert last_of_each_day(connection)[day] == Last(Verdict.EQUAL, "revised: 2 are not compared", "/y")
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(
            f"INSERT INTO {Pg.RECONCILIATION} (run_id, dt, verdict, events_read, took_seconds)"
            " VALUES ('r', '2026-01-01', 'equal', 0, 0)"
        )
