"""DAG features__reconcile on a whole Airflow: it agrees, then one changed value in a Hive file fails it and is told."""

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from psycopg.types.json import Jsonb

from include.common.hive import HiveTable
from include.common.hive_tables import RAW_EVENTS, SESSION_FEATURES
from include.common.metastore import Metastore, open_metastore
from include.common.names import Dag, Topic
from include.common.slice_files import data_files
from include.orchestration.reconcile.report import PAGE
from local_stack.slack_receiver import as_text
from tests.integration.conftest import AirflowStack
from tests.reconcile_case import Case, hive_row, write_sessions
from tests.vectors import VectorRecord

GENERATION = 9100
PARTITION = 900
"""No topic has it: the archive of other tests never meets these slices."""
DAY = "2026-02-03"
RULES = {"gap_ms": 1_800_000, "max_length_ms": 86_400_000, "lateness_ms": 120_000, "dwell_cap_ms": 300_000}
DAY_MS = 86_400_000
NOON_MS = 1_770_120_000_000  # 2026-02-03T12:00:00Z


def _event(session: str, at_ms: int, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "event_id": f"{session}-{at_ms}", "user_id": f"u-{session}", "session_id": session,
        "episode_id": "reconcile-ep", "event_type": kind, "country": "KR", "device": "phone", "platform": "ios",
        "timestamp": at_ms, **more,
    }  # fmt: skip


def _records(topic: str) -> list[VectorRecord]:
    """Twenty visits of a day, one over midnight, a late event, and what closes them."""
    events = [_event("reconcile-night", NOON_MS - 12 * 3_600_000 - 60_000, "enter")]
    events += [_event("reconcile-night", NOON_MS - 12 * 3_600_000 + 60_000, "exit")]
    for number in range(20):
        at_ms = NOON_MS + number * 60_000
        events += [
            _event(f"reconcile-{number}", at_ms, "enter"),
            _event(f"reconcile-{number}", at_ms + 30_000, "scroll", scroll_ratio=0.5),
        ]
    events += [
        _event("reconcile-1", NOON_MS + 70_000, "exit"),
        _event("reconcile-end", NOON_MS + 3 * DAY_MS, "enter"),
    ]
    return [
        VectorRecord(PARTITION, offset, max(NOON_MS + 3 * DAY_MS, it["timestamp"]), it["session_id"].encode(),
                     json.dumps(it).encode())
        for offset, it in enumerate(events)
    ]  # fmt: skip


class Store:
    """A generation's ledger, its archived events and published rows, put where the stack's DAGs find them."""

    def __init__(self, stack: AirflowStack, metastore: Metastore, root: Path) -> None:
        self.stack, self.metastore, self.root = stack, metastore, root
        self.topic = stack.env.get("WEBTOON_EVENTS_TOPIC", Topic.EVENTS)
        self.case = Case(root, _records(self.topic), buckets=1, topic=self.topic)
        self.pointed: list[tuple[HiveTable, tuple[str, ...]]] = []

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.stack.feature_dsn) as connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def fill(self) -> None:
        """Ledger, slice, late list, cut and publication; files, and partitions that point at them."""
        end = {str(PARTITION): len(self.case.records)}
        start = {str(PARTITION): 0}
        stored = {"buckets_per_partition": 1, "state_partitions": 1, "rules": RULES, "start_offsets": start}
        self.sql(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (%s, 'dropped', 'c', %s)",
            GENERATION, Jsonb(stored),
        )  # fmt: skip
        ((position,),) = self.sql(
            "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
            " dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
            " VALUES (%s, 0, %s, %s, 0, 0, 0, 0, 0, 0, 0) RETURNING position",
            GENERATION, Jsonb(start), Jsonb(end),
        )  # fmt: skip
        self.sql(
            "INSERT INTO ops.archive_slices (slice_id, run_id, topic, start_offsets, end_offsets, status, produced,"
            " archived, quarantined) VALUES ('reconcile', 'reconcile', %s, %s, %s, 'published', %s, %s, 0)",
            self.topic, Jsonb(start), Jsonb(end), len(self.case.records), len(self.case.records),
        )  # fmt: skip
        for it in self.case.late:
            self.sql(
                "INSERT INTO quality.late_events VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 0)",
                self.topic,
                *it,
                GENERATION,
            )
        ((cut_id,),) = self.sql(
            "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)"
            " VALUES ('reconcile', %s, %s, now(), 'published', clock_timestamp()) RETURNING cut_id",
            GENERATION, position,
        )  # fmt: skip
        self.point(RAW_EVENTS, {self._hour(it.path): it.path for it in self.case.archive.folders})
        rows = [
            hive_row(row, generation=GENERATION, ledger_position=position) for row in self.case.streamed.final
        ]
        for dt, folder in write_sessions(self.root / "published", rows).items():
            self.point(SESSION_FEATURES, {(dt,): folder})
            self.sql(
                "INSERT INTO ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count)"
                " VALUES ('session_features', %s, 'reconcile', %s, %s, 1)", f"dt={dt}", cut_id, str(folder),
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
            self.metastore._client.drop_partition(self.metastore.database, table.name, list(values), False)
        shutil.rmtree(self.root)
        for statement in (
            "DELETE FROM ops.publications WHERE run_id = 'reconcile'",
            "DELETE FROM ops.model_cuts WHERE run_id = 'reconcile'",
            "DELETE FROM ops.archive_slices WHERE run_id = 'reconcile'",
            f"DELETE FROM quality.late_events WHERE generation = {GENERATION}",
            f"DELETE FROM ops.stream_batches WHERE generation = {GENERATION}",
            f"DELETE FROM ops.stream_generations WHERE generation = {GENERATION}",
        ):
            self.sql(statement)

    def run(self, state: str) -> str:
        """A run for the day, which must end in `state`; its id. It waits for the scheduled one that unpausing begins."""
        api = self.stack.api
        run_id = api.trigger(Dag.RECONCILE, conf={"from_day": DAY})
        assert api.wait_for_run(Dag.RECONCILE, run_id, timeout_s=200) == state
        assert api.task_states(Dag.RECONCILE, run_id)["find_days"] == "success"
        return str(run_id)

    def verdict(self, run_id: str) -> tuple[Any, ...]:
        (row,) = self.sql(
            "SELECT dt::text, verdict, reason, rows_equal, rows_differing, differing_by_column, late_events_checked,"
            " late_events_wrong FROM quality.reconciliation WHERE run_id = %s",
            run_id,
        )
        return row


@pytest.fixture(scope="module")
def store(airflow_stack: AirflowStack) -> Iterator[Store]:
    with open_metastore(airflow_stack.context.metastore_uri) as metastore:
        made = Store(airflow_stack, metastore, airflow_stack.context.paths.data / "reconcile-dag-test")
        airflow_stack.api.wait_for_dags({Dag.RECONCILE}, timeout_s=60)
        try:
            made.fill()
            airflow_stack.api.set_paused(Dag.RECONCILE, False)
            yield made
        finally:
            airflow_stack.api.set_paused(Dag.RECONCILE, True)
            made.clean()


def test_it_agrees_with_what_was_published(store: Store) -> None:
    assert len(store.case.late) == 1
    run_id = store.run("success")
    assert store.verdict(run_id) == (DAY, "equal", None, 20, 0, {}, 1, {})


def test_one_changed_value_in_a_hive_file_fails_the_run_and_is_told(store: Store) -> None:
    (file,) = data_files(store.metastore.locations(SESSION_FEATURES, [(DAY,)])[(DAY,)])
    table = pq.read_table(file, partitioning=None)
    dwell = table["dwell_time_ms"].to_pylist()
    column = table.schema.get_field_index("dwell_time_ms")
    changed = table.set_column(column, table.schema.field(column), [[dwell[0] + 1, *dwell[1:]]])
    pq.write_table(changed, file)
    told = len(store.stack.slack.messages())

    run_id = store.run("failed")
    assert store.verdict(run_id)[1:6] == ("different", None, 19, 1, {"dwell_time_ms": 1})
    messages = [as_text(it["payload"]) for it in store.stack.slack.messages()[told:]]
    (message,) = [text for text in messages if "features__reconcile: task compare_days failed" in text]
    assert (
        f"1 of 1 days are not as recomputed. {DAY}: 1 rows differ (dwell_time_ms 1); 19 rows equal" in message
    )
    assert "docs/runbooks/features_reconcile.md" in message
    with urllib.request.urlopen(f"http://{store.stack.context.ports.address('docs')}/{PAGE}") as answer:
        page = answer.read().decode()
    assert DAY in page
    assert "dwell_time_ms" in page
    assert "reconcile-0" not in page, "a session_id"

    pq.write_table(table, file)
    assert store.verdict(store.run("success"))[1] == "equal"
