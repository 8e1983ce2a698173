"""Days of a generation put where the DAGs of a whole Airflow find them: archived events, ledger, published rows."""

import json
import shutil
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable
from include.common.hive.tables import RAW_EVENTS, SESSION_FEATURES
from include.common.names import Topic
from tests.integration.conftest import AirflowStack
from tests.reconcile_case import Case, hive_row, write_sessions
from tests.vectors import VectorRecord

RULES = {"gap_ms": 1_800_000, "max_length_ms": 86_400_000, "lateness_ms": 120_000, "dwell_cap_ms": 300_000}
DAY_MS = 86_400_000


def _event(session: str, at_ms: int, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"{session}-{at_ms}", "user_id": f"u-{session}", "session_id": session,
        "episode_id": "reconcile-ep", "event_type": kind, "country": "KR", "device": "phone", "platform": "ios",
        "timestamp": at_ms, **more,
    }  # fmt: skip


def day_of_visits(name: str, partition: int, noon_ms: int) -> list[VectorRecord]:
    """Twenty visits of a day, one over midnight, a late event, and what closes them. `name`: start of all ids."""
    events = [_event(f"{name}-night", noon_ms - 12 * 3_600_000 - 60_000, "enter")]
    events += [_event(f"{name}-night", noon_ms - 12 * 3_600_000 + 60_000, "exit")]
    for number in range(20):
        at_ms = noon_ms + number * 60_000
        events += [
            _event(f"{name}-{number}", at_ms, "enter"),
            _event(f"{name}-{number}", at_ms + 30_000, "scroll", scroll_ratio=0.5),
        ]
    events += [
        _event(f"{name}-1", noon_ms + 70_000, "exit"),
        _event(f"{name}-end", noon_ms + 3 * DAY_MS, "enter"),
    ]
    return [
        VectorRecord(partition, offset, max(noon_ms + 3 * DAY_MS, it["timestamp"]), it["session_id"].encode(),
                     json.dumps(it).encode())
        for offset, it in enumerate(events)
    ]  # fmt: skip


class PublishedDay:
    """A generation's ledger, its archived events and published rows.

    `partition` is one that no topic has: the archive of other tests never meets these slices.
    """

    def __init__(
        self,
        stack: AirflowStack,
        metastore: Metastore,
        name: str,
        generation: int,
        partition: int,
        noon_ms: int,
    ) -> None:
        self.stack, self.metastore, self.root = (
            stack,
            metastore,
            stack.context.paths.data / f"{name}-dag-test",
        )
        self.name, self.generation, self.partition = name, generation, partition
        self.topic = stack.env.get("WEBTOON_EVENTS_TOPIC", Topic.EVENTS)
        self.case = Case(self.root, day_of_visits(name, partition, noon_ms), buckets=1, topic=self.topic)
        self.pointed: list[tuple[HiveTable, tuple[str, ...]]] = []

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.feature_dsn) as connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def fill(self) -> None:
        """Ledger, slice, late list, cut and publication; files, and partitions that point at them."""
        end = {str(self.partition): len(self.case.records)}
        start = {str(self.partition): 0}
        stored = {"buckets_per_partition": 1, "state_partitions": 1, "rules": RULES, "start_offsets": start}
        self.sql(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (%s, 'dropped', 'c', %s)",
            self.generation, Jsonb(stored),
        )  # fmt: skip
        ((position,),) = self.sql(
            "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
            " dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
            " VALUES (%s, 0, %s, %s, 0, 0, 0, 0, 0, 0, 0) RETURNING position",
            self.generation, Jsonb(start), Jsonb(end),
        )  # fmt: skip
        self.sql(
            "INSERT INTO ops.archive_slices (slice_id, run_id, topic, start_offsets, end_offsets, status, produced,"
            " archived, quarantined) VALUES (%s, %s, %s, %s, %s, 'published', %s, %s, 0)",
            self.name, self.name, self.topic, Jsonb(start), Jsonb(end), len(self.case.records), len(self.case.records),
        )  # fmt: skip
        for it in self.case.late:
            self.sql(
                "INSERT INTO quality.late_events (topic, kafka_partition, kafka_offset, session_id, event_id, event_time_ms,"
                " bucket_clock_ms, user_id, generation, batch_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, 0)",
                self.topic, *it, self.generation,
            )  # fmt: skip
        ((cut_id,),) = self.sql(
            "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)"
            " VALUES (%s, %s, %s, now(), 'published', clock_timestamp()) RETURNING cut_id",
            self.name, self.generation, position,
        )  # fmt: skip
        self.point(RAW_EVENTS, {self._hour(it.path): it.path for it in self.case.archive.folders})
        rows = [
            hive_row(row, generation=self.generation, ledger_position=position)
            for row in self.case.streamed.final
        ]
        for dt, folder in write_sessions(self.root / "published", rows).items():
            self.point(SESSION_FEATURES, {(dt,): folder})
            self.sql(
                "INSERT INTO ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count)"
                " VALUES ('session_features', %s, %s, %s, %s, 1)", f"dt={dt}", self.name, cut_id, str(folder),
            )  # fmt: skip

    @staticmethod
    def _hour(path: Path) -> tuple[str, ...]:
        return RAW_EVENTS.partition_values("/".join(path.parts[-2:]))

    def point(self, table: HiveTable, folders: dict[tuple[str, ...], Path]) -> None:
        """Point partitions at folders; `clean` drops them again."""
        self.metastore.ensure_table(table, self.stack.context.paths.data / "warehouse")
        self.metastore.point_partitions(table, folders)
        self.pointed += [(table, values) for values in folders]

    def clean(self) -> None:
        """Leave the stack as it was."""
        for table, values in self.pointed:
            self.metastore.drop_partitions(table, [values])
        shutil.rmtree(self.root)
        for statement in (
            f"DELETE FROM ops.publications WHERE run_id = '{self.name}'",
            f"DELETE FROM ops.model_cuts WHERE run_id = '{self.name}'",
            f"DELETE FROM ops.archive_slices WHERE run_id = '{self.name}'",
            f"DELETE FROM quality.late_events WHERE generation = {self.generation}",
            f"DELETE FROM ops.stream_batches WHERE generation = {self.generation}",
            f"DELETE FROM ops.stream_generations WHERE generation = {self.generation}",
        ):
            self.sql(statement)
