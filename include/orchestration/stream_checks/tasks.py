"""Tasks of stream__watch_progress. One process looks; only a check that found a fault becomes a task that fails."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include.common.names import Dag, Var
from include.orchestration.job_environment import events_topic, features_dsn, kafka_client_config
from include.orchestration.limits import limit
from include.orchestration.stream_checks.faults import Limits, faults
from include.orchestration.stream_checks.measure import measure
from include.orchestration.supervised_spark.pause import is_paused, stop_driver

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

LOOK_TASK = "find_faults"
FAULTS_KEY = "faults"
DRIVERS = {Dag.SESSIONIZE: "sessionize", Dag.ROLL_OUT: "shadow_sessionize"}
"""Who stops with which DAG."""


class StreamUnhealthyError(AirflowFailException):
    """What a check found."""


def find_faults(**context: Any) -> list[str]:
    """Task ids of the checks that found a fault. A paused stream has none; drivers of paused DAGs are stopped.

    Raises PostgresUnreachableError, KafkaUnreachableError, ValueError for a variable that is no number.
    """
    paused = [dag_id for dag_id in DRIVERS if is_paused(dag_id)]
    for dag_id in paused:
        stop_driver(DRIVERS[dag_id], f"DAG {dag_id} is paused")
    if Dag.SESSIONIZE in paused:
        return []
    limits = Limits(
        timedelta(seconds=limit(Var.STREAM_PROGRESS_LIMIT_S)),
        int(limit(Var.STREAM_LAG_GROWTH_LIMIT)),
        limit(Var.DEAD_LETTER_LIMIT_PERCENT),
        limit(Var.FRESHNESS_LIMIT_S),
    )
    found = measure(features_dsn(), kafka_client_config(), events_topic(), limits.progress)
    log.info("measured: %s", found)
    wrong: Mapping[str, str] = {} if found is None else faults(found, limits)
    for check, text in wrong.items():
        log.warning("%s: %s", check, text)
    context["ti"].xcom_push(FAULTS_KEY, dict(wrong))
    return list(wrong)


class FaultOperator(BaseOperator):
    """Fails with what LOOK_TASK found for this check; is skipped while there is no fault."""

    well_states: Sequence[str] = ("skipped",)
    """For `include.orchestration.alerts`: since when it is not well."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.runbook_section = self.task_id

    def execute(self, context: "Context") -> None:
        """Raises StreamUnhealthyError."""
        found = context["ti"].xcom_pull(task_ids=LOOK_TASK, key=FAULTS_KEY)
        raise StreamUnhealthyError(found[self.task_id])
