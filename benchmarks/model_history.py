"""A feature database with a history of any length at one rate, and the same change to add to it.

For `benchmarks.batch` and for the test that counts the rows that a run of dbt reads.
"""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

READINGS_A_BATCH = 1000
HISTORY_ENDS = datetime(2026, 3, 10, 4, 0, tzinfo=UTC)
"""Within a period of popularity, so that the change does not begin another one."""
EPISODES = 2000
_FILL = (Path(__file__).parent / "model_history.sql").read_text()
_SETTINGS = {
    "popularity_window_days": 0.25,
    "popularity_half_life_hours": 24,
    "popularity_exited_weight": 0.5,
}
"""A window of 6 hours, so that as many readings leave it whatever the history's length."""
_OTHERS = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1
"""
_SECONDARY = ("session_features_user", "session_features_episode", "session_features_position_ended")


def fill_history(dsn: str, readings: int) -> None:
    """`readings` final readings that end at HISTORY_ENDS, and the reference and settings that a model needs.

    Indexes other than the key are made behind the rows; statistics are as autovacuum would have left them.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (1, 'current', 'c', '{}')"
        )
        for name, value in _SETTINGS.items():
            connection.execute(
                "INSERT INTO reference.thresholds VALUES (%s, %s, 'x', 'x', '-infinity', 'infinity')",
                (name, value),
            )
        connection.execute(
            "INSERT INTO reference.episode_metadata SELECT 'ep' || number, 't' || number / 20, 'T', 1 + number %% 20,"
            " (ARRAY['drama', 'action', 'comedy', 'romance'])[1 + number %% 4], '{love,school}', 7, '2026-01-01',"
            " '-infinity', 'infinity' FROM generate_series(0, %s) AS number",
            (EPISODES - 1,),
        )
        definitions = [
            row[0]
            for row in connection.execute(
                "SELECT indexdef FROM pg_indexes WHERE schemaname = 'realtime' AND indexname = ANY(%s)",
                (list(_SECONDARY),),
            ).fetchall()
        ]
        for index in _SECONDARY:
            connection.execute(f"DROP INDEX realtime.{index}".encode())
        add(connection, 1, readings, HISTORY_ENDS, readings)
        for definition in definitions:
            connection.execute(definition.encode())
        connection.execute("VACUUM ANALYZE realtime.session_features")


def add_change(dsn: str, readings: int, count: int = READINGS_A_BATCH) -> None:
    """The same change at any length: the next `count` readings, at the same rate, after a history of `readings`."""
    ends = HISTORY_ENDS + count * timedelta(seconds=0.6)
    with psycopg.connect(dsn, autocommit=True) as connection:
        add(connection, readings + 1, readings + count, ends, readings)


def add(connection: psycopg.Connection, first: int, last: int, ends: datetime, history: int) -> None:
    """Readings number `first` to `last`, the last of which ends at `ends`, of the readers of `history` readings."""
    users = max(1, history // 10)
    connection.execute(_FILL.encode(), {"first": first, "last": last, "ends": ends, "users": users})
    connection.execute(
        "INSERT INTO ops.stream_batches (generation, batch_id, position, start_offsets, end_offsets, landing_rows, events,"
        " dead_letters, duplicates, late_events, rows_upserted, rows_deleted) OVERRIDING SYSTEM VALUE"
        " VALUES (1, %(batch)s, %(batch)s + 1, '{}', '{}', 0, 0, 0, 0, 0, 0, 0)",
        {"batch": (last - 1) // READINGS_A_BATCH},
    )


def rows_read(dsn: str) -> int:
    """Rows that scans and index look-ups have read so far of realtime.session_features.

    Not of the candidate: a table that dbt replaces takes its counts with it.

    Waits for other sessions to end: what they read counts from then on. Raises TimeoutError.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        deadline = time.monotonic() + 10
        while connection.execute(_OTHERS).fetchone() is not None:
            if time.monotonic() > deadline:
                raise TimeoutError("another session is still connected: its reads do not count yet")
            time.sleep(0.02)
        row = connection.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables"
            " WHERE schemaname = 'realtime' AND relname = 'session_features'"
        ).fetchone()
    return int(row[0] or 0) if row else 0
