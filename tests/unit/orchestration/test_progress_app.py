"""The application behind the page: made late, closed to who may not see the DAG, clear where the database is away."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient

from include.common.names import Dag
from include.common.postgres import PostgresUnreachableError
from include.orchestration.pages.lazy_app import LazyApp
from include.orchestration.progress_page import app as page
from include.orchestration.progress_page.history import History

Access = Callable[..., Callable[[], None]]


def allowed(method: str, param_dag_id: str) -> Callable[[], None]:
    """Airflow's check, for somebody who may read this DAG and no other."""

    def check() -> None:
        if (method, param_dag_id) != ("GET", Dag.SESSIONIZE):
            raise HTTPException(403)

    return check


def denied(method: str, param_dag_id: str) -> Callable[[], None]:
    """Airflow's check, for somebody without a session."""

    def check() -> None:
        raise HTTPException(401)

    return check


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[[Access, Any], TestClient]:
    """`client(access, history)`: the page with Airflow's check and the database replaced."""

    def make(access: Access, history: Any) -> TestClient:
        def read(*_: Any) -> Any:
            if isinstance(history, Exception):
                raise history
            return history

        monkeypatch.setattr("airflow.api_fastapi.core_api.security.requires_access_dag", access)
        monkeypatch.setattr(
            "include.orchestration.job_environment.features_dsn", lambda: "postgresql://nowhere"
        )
        monkeypatch.setattr("include.orchestration.progress_page.history.read_history", read)
        return TestClient(page.make_app())

    return make


def test_who_may_see_the_dag_sees_the_page(client: Callable[[Access, Any], TestClient]) -> None:
    answer = client(allowed, History(datetime.now(UTC), None, [], [])).get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "Stream progress" in answer.text


def test_who_may_not_is_told_so_and_the_database_is_not_asked(
    client: Callable[[Access, Any], TestClient],
) -> None:
    answer = client(denied, AssertionError("asked")).get("/")
    assert answer.status_code == 401


def test_a_database_that_is_away_is_said(client: Callable[[Access, Any], TestClient]) -> None:
    answer = client(allowed, PostgresUnreachableError("nobody answers at 127.0.0.1")).get("/")
    assert answer.status_code == 503
    assert answer.text == "The feature database cannot be asked: nobody answers at 127.0.0.1"


def test_the_application_is_made_once_and_at_the_first_request() -> None:
    made: list[str] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def make() -> Any:
        made.append("app")
        return inner

    lazy = LazyApp(make)
    assert made == []
    client = TestClient(lazy)
    assert [client.get("/").status_code for _ in range(2)] == [204, 204]
    assert made == ["app"]
