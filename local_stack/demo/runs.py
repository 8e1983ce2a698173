"""DAG runs, started and awaited."""

import time
from collections import Counter
from typing import Any

from local_stack.airflow_api import TERMINAL, AirflowApi
from local_stack.demo.clock import Clock
from local_stack.errors import StackError

_OWN_RUN_WITHIN_S = 15.0


class Runs:
    """Starts runs and stays with them; says what a run is at."""

    def __init__(self, api: AirflowApi, clock: Clock) -> None:
        self.api = api
        self.clock = clock

    def unpause(self, *dag_ids: str) -> None:
        """Let the scheduler have these DAGs."""
        for dag_id in dag_ids:
            self.api.set_paused(dag_id, False)

    def start(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Unpause and trigger; returns the run's id.

        A scheduled DAG that was paused begins a run as soon as it is unpaused: that one is taken then.
        """
        dag = self.api.call("GET", f"/dags/{dag_id}")
        self.unpause(dag_id)
        if conf is None and dag["is_paused"] and dag["timetable_summary"]:
            deadline = time.monotonic() + _OWN_RUN_WITHIN_S
            while time.monotonic() < deadline:
                begun = [
                    run for run in self.api.runs(dag_id, limit=3) if run["state"] in ("queued", "running")
                ]
                if begun:
                    return str(begun[0]["dag_run_id"])
                time.sleep(0.5)
        return self.api.trigger(dag_id, conf)

    def follow(self, dag_id: str, run_id: str, *, limit_s: float) -> str:
        """Wait for the end of a run; returns its state."""

        def state() -> str:
            return str(self.api.run(dag_id, run_id)["state"])

        self.clock.wait(
            f"{dag_id}",
            lambda: state() in TERMINAL,
            limit_s=limit_s,
            detail=lambda: self._progress(dag_id, run_id),
        )
        ended = state()
        self.clock.say(f"  {dag_id}: {ended} ({self._progress(dag_id, run_id)})")
        return ended

    def complete(self, dag_id: str, conf: dict[str, Any] | None = None, *, limit_s: float) -> str:
        """Trigger a run that must succeed; returns its id. Raises StackError with the failed tasks."""
        run_id = self.start(dag_id, conf)
        if self.follow(dag_id, run_id, limit_s=limit_s) != "success":
            states = self.api.task_states(dag_id, run_id)
            failed = ", ".join(task for task, state in states.items() if state == "failed")
            raise StackError(
                f"{dag_id} failed in {failed or 'no task'}: open {self.api.base_url}/dags/{dag_id}/runs/{run_id}"
            )
        return run_id

    def _progress(self, dag_id: str, run_id: str) -> str:
        if str(self.api.run(dag_id, run_id)["state"]) == "queued":
            return "queued behind the run before it"
        states = self.api.task_states(dag_id, run_id)
        counts = Counter(state if state != "None" else "to come" for state in states.values())
        running = [task for task, state in states.items() if state == "running"]
        said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        return said + (f"; now {', '.join(running[:3])}" if running else "")
