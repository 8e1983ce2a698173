"""What Airflow says of the task that watches a driver."""

REMOVED = "removed"
"""Of a task whose run was deleted, too."""


def task_state(dag_id: str, run_id: str, task_id: str) -> str:
    """State of a task instance, `none` for one that was cleared and waits for the scheduler; from a task or a
    trigger (there: in a thread). Raises AirflowRuntimeError.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, task_ids=[task_id], run_ids=[run_id])
    state = states.get(run_id, {}).get(task_id, REMOVED)
    return "none" if state is None else str(state)
