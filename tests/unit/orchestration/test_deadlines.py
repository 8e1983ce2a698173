"""What a missed deadline says, and to whom it says nothing."""

from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from include.orchestration import deadlines
from include.orchestration.deadlines import deadline_alert, deadline_message

NOW = datetime(2026, 11, 25, 12, 30, tzinfo=UTC)
RUN = {
    "dag_id": "features__model",
    "dag_run_id": "scheduled__2026-11-25T12:00:00+00:00",
    "state": "running",
    "queued_at": "2026-11-25T12:05:00Z",
    "run_after": "2026-11-25T12:00:00Z",
}


def message(**changes: Any) -> str | None:
    return deadline_message(
        {**RUN, **changes}, timedelta(minutes=20), NOW, "http://host:8080", "https://wiki/runbooks/"
    )


def test_message_says_what_since_when_where_and_what_to_do() -> None:
    assert (message() or "").splitlines() == [
        "*features__model: deadline missed*",
        "Since: queued 2026-11-25 12:05:00 UTC (25 min ago); it has 20 min",
        "State: running",
        f"<http://host:8080/dags/features__model/runs/{quote(RUN['dag_run_id'])}|Open the run in Airflow>",
        "Runbook: <https://wiki/runbooks/features_model.md|features_model>",
    ]


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_run_that_has_ended_is_not_told(state: str) -> None:
    assert message(state=state) is None


def test_a_run_that_was_never_queued_is_dated_by_when_it_was_due() -> None:
    assert "Since: queued 2026-11-25 12:00:00 UTC (30 min ago)" in (message(queued_at=None) or "")
    assert "Since: queued -; it has 20 min" in (message(queued_at=None, run_after=None) or "")


def test_the_triggerer_finds_the_callback(project_root: Path) -> None:
    """Airflow puts plugins/ on the import path; a callback of a DAG file would fail silently."""
    module, function = deadlines.CALLBACK.rsplit(".", 1)
    spec = spec_from_file_location(module, project_root / "plugins" / f"{module}.py")
    assert spec is not None
    assert spec.loader is not None
    plugin = module_from_spec(spec)
    spec.loader.exec_module(plugin)
    assert getattr(plugin, function) is deadlines.tell_missed_deadline


def test_the_alert_tells_the_callback_how_long_a_run_has() -> None:
    alert = deadline_alert(timedelta(minutes=20))
    assert alert.interval == timedelta(minutes=20)
    assert alert.callback.kwargs == {"allowed_s": 1200.0}


def test_a_miss_that_cannot_be_recorded_is_logged_and_told_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    monkeypatch.setattr("include.orchestration.job_environment.features_dsn", lambda: nowhere)
    deadlines.record_miss(RUN, 1200.0)
    assert "the missed deadline of features__model was not recorded" in caplog.text
