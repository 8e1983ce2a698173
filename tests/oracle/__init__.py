"""An independent recomputation of the realtime store in SQL; shares no code with `include`.

`create_events_table` and `insert_events` bring records of the topic (those that are no dead letters) into
PostgreSQL; `run_oracle` classifies them (accepted, repeat, late), cuts sessions, computes readings and the
user and episode sums, and compares with what the stream wrote: exactly, row by row, column by column.
PostgreSQL 18 (crc32).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

_FOLDER = Path(__file__).parent
_STEPS = ("1_classify.sql", "2_readings.sql", "3_folds.sql")
_TEMPORARY = (
    "oracle_rules", "oracle_records", "oracle_reused", "oracle_classified", "oracle_runs", "oracle_starts",
    "oracle_session_events", "oracle_readings", "oracle_users", "oracle_episodes", "oracle_late",
)  # fmt: skip

READING_COLUMNS = (
    "session_id", "session_start_ms", "episode_id", "user_id", "country", "device", "platform", "experiments",
    "ui_version", "status", "is_exit_tag", "completion_rate", "max_scroll_ratio", "event_count",
    "scroll_event_count", "dwell_time_ms", "started_at", "ended_at", "is_final", "source_partition",
    "last_offset", "last_event_kafka_at",
)  # fmt: skip
_SUMS = (
    "readings_active", "readings_closed", "readings_completed", "readings_exited", "completion_ppm_sum",
    "scroll_event_sum", "dwell_time_ms_sum", "last_read_at", "last_event_kafka_at",
)  # fmt: skip
USER_COLUMNS = ("user_id", *_SUMS, "last_episode_id")
EPISODE_COLUMNS = ("episode_id", *_SUMS, "readings_with_scroll", "scroll_ppm_sum")
LATE_COLUMNS = (
    "kafka_partition", "kafka_offset", "session_id", "event_id", "event_time_ms", "bucket_clock_ms",
)  # fmt: skip

_COMPARE = """
WITH expected AS (
    SELECT {keys}, to_jsonb(chosen) AS line FROM (SELECT {columns} FROM {expected}) AS chosen
),

actual AS (
    SELECT {keys}, to_jsonb(chosen) AS line FROM (SELECT {columns} FROM {actual}) AS chosen
),

unequal AS (
    SELECT
        jsonb_build_array({keys}) AS row_key,
        expected.line AS expected_line,
        actual.line AS actual_line
    FROM expected
    FULL JOIN actual USING ({keys})
    WHERE expected.line IS DISTINCT FROM actual.line
)

SELECT row_key, 'row' AS column_name, expected_line, actual_line
FROM unequal
WHERE expected_line IS NULL OR actual_line IS NULL
UNION ALL
SELECT row_key, wanted.key, wanted.value, actual_line -> wanted.key
FROM unequal
CROSS JOIN LATERAL jsonb_each(expected_line) AS wanted
WHERE actual_line IS NOT NULL AND wanted.value IS DISTINCT FROM actual_line -> wanted.key
"""


@dataclass(frozen=True)
class OracleRules:
    """Durations in ms, written down here a second time; `wall_ms`: the last tick that closed idle sessions."""

    gap_ms: int = 1_800_000
    max_length_ms: int = 86_400_000
    lateness_ms: int = 120_000
    dwell_cap_ms: int = 300_000
    buckets_per_partition: int = 8
    wall_ms: int | None = None


@dataclass(frozen=True)
class Difference:
    """One value that the store has otherwise; column `row`: the row is on one side only (the other is None)."""

    table: str
    key: list[Any]
    column: str
    expected: Any
    actual: Any


@dataclass(frozen=True)
class OracleResult:
    """`counts` is what was compared, so that a test can assert that it was enough."""

    counts: dict[str, int]
    differences: list[Difference] = field(repr=False)

    def assert_equal(self) -> None:
        """Raise AssertionError with the first differences unless the store is exactly as recomputed."""
        if self.differences:
            shown = "\n".join(f"  {it}" for it in self.differences[:20])
            raise AssertionError(f"{len(self.differences)} differences, {self.counts}:\n{shown}")


def create_events_table(conn: psycopg.Connection[Any], table: str) -> None:
    """Create the input table `table` (schema-qualified or not) of events."""
    conn.execute(
        sql.SQL(
            """
            CREATE TABLE {} (
                kafka_partition integer NOT NULL,
                kafka_offset bigint NOT NULL,
                kafka_ms bigint NOT NULL,
                event_id text COLLATE "C" NOT NULL,
                user_id text COLLATE "C" NOT NULL,
                session_id text COLLATE "C" NOT NULL,
                episode_id text COLLATE "C" NOT NULL,
                event_type text NOT NULL,
                country text NOT NULL,
                device text NOT NULL,
                platform text NOT NULL,
                timestamp_ms bigint NOT NULL,
                scroll_ratio double precision,
                experiments jsonb,
                ui_version text,
                PRIMARY KEY (kafka_partition, kafka_offset)
            )
            """
        ).format(_name(table))
    )


def insert_events(
    conn: psycopg.Connection[Any], table: str, records: Iterable[tuple[int, int, int, bytes]]
) -> int:
    """Copy (partition, offset, kafka_ms, value) of records that are no dead letters; returns how many."""
    count = 0
    with conn.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(_name(table))) as copy:
        for partition, offset, kafka_ms, value in records:
            it = json.loads(value)
            experiments = it.get("experiments")
            copy.write_row(
                (
                    partition, offset, kafka_ms, it["event_id"], it["user_id"], it["session_id"],
                    it["episode_id"], it["event_type"], it["country"], it["device"], it["platform"],
                    it["timestamp"], it.get("scroll_ratio"),
                    None if experiments is None else Jsonb(experiments), it.get("ui_version"),
                )
            )  # fmt: skip
            count += 1
    return count


def run_oracle(
    conn: psycopg.Connection[Any],
    events_table: str,
    late_table: str = "quality.late_events",
    *,
    rules: OracleRules | None = None,
    readings_table: str = "realtime.session_features",
    users_table: str = "realtime.user_features",
    episodes_table: str = "realtime.episode_features",
) -> OracleResult:
    """Recompute everything from `events_table` and compare it with the four tables that the stream wrote.

    Temporary tables (`oracle_readings`, ...) stay in the connection for a look at them.
    """
    recompute(conn, events_table, rules or OracleRules())
    compared = (
        (readings_table, "oracle_readings", READING_COLUMNS, 3),
        (users_table, "oracle_users", USER_COLUMNS, 1),
        (episodes_table, "oracle_episodes", EPISODE_COLUMNS, 1),
        (late_table, "oracle_late", LATE_COLUMNS, 2),
    )
    differences = [
        difference
        for table, expected, columns, key_length in compared
        for difference in _differences(conn, table, expected, columns, key_length)
    ]
    return OracleResult(_counts(conn), differences)


def recompute(conn: psycopg.Connection[Any], events_table: str, rules: OracleRules) -> None:
    """Fill the temporary tables oracle_readings, oracle_users, oracle_episodes, oracle_late."""
    conn.execute("DROP FUNCTION IF EXISTS pg_temp.oracle_was_late")
    conn.execute("DROP VIEW IF EXISTS pg_temp.oracle_events")
    for table in _TEMPORARY:
        conn.execute(sql.SQL("DROP TABLE IF EXISTS pg_temp.{}").format(sql.Identifier(table)))
    conn.execute(
        """
        CREATE TEMPORARY TABLE oracle_rules (
            gap_ms bigint, max_length_ms bigint, lateness_ms bigint, dwell_cap_ms bigint,
            buckets_per_partition integer, wall_ms bigint
        )
        """
    )
    conn.execute(
        "INSERT INTO oracle_rules VALUES (%s, %s, %s, %s, %s, %s)",
        (
            rules.gap_ms, rules.max_length_ms, rules.lateness_ms, rules.dwell_cap_ms,
            rules.buckets_per_partition, rules.wall_ms,
        ),
    )  # fmt: skip
    conn.execute(
        sql.SQL("CREATE TEMPORARY VIEW oracle_events AS SELECT * FROM {}").format(_name(events_table))
    )
    for step in _STEPS:
        conn.execute((_FOLDER / step).read_text(encoding="utf-8").encode())


def _differences(
    conn: psycopg.Connection[Any], actual: str, expected: str, columns: tuple[str, ...], key_length: int
) -> list[Difference]:
    statement = sql.SQL(_COMPARE).format(
        expected=sql.Identifier("pg_temp", expected),
        actual=_name(actual),
        keys=sql.SQL(", ").join(map(sql.Identifier, columns[:key_length])),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
    )
    # every column of every row that differs; a row on one side only has one line
    return [Difference(actual, *row) for row in conn.execute(statement).fetchall()]


def _counts(conn: psycopg.Connection[Any]) -> dict[str, int]:
    row = conn.execute(
        """
        SELECT
            (SELECT count(*) FROM oracle_classified) AS events,
            (SELECT count(*) FROM oracle_classified WHERE is_repeat) AS repeats,
            (SELECT count(*) FROM oracle_classified WHERE is_late) AS late,
            (SELECT count(*) FROM oracle_reused) AS ids_used_again,
            (SELECT count(*) FROM oracle_readings) AS readings,
            (SELECT count(*) FROM oracle_readings WHERE is_final) AS final_readings,
            (SELECT count(*) FROM oracle_users) AS users,
            (SELECT count(*) FROM oracle_episodes) AS episodes
        """
    ).fetchone()
    names = (
        "events", "repeats", "late", "ids_used_again", "readings", "final_readings", "users", "episodes",
    )  # fmt: skip
    return dict(zip(names, row or (), strict=True))


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))
