"""Page "Gate history" as text, who may see it, and the addresses of a gate's buttons."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient

from include.common.names import Dag
from include.common.postgres import PostgresUnreachableError
from include.orchestration.gate_history import links, page
from include.orchestration.gate_history.html import render
from include.orchestration.gate_history.page import GateHistory

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
Access = Callable[..., Callable[[], None]]


def row(**changes: Any) -> dict[str, Any]:
    return {
        "gate": "raw_events", "expectation": "country_drift", "severity": "warning", "checks": 1_234, "failures": 2,
        "without_verdict": 3, "failed_at": NOW, "checked_at": NOW, "not_checked": None,
        "failed_dag_id": Dag.ARCHIVE, "failed_run_id": "scheduled__2026-11-26T12:00:00+00:00",
        "failed_observed": {"observed": {"told": "PSI 0.4 <b>", "counts": {"KR": 1}}, "offsets": ["t[0]@7"]},
        "failed_rows": None, "verdicts": ["ok", "warning", "none"],
    } | changes  # fmt: skip


def test_an_expectation_is_a_row_with_a_mark_a_check() -> None:
    text = render(GateHistory(NOW, None, [row()]), "http://docs/")
    assert "<td>country_drift</td><td>warning</td>" in text
    assert "<td>1,234</td><td>2</td><td>3</td>" in text
    assert text.count("<rect") == 3
    assert "<title>1 of the last 3 failed</title>" in text
    assert 'href="/dags/events__archive/runs/scheduled__2026-11-26T12%3A00%3A00%2B00%3A00"' in text
    assert "PSI 0.4 &lt;b&gt;; offsets: [&#x27;t[0]@7&#x27;]" in text
    assert "KR" not in text, "the histogram is for later checks, not for people"
    assert 'href="http://docs/gx/index.html"' in text


def test_what_never_failed_and_what_has_no_verdict() -> None:
    young = row(failed_at=None, failures=0, not_checked="0 earlier slices, 3 needed", verdicts=["none"])
    text = render(GateHistory(NOW, "raw_events", [young]), "http://docs/")
    assert "<td>-</td><td class=what>0 earlier slices, 3 needed</td>" in text
    assert "<h1>Gate history: raw_events</h1>" in text


def test_gates_have_a_table_each_and_nothing_is_readable() -> None:
    both = GateHistory(NOW, None, [row(), row(gate="session_features")])
    assert render(both, "").count("<table>") == 2
    assert "No gate has checked anything yet" in render(GateHistory(NOW, None, []), "")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None, Any], TestClient]:
    """`client(status that Airflow's check answers or None, history)`: the page without Airflow and database."""

    def make(refused: int | None, history: Any) -> TestClient:
        def access(method: str, param_dag_id: str) -> Callable[[], None]:
            def check() -> None:
                if refused is not None or (method, param_dag_id) != ("GET", Dag.MODEL):
                    raise HTTPException(refused or 403)

            return check

        def read(dsn: str, gate: str | None, now: datetime) -> Any:
            if isinstance(history, Exception):
                raise history
            return GateHistory(now, gate, history)

        monkeypatch.setattr("airflow.api_fastapi.core_api.security.requires_access_dag", access)
        monkeypatch.setattr("include.orchestration.job_environment.features_dsn", lambda: "postgresql://x")
        monkeypatch.setattr("include.orchestration.gate_history.links.docs_url", lambda: "http://docs/")
        monkeypatch.setattr(page, "read_gate_history", read)
        return TestClient(page.make_app())

    return make


def test_who_may_see_the_dag_sees_the_page(client: Callable[[int | None, Any], TestClient]) -> None:
    answer = client(None, [row()]).get("/?gate=raw_events")
    assert answer.status_code == 200
    assert "Gate history: raw_events" in answer.text
    assert "<h1>Gate history</h1>" in client(None, []).get("/?gate=").text


def test_others_are_refused_and_the_database_is_not_asked(
    client: Callable[[int | None, Any], TestClient],
) -> None:
    assert client(401, AssertionError("asked")).get("/").status_code == 401


def test_a_database_that_is_away_is_said(client: Callable[[int | None, Any], TestClient]) -> None:
    answer = client(None, PostgresUnreachableError("nobody answers")).get("/")
    assert (answer.status_code, answer.text) == (
        503, "The feature database cannot be asked: nobody answers",
    )  # fmt: skip


def test_the_button_leads_to_the_one_page_or_to_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "docs_dir", lambda: Path("/docs/gx"))
    one = "file:///docs/gx/validations/raw_events_s1/__none__/20261126T1/a%20b.html"
    assert links.docs_path([one]) == "gx/validations/raw_events_s1/__none__/20261126T1/a%20b.html"
    assert links.docs_path([one, one]) == "gx/index.html"
    monkeypatch.setattr(links, "docs_dir", lambda: None)
    assert links.docs_path([one]) == "gx/index.html"


def test_buttons_address_this_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    key: Any = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    operator: Any = SimpleNamespace(gate="raw events")
    monkeypatch.setenv("AIRFLOW_VAR_WEBTOON_DOCS_URL", "http://docs:18081")
    stored = {links.PAGE_KEY: "gx/index.html"}
    monkeypatch.setattr("airflow.sdk.bases.xcom.BaseXCom.get_value", lambda ti_key, key: stored.get(key))
    assert links.DataDocsLink().get_link(operator, ti_key=key) == "http://docs:18081/gx/index.html"
    assert links.GateHistoryLink().get_link(operator, ti_key=key).endswith("/gate-history/?gate=raw+events")
    stored.clear()
    assert links.DataDocsLink().get_link(operator, ti_key=key) == ""
