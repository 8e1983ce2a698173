"""DAG ops__maintain on a whole Airflow: a dry run changes nothing, a run puts files together, HiveServer2 sees all rows."""

from datetime import UTC, datetime, timedelta

from include.common.hive.metastore import open_metastore
from include.common.hive.tables import RAW_EVENTS
from include.common.migrate import migrate
from include.common.names import Dag
from include.common.postgres import connect
from include.orchestration.archive import Stores
from include.orchestration.migrate_store import ensure_hive_tables
from tests.integration.conftest import AirflowStack
from tests.integration.hive_store import SliceStore

AT_ONCE = {"settle_hours": 0, "min_files": 2}
LAST_NIGHT = (datetime.now(UTC) - timedelta(days=1)).replace(hour=3, minute=0, second=0, microsecond=0)
"""No other test writes then; not so old that it would be dropped."""
NIGHT = (f"{LAST_NIGHT:%Y-%m-%d}", "3")


def run(stack: AirflowStack, **form: object) -> None:
    run_id = stack.api.trigger(Dag.MAINTAIN, {**AT_ONCE, **form})
    state = stack.api.wait_for_run(Dag.MAINTAIN, run_id, timeout_s=240)
    assert (state, stack.api.task_states(Dag.MAINTAIN, run_id)) == (
        "success",
        dict.fromkeys(
            (
                "ask_to_prune",
                "await_pruning",
                "compact_tables",
                "drop_expired_partitions",
                "remove_landing_files",
                "refresh_readers",
                "remove_unreferenced_folders",
            ),
            "success",
        ),
    )


def rows_seen(stack: AirflowStack) -> int:
    from pyhive import hive

    with (
        hive.connect("127.0.0.1", stack.context.ports["thrift"], auth="NOSASL") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT count(*) FROM webtoon.raw_events WHERE dt = %s AND hour = 3", (NIGHT[0],))
        return int(cursor.fetchone()[0])


def test_form_dry_run_and_run(airflow_stack: AirflowStack) -> None:
    migrate(airflow_stack.feature_dsn)
    with (
        connect(airflow_stack.feature_dsn, application_name="test", autocommit=True) as connection,
        open_metastore(airflow_stack.context.metastore_uri) as metastore,
    ):
        store = SliceStore(Stores(connection, metastore, airflow_stack.context.paths.data))
        ensure_hive_tables(metastore, store.stores.warehouse)
        for _ in range(3):
            store.publish(store.stage([LAST_NIGHT] * 4))
        before = store.files(RAW_EVENTS)[NIGHT]
        airflow_stack.api.wait_for_dags({Dag.MAINTAIN}, timeout_s=60)
        airflow_stack.api.set_paused(Dag.MAINTAIN, False)
        try:
            run(airflow_stack, dry_run=True)
            assert store.files(RAW_EVENTS)[NIGHT] == before
            run(airflow_stack, dry_run=False)
        finally:
            airflow_stack.api.set_paused(Dag.MAINTAIN, True)
        assert (len(before), len(store.files(RAW_EVENTS)[NIGHT])) == (3, 1)
        assert rows_seen(airflow_stack) == 12
        assert all(path.exists() for path in before), "for a day"
