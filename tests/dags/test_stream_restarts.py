"""How the stream's task is restarted: soon, then more and more rarely, and each time its alert is asked."""

from datetime import timedelta

from airflow.dag_processing.dagbag import DagBag

from include.common.names import Dag
from include.orchestration.alerts import restart_callback


def test_restarts_back_off_from_five_seconds_to_a_minute(dag_bag: DagBag) -> None:
    task = dag_bag.dags[Dag.SESSIONIZE].get_task("supervise_stream")
    assert task.retries is not None
    assert task.retries * timedelta(minutes=1) >= timedelta(hours=3), "a loop is not given up soon"
    assert task.retry_exponential_backoff
    assert (task.retry_delay, task.max_retry_delay) == (timedelta(seconds=5), timedelta(minutes=1))
    callbacks = task.on_retry_callback
    assert callbacks == restart_callback or list(callbacks or ()) == [restart_callback]
