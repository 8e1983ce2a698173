"""What must hold after a fault: rows as recomputed and as undisturbed, a ledger without holes, landing as listed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
from psycopg import sql

from tests.integration.stream_support import good
from tests.oracle import (
    EPISODE_COLUMNS,
    LATE_COLUMNS,
    READING_COLUMNS,
    USER_COLUMNS,
    OracleResult,
    create_events_table,
    insert_events,
    run_oracle,
)
from tests.vectors import VectorRecord

STORED = {
    "realtime.session_features": (READING_COLUMNS, 3),
    "realtime.user_features": (USER_COLUMNS, 1),
    "realtime.episode_features": (EPISODE_COLUMNS, 1),
    "quality.late_events": (LATE_COLUMNS, 2),
}
"""Table -> its columns that no fault may change, and how many of them are the key."""

_APPLIED = """
CREATE VIEW public.applied_events AS
WITH reached AS (SELECT end_offsets FROM ops.stream_batches ORDER BY position DESC LIMIT 1)

SELECT event.*
FROM public.events AS event
CROSS JOIN reached
WHERE event.kafka_offset < (reached.end_offsets ->> event.kafka_partition::text)::bigint
"""
_CROSSING = """
SELECT count(*)
FROM (
    SELECT event.session_id
    FROM oracle_session_events AS event
    INNER JOIN ops.stream_batches AS ledger
        ON
            event.kafka_offset >= (ledger.start_offsets ->> event.kafka_partition::text)::bigint
            AND event.kafka_offset < (ledger.end_offsets ->> event.kafka_partition::text)::bigint
    GROUP BY event.session_id, event.start_ms
    HAVING count(DISTINCT ledger.batch_id) > 1
) AS sessions
"""


def keep_events(dsn: str, records: list[VectorRecord]) -> None:
    """Give a stream's database the topic's events, for `assert_as_recomputed`."""
    with psycopg.connect(dsn) as connection:
        create_events_table(connection, "public.events")
        insert_events(connection, "public.events", good(records))
        connection.execute("ANALYZE public.events")
        connection.execute(_APPLIED.encode())


def assert_as_recomputed(dsn: str) -> OracleResult:
    """The store holds exactly what the events up to the ledger's end make, wherever the ledger ends."""
    with psycopg.connect(dsn) as connection:
        result = run_oracle(connection, "public.applied_events")
        result.assert_equal()
        return result


def sessions_across_batches(dsn: str) -> int:
    """Sessions with events in several micro-batches."""
    with psycopg.connect(dsn) as connection:
        run_oracle(connection, "public.applied_events")
        row = connection.execute(_CROSSING).fetchone()
    assert row is not None
    return int(row[0])


def rows(dsn: str, table: str) -> dict[str, dict[str, Any]]:
    """Rows of `table` by key, the columns of STORED."""
    columns, key_length = STORED[table]
    query = sql.SQL("SELECT to_jsonb(chosen) FROM (SELECT {} FROM {}) AS chosen").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(*table.split("."))
    )
    with psycopg.connect(dsn) as connection:
        found = [row[0] for row in connection.execute(query).fetchall()]
    return {json.dumps([row[name] for name in columns[:key_length]]): row for row in found}


def assert_same_rows(undisturbed: str, disturbed: str) -> dict[str, int]:
    """All tables of STORED are equal, row by row; returns their sizes."""
    sizes = {}
    for table in STORED:
        expected, actual = rows(undisturbed, table), rows(disturbed, table)
        differing = [
            (key, expected.get(key), actual.get(key))
            for key in sorted(expected.keys() | actual.keys())
            if expected.get(key) != actual.get(key)
        ]
        assert not differing, f"{len(differing)} rows of {table} differ: {differing[:3]}"
        sizes[table] = len(actual)
    return sizes


def assert_ledger_whole(dsn: str, ends: Mapping[str, int]) -> int:
    """Micro-batches follow each other without hole or overlap from offset 0 to `ends`; returns how many there are."""
    with psycopg.connect(dsn) as connection:
        ledger = connection.execute(
            "SELECT batch_id, start_offsets, end_offsets FROM ops.stream_batches ORDER BY position"
        ).fetchall()
    assert [row[0] for row in ledger] == list(range(len(ledger)))
    reached: Mapping[str, int] = dict.fromkeys(ends, 0)
    for batch_id, start, end in ledger:
        assert start == reached, f"micro-batch {batch_id} does not begin where the one before it ended"
        reached = end
    assert reached == ends
    return len(ledger)


def assert_landing_agrees(dsn: str, landing: Path) -> int:
    """Listed files are as listed, and hold every final row once, as it is stored; returns how many rows."""
    with psycopg.connect(dsn, row_factory=psycopg.rows.dict_row) as connection:
        listed = connection.execute(
            "SELECT position, landing_path, landing_rows, landing_sha256 FROM ops.stream_batches"
            " WHERE landing_path IS NOT NULL"
        ).fetchall()
        final = connection.execute("SELECT * FROM realtime.session_features WHERE is_final").fetchall()
    landed: dict[tuple[Any, ...], dict[str, Any]] = {}
    total = 0
    for entry in listed:
        path = landing / entry["landing_path"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["landing_sha256"], path
        table = pq.read_table(path)
        assert table.num_rows == entry["landing_rows"], path
        total += table.num_rows
        for row in table.to_pylist():
            row["experiments"] = json.loads(row["experiments"])
            landed[_key(row)] = {**row, "ledger_position": entry["position"]}
    assert total == len(landed), "a reading was landed twice"
    assert landed.keys() == {_key(row) for row in final}
    for row in final:
        expected = landed[_key(row)]
        assert {name: row[name] for name in expected} == expected
    return total


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in READING_COLUMNS[:3])


def counts(dsn: str) -> dict[str, int]:
    """What the ledger counted, over all micro-batches."""
    names = ("events", "dead_letters", "duplicates", "late_events")
    with psycopg.connect(dsn) as connection:
        query = sql.SQL("SELECT {} FROM ops.stream_batches").format(
            sql.SQL(", ").join(
                sql.SQL("coalesce(sum({}), 0)::bigint").format(sql.Identifier(it)) for it in names
            )
        )
        row = connection.execute(query).fetchone()
    return dict(zip(names, row or (), strict=True))
