"""The policy that DAG files spread into `@dag`; tests/dags holds the DAGs to it."""

from datetime import UTC, datetime, timedelta

import pytest
from airflow.sdk import DAG, task

from include.common.names import Dag, Var
from include.orchestration import connections, policy
from include.orchestration.policy import Domain, Tier, dag_policy
from tests.dags.conftest import ids


def test_policy_reaches_every_task() -> None:
    with DAG("ops__try_policy", schedule=None, **dag_policy(Domain.OPS, Tier.LOW, None)) as dag:
        task(task_id="run")(lambda: None)()
    (only,) = dag.tasks
    assert (only.owner, only.retries, only.execution_timeout) == (policy.OWNER, 2, policy.MAX_TASK_TIME)
    assert only.retry_exponential_backoff
    assert only.max_retry_delay == timedelta(minutes=5)
    assert dag.tags == {"ops", "tier-low"}
    assert dag.deadline in (None, [])


def test_a_dag_may_choose_its_retries_and_owner() -> None:
    chosen = dag_policy(Domain.STREAM, Tier.CRITICAL, timedelta(minutes=10), owner="search", retries=0)
    assert (chosen["default_args"]["retries"], chosen["default_args"]["owner"]) == (0, "search")
    assert chosen["deadline"].interval == timedelta(minutes=10)


def test_calls_do_not_share_what_they_return() -> None:
    first = dag_policy(Domain.OPS, Tier.LOW, None)
    first["tags"].append("changed")
    first["default_args"]["retries"] = 9
    second = dag_policy(Domain.OPS, Tier.LOW, None)
    assert (second["tags"], second["default_args"]["retries"]) == (["ops", "tier-low"], 2)


def test_start_date_is_static_and_has_a_zone() -> None:
    start = policy.START_DATE
    assert start == datetime(2026, 1, 1, tzinfo=UTC), "static, not counted from now"


def test_every_dag_has_a_domain_and_every_domain_a_dag() -> None:
    assert {dag_id.split("__")[0] for dag_id in ids(Dag)} == set(Domain)


def test_default_of_a_variable() -> None:
    assert connections.variable_default(Var.STREAM_LAG_LIMIT) == "100000"
    with pytest.raises(KeyError, match="has no default: set it"):
        connections.variable_default(Var.DATA_DIR)
    with pytest.raises(KeyError):
        connections.variable_default("unknown")
