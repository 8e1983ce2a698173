"""A DAG of the tests alone: its only task outlasts the run's deadline of 5 seconds."""

from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag

from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id="tests__miss_deadline",
    schedule=None,
    start_date=START_DATE,
    **dag_policy(Domain.OPS, Tier.LOW, deadline_after=timedelta(seconds=5)),
)
def tests_miss_deadline() -> None:
    """Too slow."""
    BashOperator(task_id="run_too_long", bash_command="sleep 120")


tests_miss_deadline()
