"""A run that goes on after its deadline is told to Slack, by the triggerer, through the project's own callback."""

import time
from collections.abc import Iterator
from urllib.parse import quote

import psycopg
import pytest

from include.common.migrate import migrate
from local_stack.slack_receiver import as_text
from tests.integration.conftest import AirflowStack

DAG_ID = "tests__miss_deadline"


@pytest.fixture
def migrated(airflow_stack: AirflowStack) -> Iterator[str]:
    """DSN of the feature database; this DAG's misses go when the test ends."""
    migrate(airflow_stack.feature_dsn)
    yield airflow_stack.feature_dsn
    with psycopg.connect(airflow_stack.feature_dsn) as connection:
        connection.execute("DELETE FROM ops.deadline_misses WHERE dag_id = %s", (DAG_ID,))


def test_a_missed_deadline_is_told_with_run_and_runbook_and_kept(
    airflow_stack: AirflowStack, migrated: str
) -> None:
    api = airflow_stack.api
    api.wait_for_dags({DAG_ID}, timeout_s=60)
    api.set_paused(DAG_ID, False)
    run_id = api.trigger(DAG_ID)
    path = f"/dags/{DAG_ID}/dagRuns/{quote(run_id, safe='')}"
    deadline = time.monotonic() + 60
    told: list[str] = []
    while not told and time.monotonic() < deadline:
        texts = (as_text(message["payload"]) for message in airflow_stack.slack.messages())
        told = [text for text in texts if f"{DAG_ID}: deadline missed" in text]
        time.sleep(0.5)
    state = api.run(DAG_ID, run_id)["state"]
    api.call("PATCH", path, {"state": "failed"})
    api.set_paused(DAG_ID, True)
    assert len(told) == 1
    assert state == "running", "the message came while it went on"
    assert "it has 5 s" in told[0]
    assert path.removeprefix("/dags/") in told[0].replace("/runs/", "/dagRuns/")
    assert "tests_miss_deadline" in told[0], "the runbook"
    with psycopg.connect(migrated) as connection:
        kept = connection.execute(
            "SELECT run_id, state, allowed_s, missed_at >= queued_at + interval '5 s'"
            " FROM ops.deadline_misses WHERE dag_id = %s",
            (DAG_ID,),
        ).fetchall()
    assert kept == [(run_id, "running", 5.0, True)]
