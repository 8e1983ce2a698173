"""Alerts of a task that was ended from outside: the DAG processor calls them, with less than a worker has."""

import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import structlog
from airflow.api_fastapi.execution_api.datamodels.taskinstance import DagRun, TaskInstance, TIRunContext
from airflow.callbacks.callback_requests import TaskCallbackRequest
from airflow.dag_processing.processor import ToManager, _execute_task_callbacks
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.api.datamodels._generated import PreviousTIResponse
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetPreviousTI, GetVariable, PreviousTIResult, VariableResult
from airflow.utils.state import TaskInstanceState
from airflow.utils.types import DagRunType
from pydantic import TypeAdapter

from include.common.names import Dag, Var
from include.orchestration.alerts import restart_callback
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy

NOON = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
TRY = 3
RETRIES = 20
UNKNOWN = "Task started at a time that is not known: <http"


class Supervisor:
    """Answers what Airflow's DAG processor answers to its child; `last_state` is of the runs before."""

    def __init__(self, last_state: str) -> None:
        self._last_state = last_state

    def send(self, msg: Any) -> Any:
        TypeAdapter[Any](ToManager).validate_python(msg.model_dump(mode="json"))
        if isinstance(msg, GetVariable):
            assert msg.key == Var.RUNBOOK_URL
            return VariableResult(key=msg.key, value="https://wiki/runbooks")
        assert isinstance(msg, GetPreviousTI), msg
        if msg.state not in (None, self._last_state):
            return PreviousTIResult(task_instance=None)
        ended = datetime.now(UTC) - timedelta(minutes=1)
        before = PreviousTIResponse(
            task_id=msg.task_id, dag_id=msg.dag_id, run_id="before", logical_date=NOON, start_date=ended,
            end_date=ended, state=self._last_state, try_number=1, map_index=-1, duration=1.0,
        )  # fmt: skip
        return PreviousTIResult(task_instance=before)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Slack is sent."""
    sent: list[str] = []

    def send(self: Any, *, text: str, unfurl_links: bool) -> None:
        sent.append(text)

    monkeypatch.setattr("airflow.providers.slack.hooks.slack_webhook.SlackWebhookHook.send", send)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor("success"), raising=False)
    return sent


def end_from_outside(kind: TaskInstanceState, logical_date: datetime | None) -> None:
    """What the scheduler and the DAG processor do then."""
    with DAG(
        Dag.SESSIONIZE,
        schedule=None,
        start_date=START_DATE,
        **dag_policy(Domain.STREAM, Tier.CRITICAL, deadline_after=None),
    ) as dag:
        BaseOperator(task_id="supervise_stream", retries=RETRIES, on_retry_callback=restart_callback)
    run = DagRun(
        dag_id=Dag.SESSIONIZE, run_id="r", logical_date=logical_date, data_interval_start=logical_date,
        data_interval_end=logical_date, run_after=NOON, start_date=NOON, end_date=None, run_type=DagRunType.SCHEDULED,
        state="running", consumed_asset_events=[], partition_key=None,
    )  # fmt: skip
    ti = TaskInstance(
        id=uuid4(), task_id="supervise_stream", dag_id=Dag.SESSIONIZE, run_id="r", try_number=TRY,
        map_index=-1, dag_version_id=uuid4(),
    )  # fmt: skip
    request = TaskCallbackRequest(
        filepath="stream_sessionize.py", bundle_name="dags", bundle_version=None, ti=ti, msg="no heartbeat",
        task_callback_type=kind, context_from_server=TIRunContext(dag_run=run, max_tries=RETRIES),
    )  # fmt: skip
    read = TaskCallbackRequest.from_json(request.to_json())
    bag: Any = SimpleNamespace(dags={dag.dag_id: dag})
    _execute_task_callbacks(bag, read, structlog.get_logger())


@pytest.mark.parametrize("logical_date", [NOON, None])
def test_a_restart_is_told_whatever_its_number(told: list[str], logical_date: datetime | None) -> None:
    end_from_outside(TaskInstanceState.UP_FOR_RETRY, logical_date)
    (message,) = told
    title, why, restart, started, runbook = message.splitlines()
    assert title == "*stream__sessionize: supervise_stream is being restarted*"
    assert why == "Why: see the task's log"
    assert restart.startswith(
        f"Restart {TRY} of this run, after a time that is not known; in a loop, 1, 2, 4, 8"
    )
    assert started.startswith(UNKNOWN)
    assert runbook.endswith("stream_sessionize.md|stream_sessionize>")


@pytest.mark.parametrize(
    ("logical_date", "since"),
    [(NOON, "Since: no success after "), (None, "Since: not known")],
)
def test_a_failure_is_told(told: list[str], logical_date: datetime | None, since: str) -> None:
    end_from_outside(TaskInstanceState.FAILED, logical_date)
    (message,) = told
    title, why, since_line, tries, owner, started, _ = message.splitlines()
    assert title == "*stream__sessionize: task supervise_stream failed*"
    assert why == "Why: see the task's log"
    assert since_line.startswith(since)
    assert tries == f"Try {TRY} of {RETRIES + 1}"
    assert owner == "Owner: feature-store"
    assert started.startswith(UNKNOWN)


def test_one_that_failed_in_the_run_before_is_known(
    told: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run before is asked for here, too: its failure a minute ago is the hour's message."""
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor("failed"))
    monkeypatch.setattr("include.orchestration.alert_text.REMIND_EVERY", timedelta(days=100_000))
    with caplog.at_level(logging.INFO):
        end_from_outside(TaskInstanceState.FAILED, NOON)
    assert told == []
    assert "and Slack knows: no message" in caplog.text, "it failed, and Airflow has swallowed that"
