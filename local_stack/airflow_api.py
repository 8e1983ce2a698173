"""The little of Airflow's REST API that the stack, the demo and the tests need (the CLI takes 5-9 s a call)."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlencode

from local_stack.errors import StackError

TERMINAL = frozenset({"success", "failed"})


class AirflowApi:
    """A signed-in client of one api-server; tokens last a day and are renewed when refused."""

    def __init__(self, base_url: str, user: str, password: str) -> None:
        self.base_url = base_url.rstrip("/")
        self._credentials = {"username": user, "password": password}
        self._token = ""

    def _send(self, method: str, path: str, body: object | None) -> tuple[int, Any]:
        request = urllib.request.Request(  # noqa: S310 - an http address of ours
            self.base_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                content = answer.read()
                return answer.status, json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            raise StackError(f"Airflow does not answer at {self.base_url}: {error}") from error

    def call(self, method: str, path: str, body: object | None = None, *, accept: Iterable[int] = ()) -> Any:
        """JSON answer of `path` (under /api/v2); raises StackError with the answer where it is an error.

        Statuses in `accept` give None instead of an error.
        """
        for attempt in (1, 2):
            self.token()
            status, answer = self._send(method, f"/api/v2{path}", body)
            if status == 401 and attempt == 1:
                self._token = ""
                continue
            break
        if status in accept:
            return None
        if status >= 400:
            raise StackError(f"Airflow: {method} {path} answered {status}: {str(answer)[:500]}")
        return answer

    def token(self) -> str:
        """The token of this client's user, for what does not lie under /api/v2; raises StackError."""
        if not self._token:
            status, answer = self._send("POST", "/auth/token", self._credentials)
            if status not in (200, 201):
                raise StackError(
                    f"Airflow at {self.base_url} refuses user {self._credentials['username']}: {answer}"
                )
            self._token = answer["access_token"]
        return self._token

    def put_pool(self, name: str, slots: int, description: str) -> None:
        """Make or change pool `name`."""
        body = {"slots": slots, "description": description, "include_deferred": False}
        if self.call("POST", "/pools", {**body, "name": name}, accept=(409,)) is None:
            self.call("PATCH", f"/pools/{quote(name)}", {**body, "pool": name})

    def add_variable(self, key: str, value: str) -> None:
        """Make variable `key` unless it is there: a person may have changed it."""
        self.call("POST", "/variables", {"key": key, "value": value}, accept=(409,))

    def set_variable(self, key: str, value: str) -> None:
        """Change variable `key`, which is there."""
        self.call("PATCH", f"/variables/{quote(key)}", {"key": key, "value": value})

    def dag_ids(self) -> set[str]:
        """Ids of all parsed DAGs."""
        answer = self.call("GET", "/dags?limit=100&exclude_stale=true")
        return {dag["dag_id"] for dag in answer["dags"]}

    def import_errors(self) -> list[dict[str, Any]]:
        """DAG files that do not parse: `filename`, `stack_trace`."""
        return list(self.call("GET", "/importErrors")["import_errors"])

    def set_paused(self, dag_id: str, paused: bool) -> None:
        """Pause or unpause a DAG."""
        self.call("PATCH", f"/dags/{quote(dag_id)}", {"is_paused": paused})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run now; returns its run id."""
        answer = self.call(
            "POST", f"/dags/{quote(dag_id)}/dagRuns", {"logical_date": None, "conf": conf or {}}
        )
        return str(answer["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """One DAG run: `state`, `start_date`, `end_date`, ..."""
        answer: dict[str, Any] = self.call("GET", f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}")
        return answer

    def runs(self, dag_id: str, limit: int = 50) -> list[dict[str, Any]]:
        """The newest runs of a DAG, newest first."""
        query = urlencode({"limit": limit, "order_by": "-run_after"})
        return list(self.call("GET", f"/dags/{quote(dag_id)}/dagRuns?{query}")["dag_runs"])

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State by task id (mapped ones with `[index]`)."""
        path = f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}/taskInstances?limit=500"
        return {
            task["task_id"] + (f"[{task['map_index']}]" if task["map_index"] >= 0 else ""): str(task["state"])
            for task in self.call("GET", path)["task_instances"]
        }

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout_s: float, poll_s: float = 1.0) -> str:
        """Await the end of a run; returns its state. Raises StackError with the task states when too slow."""
        deadline = time.monotonic() + timeout_s
        while (state := str(self.run(dag_id, run_id)["state"])) not in TERMINAL:
            if time.monotonic() > deadline:
                raise StackError(
                    f"{dag_id} {run_id} is {state} after {timeout_s:.0f} s; tasks: {self.task_states(dag_id, run_id)}"
                )
            time.sleep(poll_s)
        return state

    def wait_for_dags(self, dag_ids: set[str], *, timeout_s: float) -> None:
        """Await that all `dag_ids` are parsed; raises StackError with import errors when they are not."""
        deadline = time.monotonic() + timeout_s
        while missing := dag_ids - self.dag_ids():
            if time.monotonic() > deadline:
                errors = [
                    f"{error['filename']}: {error['stack_trace'][-800:]}" for error in self.import_errors()
                ]
                raise StackError(
                    f"DAGs not there after {timeout_s:.0f} s: {sorted(missing)}. " + "\n".join(errors)
                )
            time.sleep(1.0)
