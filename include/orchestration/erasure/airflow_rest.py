"""Deleting a DAG run as a person would: through Airflow's REST API, with connection airflow_api.

A task may not open Airflow's database to change it, and the API that tasks have deletes no runs. The role that reads the
database for the search (connection airflow_metadata) can change nothing there.
"""

import json
import urllib.error
import urllib.request
from typing import Any, Final
from urllib.parse import quote

from include.common.names import Conn

_TIMEOUT_S: Final = 30.0


class AirflowRefusedError(RuntimeError):
    """The API does not do as it is asked; the message says the mend."""


class AirflowRest:
    """A signed-in client. `password` alone is taken for a token (Astro: a Deployment API token)."""

    def __init__(self, base_url: str, login: str, password: str) -> None:
        self._base = base_url.rstrip("/")
        self._token = password if password and not login else self._sign_in(login, password)

    def delete_run(self, dag_id: str, run_id: str) -> bool:
        """Delete a run with all that hangs on it; False where it is gone already. Raises AirflowRefusedError."""
        status, answer = self._send(
            "DELETE", f"/api/v2/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}", None
        )
        if status == 409:
            raise AirflowRefusedError(
                f"a run of {dag_id} holds the id and still goes on: let it end, or end it, then clear this task"
            )
        if status not in (204, 404):
            raise AirflowRefusedError(
                f"Airflow answered {status} ({answer[:200]}) when a run of {dag_id} was to be deleted: the user of "
                f"connection {Conn.AIRFLOW_API} must be allowed to"
            )
        return status == 204

    def _sign_in(self, login: str, password: str) -> str:
        """A token; without a password only where everybody is an admin, as `astro dev start` has it."""
        body = {"username": login, "password": password} if login else None
        status, answer = self._send("POST" if body else "GET", "/auth/token", body)
        if status >= 400:
            status, answer = self._send("GET", "/auth/token", None)
        if status >= 400:
            raise AirflowRefusedError(
                f"Airflow at {self._base} refuses connection {Conn.AIRFLOW_API} ({status}): set its login and password"
            )
        return str(json.loads(answer)["access_token"])

    def _send(self, method: str, path: str, body: object | None) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"}
        if getattr(self, "_token", ""):
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, method=method, data=data, headers=headers)  # noqa: S310  ours
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")
        except OSError as error:
            raise AirflowRefusedError(
                f"Airflow does not answer at {self._base} ({error}): is connection {Conn.AIRFLOW_API} right?"
            ) from error


def airflow_rest() -> AirflowRest:
    """By connection airflow_api."""
    from airflow.sdk import BaseHook

    connection: Any = BaseHook.get_connection(Conn.AIRFLOW_API)
    host = (
        connection.host if "://" in connection.host else f"{connection.schema or 'http'}://{connection.host}"
    )
    address = f"{host}:{connection.port}" if connection.port else host
    return AirflowRest(address, connection.login or "", connection.password or "")
