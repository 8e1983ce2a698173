"""DAG stream__watch_producers on a whole Airflow: a failed check is told once with its reason, then all is well."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from include.common.migrate import migrate
from include.common.names import Dag, Topic, Var
from include.contract.event import Platform
from include.orchestration.connections import variable_default
from include.orchestration.policy import START_DATE
from tests.integration.batch_support import as_records, event, produce
from tests.integration.conftest import AirflowStack

ALL_WELL = dict.fromkeys(
    ("reach_broker", "find_topic", "check_newest_event", "check_platforms", "check_stream_lag"), "success"
)
NOTHING_NEW = ALL_WELL | {"check_newest_event": "failed", "check_platforms": "upstream_failed"}


@dataclass(frozen=True)
class WatchDag:
    """Runs the DAG and reads what Slack was told of a run."""

    stack: AirflowStack

    def end(self, run_id: str) -> tuple[str, dict[str, str]]:
        """State of a run when it has ended, and of its tasks."""
        state = self.stack.api.wait_for_run(Dag.WATCH_PRODUCERS, run_id, timeout_s=120)
        return state, self.stack.api.task_states(Dag.WATCH_PRODUCERS, run_id)

    def run(self) -> tuple[str, str, dict[str, str]]:
        """Id of a new run, its state when it has ended, and those of its tasks.

        Logical dates, which say what was before what, are older than those of the schedule's own runs.
        """
        number = len(self.stack.api.runs(Dag.WATCH_PRODUCERS))
        dated = (START_DATE + timedelta(seconds=number)).isoformat()
        path = f"/dags/{Dag.WATCH_PRODUCERS}/dagRuns"
        run_id = str(self.stack.api.call("POST", path, {"logical_date": dated})["dag_run_id"])
        return run_id, *self.end(run_id)

    def first_scheduled_run(self) -> str:
        """The run that unpausing the DAG makes."""
        return await_value(
            lambda: [
                str(run["dag_run_id"])
                for run in self.stack.api.runs(Dag.WATCH_PRODUCERS)
                if run["run_type"] == "scheduled"
            ]
        )[-1]

    def told(self, run_id: str) -> list[str]:
        """Messages that link to the run."""
        texts = [message["payload"]["text"] for message in self.stack.slack.messages()]
        return [text for text in texts if quote(run_id, safe="") in text or run_id in text]

    def allow_age(self, seconds: str) -> None:
        """How old the newest event may be."""
        self.stack.api.set_variable(Var.NEWEST_EVENT_LIMIT_S, seconds)


def await_value(find: Callable[[], list[str]], timeout_s: float = 60) -> list[str]:
    """What `find` gives once it is not empty."""
    give_up = time.monotonic() + timeout_s
    while not (found := find()):
        assert time.monotonic() < give_up
        time.sleep(0.2)
    return found


@pytest.fixture
def watch(airflow_stack: AirflowStack) -> Iterator[WatchDag]:
    """The DAG, paused; the topic may hold what other tests produced."""
    migrate(airflow_stack.feature_dsn)
    admin = AdminClient({"bootstrap.servers": airflow_stack.env["WEBTOON_KAFKA"]})
    if Topic.EVENTS not in admin.list_topics(timeout=10).topics:
        admin.create_topics([NewTopic(Topic.EVENTS, num_partitions=3)])[Topic.EVENTS].result()
    airflow_stack.api.wait_for_dags({Dag.WATCH_PRODUCERS}, timeout_s=60)
    dag = WatchDag(airflow_stack)
    yield dag
    airflow_stack.api.set_paused(Dag.WATCH_PRODUCERS, True)
    dag.allow_age(variable_default(Var.NEWEST_EVENT_LIMIT_S))


@pytest.mark.timeout(400)
def test_nothing_produced_is_told_once_and_events_of_every_platform_make_it_well(watch: WatchDag) -> None:
    watch.allow_age("0")  # other tests may have produced a moment ago
    watch.stack.api.set_paused(Dag.WATCH_PRODUCERS, False)
    assert watch.end(watch.first_scheduled_run()) == ("failed", NOTHING_NEW)

    first, *outcome = watch.run()
    assert outcome == ["failed", NOTHING_NEW]
    (message,) = await_value(lambda: watch.told(first))
    title, why, since, *_, runbook = message.splitlines()
    assert title == "*stream__watch_producers: task check_newest_event failed*"
    assert why.startswith(
        ("Why: no event on webtoon_user_events since 20", "Why: there is no event on webtoon")
    )
    assert "variable webtoon_newest_event_limit_seconds" in why
    assert since == "Since: it has not succeeded yet"
    assert "stream_watch_producers.md" in runbook

    events: list[Any] = [event(number, platform=platform) for number, platform in enumerate(Platform)]
    produce(watch.stack.env["WEBTOON_KAFKA"], Topic.EVENTS, as_records(events))
    watch.allow_age(variable_default(Var.NEWEST_EVENT_LIMIT_S))
    well, *outcome = watch.run()
    assert outcome == ["success", ALL_WELL]
    assert watch.told(well) == []

    watch.allow_age("0")
    again, *outcome = watch.run()
    assert outcome == ["failed", NOTHING_NEW]
    (message,) = await_value(lambda: watch.told(again))
    assert "Since: no success after 20" in message
    still, *outcome = watch.run()
    assert outcome == ["failed", NOTHING_NEW]
    assert watch.told(still) == []
