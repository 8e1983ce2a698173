"""DAG features__reconcile on a whole Airflow: it agrees, then one changed value in a Hive file fails it and is told."""

import urllib.request
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.common.hive.files import data_files
from include.common.hive.metastore import open_metastore
from include.common.hive.tables import SESSION_FEATURES
from include.common.names import Dag
from include.orchestration.reconcile.report import PAGE
from local_stack.slack_receiver import as_text
from tests.integration.conftest import AirflowStack
from tests.integration.published_day import PublishedDay

DAY = "2026-02-03"
NOON_MS = 1_770_120_000_000  # 2026-02-03T12:00:00Z


class Store(PublishedDay):
    """A published day, and runs of the DAG for it."""

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
        made = Store(airflow_stack, metastore, "reconcile", 9100, 900, NOON_MS)
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
    # the night's own run begins when the DAG is unpaused, before this one or after it, and may tell of others' days
    failed = [text for text in messages if "features__reconcile: task compare_days failed" in text]
    (message,) = [text for text in failed if DAY in text]
    assert (
        f"1 of 1 days are not as recomputed. {DAY}: 1 rows differ (dwell_time_ms 1); 19 rows equal" in message
    )
    assert "docs/runbooks/features_reconcile.md" in message
    with urllib.request.urlopen(f"http://{store.stack.context.ports.address('docs')}/{PAGE}") as answer:
        page = answer.read().decode()
    assert DAY in page
    assert "dwell_time_ms" in page
    assert "reconcile-0" not in page, "a session_id"
