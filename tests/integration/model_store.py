"""Rows of a feature database for tests of the model, written the way the stream and reference__load would."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from include.dbt.command import run_dbt, store_environment

AS_OF = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Store:
    """Rows of a feature database, written the way the stream and reference__load would."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.execute(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (1, 'current', 'c', '{}')"
            " ON CONFLICT DO NOTHING"
        )

    def execute(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement in its own transaction."""
        with psycopg.connect(self.dsn) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def thresholds(self) -> None:
        """The three settings of the popularity rank, valid for ever."""
        for name, value in (
            ("popularity_window_days", 7),
            ("popularity_half_life_hours", 24),
            ("popularity_exited_weight", 0.5),
        ):
            self.execute(
                "INSERT INTO reference.thresholds VALUES (%s, %s, 'x', 'x', '-infinity', 'infinity')",
                (name, value),
            )

    def episode(
        self, episode_id: str, rating: float, genre: str, tags: list[str], start: str, end: str
    ) -> None:
        """One version of one episode."""
        self.execute(
            "INSERT INTO reference.episode_metadata VALUES (%s, 't1', 'Title', 1, %s, %s, %s, '2026-03-01', %s, %s)",
            (episode_id, genre, tags, rating, start, end),
        )

    def batch(self, generation: int = 1) -> int:
        """One committed micro-batch; returns its ledger position."""
        [(count,)] = self.execute("SELECT count(*) FROM ops.stream_batches")
        return self.execute(
            "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events, "
            "dead_letters, duplicates, late_events, rows_upserted, rows_deleted) "
            "VALUES (%s, %s, '{}', '{}', 0, 0, 0, 0, 0, 0, 0) RETURNING position",
            (generation, count),
        )[0][0]

    def reading(
        self, position: int, session: str, episode: str, user: str, ended: datetime, **other: Any
    ) -> None:
        """One row of realtime.session_features; completed unless `status` says otherwise."""
        status = other.get("status", "completed")
        row = {
            "session_id": session,
            "session_start_ms": other.get("start_ms", 0),
            "episode_id": episode,
            "user_id": user,
            "country": other.get("country", "KR"),
            "device": other.get("device", "phone"),
            "platform": "ios",
            "status": status,
            "is_exit_tag": {"active": None, "completed": False}.get(status, True),
            "completion_rate": other.get("completion", 1.0 if status == "completed" else 0.25),
            "max_scroll_ratio": other.get("scroll"),
            "event_count": 3,
            "scroll_event_count": 1,
            "dwell_time_ms": other.get("dwell_ms", 1000),
            "started_at": other.get("started", ended - timedelta(minutes=1)),
            "ended_at": ended,
            "is_final": other.get("is_final", True),
            "source_partition": 0,
            "last_offset": other.get("offset", 0),
            "last_event_kafka_at": ended,
            "generation": other.get("generation", 1),
            "batch_id": 0,
            "ledger_position": position,
        }
        names = ", ".join(row)
        self.execute(
            f"INSERT INTO realtime.session_features ({names}) VALUES ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )

    def dbt(self, arguments: Sequence[str], target_dir: Path) -> None:
        """Run dbt as the DAG's tasks do: with --full-refresh where the open cut rebuilds the marts."""
        open_cut = self.execute("SELECT rebuild_reason IS NOT NULL FROM ops.model_cuts WHERE status = 'open'")
        full = ["--full-refresh"] if open_cut == [(True,)] and "--full-refresh" not in arguments else []
        run_dbt([*arguments, *full, "--quiet"], store_environment(self.dsn), target_dir)

    def table(self, name: str, order: str) -> list[dict[str, Any]]:
        """All rows, as dicts."""
        return [row[0] for row in self.execute(f"SELECT to_jsonb(t) FROM {name} AS t ORDER BY {order}")]


def seed_small_case(store: Store) -> None:
    """The hand-computed small case: five final readings in the cut, and one that is not final."""
    store.thresholds()
    store.episode("e1", 7.0, "drama", ["love", "school"], "-infinity", "2026-03-10 11:00:00+00")
    store.episode("e1", 9.0, "drama", ["love"], "2026-03-10 11:00:00+00", "infinity")
    store.episode("e2", 5.5, "action", ["fight"], "-infinity", "infinity")
    store.episode("e3", 6.0, "comedy", [], "-infinity", "infinity")  # never read
    first = store.batch()
    store.reading(first, "s1", "e1", "u1", AS_OF - 24 * HOUR, scroll=0.5, dwell_ms=2000)  # 0.5
    store.reading(
        first, "s1", "e2", "u1", AS_OF - 24 * HOUR, status="exited", scroll=0.25, dwell_ms=1000
    )  # 0.25
    store.reading(
        first, "s2", "e2", "u2", AS_OF, status="timed_out", completion=0.75, scroll=0.75, country="US"
    )  # .5
    second = store.batch()
    store.reading(second, "s3", "e9", "u2", AS_OF - 48 * HOUR, device="tablet")  # 0.25, unknown to reference
    store.reading(second, "s4", "e1", "u3", AS_OF - 7 * 24 * HOUR)  # exactly seven days old: no weight
    store.reading(second, "s5", "e1", "u4", AS_OF + HOUR, is_final=False, status="active")  # not final
