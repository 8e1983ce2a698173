"""DAG ops__migrate_store on a whole Airflow, and the metrics of it that scheduler and tasks push."""

import time

from include.common.hive.metastore import open_metastore
from include.common.hive.tables import TABLES
from include.common.names import Dag
from tests.integration.conftest import AirflowStack
from tests.otlp_receiver import Samples, scrape
from tests.unit.metrics.recorded import AIRFLOW_SERIES

DAG_ID = Dag.MIGRATE_STORE
TASKS = ("migrate_database", "create_topics", "create_hive_tables")


def _counts(samples: Samples) -> dict[str, float]:
    """What this test makes go up."""

    def total(name: str, **labels: str) -> float:
        return sum(
            value
            for its_labels, value in samples.get(name, [])
            if labels.items() <= its_labels.items() and its_labels.get("dag_id", DAG_ID) == DAG_ID
        )

    return {
        **{f"success of {it}": total("airflow_ti_finish_total", task_id=it, state="success") for it in TASKS},
        "failures": total("airflow_ti_finish_total", state="failed"),
        "successful runs": total("airflow_dagrun_duration_success_milliseconds_count"),
        "failed runs": total("airflow_dagrun_duration_failed_milliseconds_count"),
    }


def _heartbeats(samples: Samples) -> float:
    return sum(value for _, value in samples.get("airflow_scheduler_heartbeat_total", []))


def _after_the_next_push(stack: AirflowStack) -> Samples:
    """What is there once the scheduler has pushed again: runs of tests before this one are counted in."""
    before = now = scrape(stack.context.ports.address("metrics"))
    deadline = time.monotonic() + 60
    while _heartbeats(now) == _heartbeats(before):
        assert time.monotonic() < deadline, "the scheduler pushes nothing"
        time.sleep(0.5)
        now = scrape(stack.context.ports.address("metrics"))
    return now


def succeeds_twice_and_refuses_other_partitions(stack: AirflowStack) -> None:
    """Runs of ops__migrate_store: what any DAG's task counts, and what this one is for."""
    api = stack.api
    for conf, state in (({}, "success"), ({}, "success"), ({"partitions": 5}, "failed")):
        run_id = api.trigger(DAG_ID, conf)
        assert api.wait_for_run(DAG_ID, run_id, timeout_s=120) == state
        assert api.task_states(DAG_ID, run_id)["create_topics"] == state
    with open_metastore(stack.context.metastore_uri) as metastore:
        for table in TABLES:
            metastore.all_locations(table)  # raises where the table was not made


def test_tasks_and_scheduler_push_each_count_once_and_all_that_the_dashboard_shows(
    airflow_stack: AirflowStack,
) -> None:
    api = airflow_stack.api
    api.wait_for_dags({DAG_ID}, timeout_s=60)
    api.set_paused(DAG_ID, False)
    before = _after_the_next_push(airflow_stack)
    told = len(airflow_stack.slack.messages())
    succeeds_twice_and_refuses_other_partitions(airflow_stack)
    assert any(
        "'webtoon_user_events' has 3, not 5" in str(message["payload"])
        for message in airflow_stack.slack.messages()[told:]
    )
    # processes of tasks push when they end, the scheduler every 15 s
    expected = {
        "success of migrate_database": 3, "success of create_topics": 2, "success of create_hive_tables": 3,
        "failures": 1, "successful runs": 2, "failed runs": 1,
    }  # fmt: skip
    deadline = time.monotonic() + 60
    counted: dict[str, float] = {}
    while counted != expected and time.monotonic() < deadline:
        time.sleep(0.5)
        now = scrape(airflow_stack.context.ports.address("metrics"))
        counted = {name: count - _counts(before)[name] for name, count in _counts(now).items()}
    assert counted == expected
    assert _heartbeats(now) > _heartbeats(before)
    for name, labels in AIRFLOW_SERIES.items():
        found = now.get(name) or now.get(f"{name}_count")
        assert found, f"Airflow sends no {name}: the dashboard would stay empty"
        assert {"job", "instance", *labels} <= found[0][0].keys(), name
        assert {its_labels["job"] for its_labels, _ in found} == {"airflow"}
