"""DAG features__backfill on a whole Airflow: a damaged partition is shown, repaired, and found equal the second time."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

from include.common.backfills import MANIFEST
from include.common.hive.files import data_files
from include.common.hive.metastore import open_metastore
from include.common.hive.schema import HiveTable
from include.common.hive.tables import CONTENT_QUALITY_DAILY, SESSION_FEATURES
from include.common.names import Dag
from include.common.postgres import connect
from include.orchestration.backfill.tasks import REBUILD, REPORT, REPORT_KEY
from include.orchestration.reconcile.inputs import Stores
from include.orchestration.reconcile.model import Day, Verdict
from include.orchestration.reconcile.tasks import reconcile
from tests.integration.conftest import AirflowStack
from tests.integration.published_day import PublishedDay
from tests.reconcile_case import hive_row, write_sessions

NOON_MS = 1_770_811_200_000  # 2026-02-11T12:00:00Z
DAY = Day.of_ms(NOON_MS)
PUBLISHING = ("gate_sessions", "publish_days", "verify_counts", "refresh_marts", "remove_staging")


class Store(PublishedDay):
    """A published day, and runs of the DAG for it."""

    def damage(self) -> None:
        """A new folder: two rows changed, one missing, one that no event makes, one twice."""
        generation, name = self.generation, self.name
        ((position,),) = self.sql(
            "SELECT max(position) FROM ops.stream_batches WHERE generation = %s", generation
        )
        rows = [
            hive_row(it, generation=generation, ledger_position=position) for it in self.case.streamed.final
        ]
        day = sorted(
            (row for row in rows if row["started_at"] // 1000 >= DAY.from_ms),
            key=lambda row: str(row["session_id"]),
        )
        assert len(day) == 20
        day[0]["dwell_time_ms"] += 1
        day[1] |= {"completion_rate": 0.75, "country": "JP"}
        foreign = {**day[3], "session_id": f"{name}-foreign"}
        folders = write_sessions(self.root / "damaged", [*day[:2], *day[3:], foreign, day[4]])
        self.point(SESSION_FEATURES, {(DAY.dt,): folders[DAY.dt]})

    @property
    def location(self) -> str:
        return str(self.metastore.locations(SESSION_FEATURES, [(DAY.dt,)])[(DAY.dt,)])

    def rows(self, table: HiveTable) -> list[dict[str, Any]]:
        """What the day's partition of a table holds."""
        folder = self.metastore.locations(table, [(DAY.dt,)])[(DAY.dt,)]
        return [row for path in data_files(folder) for row in pq.ParquetFile(path).read().to_pylist()]

    def run(self, **form: Any) -> tuple[str, dict[str, str]]:
        """A run that succeeds: its id, and the states of its tasks."""
        api = self.stack.api
        run_id = api.trigger(Dag.BACKFILL, conf={"first_day": DAY.dt, **form})
        assert api.wait_for_run(Dag.BACKFILL, run_id, timeout_s=240) == "success"
        return run_id, api.task_states(Dag.BACKFILL, run_id)

    def report(self, run_id: str) -> str:
        path = f"/dags/{Dag.BACKFILL}/dagRuns/{quote(run_id, safe='')}/taskInstances/{REPORT}/xcomEntries/{REPORT_KEY}"
        return str(self.stack.api.call("GET", path)["value"])

    def staged(self) -> list[str]:
        return [it.name for it in (self.stack.context.paths.data / "staging").glob("backfill=*")]

    def verdict(self) -> Verdict:
        """What features__reconcile says, by its own function."""
        with connect(self.stack.feature_dsn, application_name="test", autocommit=True) as connection:
            stores = Stores(
                connection, self.metastore, self.stack.context.paths.data / "warehouse", self.topic
            )
            (outcome,) = reconcile(stores, [DAY], "backfill-test")
        return outcome.verdict


@pytest.fixture(scope="module")
def store(airflow_stack: AirflowStack) -> Iterator[Store]:
    with open_metastore(airflow_stack.context.metastore_uri) as metastore:
        made = Store(airflow_stack, metastore, "backfill", 9200, 920, NOON_MS)
        airflow_stack.api.wait_for_dags({Dag.BACKFILL}, timeout_s=60)
        try:
            made.fill()
            made.damage()
            metastore.ensure_table(CONTENT_QUALITY_DAILY, airflow_stack.context.paths.data / "warehouse")
            airflow_stack.api.set_paused(Dag.BACKFILL, False)
            yield made
        finally:
            airflow_stack.api.set_paused(Dag.BACKFILL, True)
            metastore.drop_partitions(CONTENT_QUALITY_DAILY, [(DAY.dt,)])
            made.sql("DELETE FROM ops.publications WHERE is_backfill")
            made.sql("DELETE FROM ops.backfills")
            made.clean()


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["session_id"], row["session_start_ms"], row["episode_id"]


@pytest.mark.timeout(500)
def test_a_damaged_day_is_shown_then_repaired_and_twice_is_once(store: Store) -> None:
    damaged = store.location
    assert store.verdict() is Verdict.DIFFERENT

    run_id, states = store.run()
    assert {states[name] for name in PUBLISHING} == {"skipped"}, "a dry run is the default"
    line = f"| {DAY.dt} | 17 | 1 | 2 | 2 | `completion_rate` 1, `country` 1, `dwell_time_ms` 1 |"
    assert line in store.report(run_id)
    assert "nothing was changed" in store.report(run_id)
    assert (store.location, store.staged()) == (damaged, [])
    assert store.sql("SELECT count(*) FROM ops.backfills") == [(0,)]

    models = {it["dag_run_id"] for it in store.stack.api.runs(Dag.MODEL)}
    run_id, states = store.run(last_day=DAY.dt, dry_run=False)
    assert set(states.values()) == {"success"}
    assert f"{REBUILD}[0]" in states
    repaired = store.location
    assert repaired != damaged
    assert store.staged() == []
    wanted = [it for it in store.case.streamed.final if it.started_at_ms >= DAY.from_ms]
    assert sorted(map(key, store.rows(SESSION_FEATURES))) == sorted(map(key, (it._asdict() for it in wanted)))
    assert store.verdict() is Verdict.EQUAL, "by SQL that shares nothing with the rebuild"
    recorded = store.sql(
        "SELECT run_id, dt::text, with_late_events, rows_equal, rows_new, rows_changed, rows_gone, location FROM ops.backfills"
    )
    assert recorded == [(run_id, DAY.dt, False, 17, 1, 2, 2, repaired)]
    published = store.sql(
        "SELECT hive_table, row_count FROM ops.publications WHERE run_id = %s ORDER BY 1", run_id
    )
    assert published == [("content_quality_daily", 1), ("session_features", 20)]
    (quality,) = store.rows(CONTENT_QUALITY_DAILY)
    assert (quality["reading_count"], quality["episode_id"]) == (20, "reconcile-ep")
    # the marts are rebuilt; this test needs them not
    (model,) = [it for it in store.stack.api.runs(Dag.MODEL) if it["dag_run_id"] not in models]
    assert model["conf"]["rebuild"] is True
    store.stack.api.call("DELETE", f"/dags/{Dag.MODEL}/dagRuns/{quote(model['dag_run_id'], safe='')}")

    run_id, states = store.run(dry_run=False)
    assert {states[name] for name in PUBLISHING} == {"skipped"}
    assert f"| {DAY.dt} | 20 | 0 | 0 | 0 |" in store.report(run_id)
    assert "No row differs" in store.report(run_id)
    assert store.location == repaired
    assert store.sql("SELECT count(*) FROM ops.backfills") == [(1,)]
    assert not list(store.stack.context.paths.data.glob(f"staging/*/{MANIFEST}"))


@pytest.mark.timeout(300)
def test_late_events_are_counted_in_the_day_where_the_form_says_so(store: Store) -> None:
    """What the stream has put aside in quality.late_events: an exit of the session `-1`, between its two events."""
    late = f"{store.name}-1"
    assert store.sql(
        "SELECT session_id FROM quality.late_events WHERE generation = %s", store.generation
    ) == [(late,)]
    models = {it["dag_run_id"] for it in store.stack.api.runs(Dag.MODEL)}
    run_id, states = store.run(apply_late_events=True, dry_run=False)
    assert set(states.values()) == {"success"}
    before = {it.key: it for it in store.case.streamed.final if it.started_at_ms >= DAY.from_ms}
    after = {key(row): row for row in store.rows(SESSION_FEATURES)}
    assert after.keys() == {tuple(it) for it in before}
    counted = {it.session_id: (before[it].event_count, after[tuple(it)]["event_count"]) for it in before}
    assert counted.pop(late) == (2, 3)
    assert all(streamed == rebuilt for streamed, rebuilt in counted.values())
    recorded = store.sql("SELECT with_late_events FROM ops.backfills WHERE run_id = %s", run_id)
    assert recorded == [(True,)]
    assert store.verdict() is Verdict.EQUAL, "of all other rows"
    for model in store.stack.api.runs(Dag.MODEL):
        if model["dag_run_id"] not in models:
            store.stack.api.call("DELETE", f"/dags/{Dag.MODEL}/dagRuns/{quote(model['dag_run_id'], safe='')}")
