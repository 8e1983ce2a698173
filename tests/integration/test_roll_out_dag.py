"""DAG stream__roll_out on a whole Airflow: form, second driver, report, a person's answer by the REST API,
swap under two running drivers, and the way back."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from include.common.kafka.topics import TopicSpec, create_missing_topics
from include.common.migrate import migrate
from include.common.names import Dag, Topic
from include.orchestration.roll_out import tasks
from include.orchestration.roll_out.form import ROLL_BACK
from local_stack.slack_receiver import as_text
from tests.integration.conftest import AirflowStack
from tests.integration.test_stream_dag import StreamDag

SWAP_IN, DROP = "Swap in", "Drop (or leave as it is)"


class RollOuts(StreamDag):
    """The stream as its readers see it, and runs of stream__roll_out."""

    schema = "serving"

    def generation(self, status: str) -> tuple[int, int] | None:
        """Number and gap of the generation with a status."""
        with psycopg.connect(self.stack.feature_dsn) as connection:
            return connection.execute(
                "SELECT generation, (rules #>> '{rules,gap_ms}')::int FROM ops.stream_generations WHERE status = %s",
                (status,),
            ).fetchone()

    def start(self, **form: Any) -> str:
        """A run, up to the question; returns its id."""
        run_id = self.api.trigger(Dag.ROLL_OUT, form)
        self.await_that(
            f"it asks: {form}", lambda: self.states(run_id).get(tasks.DECIDE) == "awaiting_input", 150
        )
        return run_id

    def states(self, run_id: str) -> dict[str, str]:
        """Task -> state; fails at once where the run has."""
        states = self.api.task_states(Dag.ROLL_OUT, run_id)
        assert "failed" not in states.values(), states
        return states

    def question(self, run_id: str) -> str:
        """Where the question stands in the REST API."""
        return f"/dags/{Dag.ROLL_OUT}/dagRuns/{quote(run_id, safe='')}/taskInstances/{tasks.DECIDE}/-1/hitlDetails"

    def answer(self, run_id: str, option: str) -> dict[str, str]:
        """What a person does, who has read the question; returns the states at the run's end.

        Airflow 3.3 loses an answer that comes while the scheduler still has the end of the asking process before it: so
        not before its log has that.
        """
        ended = f"task_id={tasks.DECIDE}, run_id={run_id},"
        log = self.stack.context.paths.logs / "airflow-scheduler.log"

        def is_taken_note_of() -> bool:
            lines = log.read_text(errors="replace").splitlines()
            return any("TaskInstance Finished" in line and ended in line for line in lines)

        def is_answered() -> bool:
            state = self.states(run_id)[tasks.DECIDE]
            if state == "awaiting_input":
                answer = {"chosen_options": [option], "params_input": {}}
                self.api.call("PATCH", self.question(run_id), answer, accept=(409,))
            return state == "success"

        self.await_that("the asking process has ended", is_taken_note_of)
        self.await_that(f"the answer {option} has arrived", is_answered)
        assert self.api.wait_for_run(Dag.ROLL_OUT, run_id, timeout_s=120) == "success"
        return self.api.task_states(Dag.ROLL_OUT, run_id)

    def shadow_has_all(self) -> bool:
        """Has the shadow's driver counted all events sent?"""
        with psycopg.connect(self.stack.feature_dsn) as connection:
            row = connection.execute(
                "SELECT coalesce(sum(event_count), 0)::int FROM realtime_shadow.session_features WHERE session_id LIKE %s",
                (f"{self.mark}-%",),
            ).fetchone()
        return row == (self.sent,)


@pytest.fixture(scope="module")
def rolled(airflow_stack: AirflowStack) -> Iterator[RollOuts]:
    """The stream runs and has counted events of ours."""
    migrate(airflow_stack.feature_dsn)
    dag = RollOuts(airflow_stack)
    admin = AdminClient({"bootstrap.servers": dag.kafka})
    create_missing_topics(admin, [TopicSpec(Topic.EVENTS, 3, 1), TopicSpec(Topic.STREAM_CONTROL, 1, 1)])
    dag.api.wait_for_dags({Dag.SESSIONIZE, Dag.ROLL_OUT}, timeout_s=60)
    dag.api.set_paused(Dag.SESSIONIZE, False)
    dag.api.set_paused(Dag.ROLL_OUT, False)
    dag.send()
    dag.await_all()
    yield dag
    dag.api.set_paused(Dag.ROLL_OUT, True)
    dag.api.set_paused(Dag.SESSIONIZE, True)
    if dag.drivers_running():
        dag.mark_failed(dag.run_id())
        dag.await_that("the driver has ended", lambda: not dag.drivers_running(), 120)


def test_new_rules_are_compared_approved_and_swapped_in_under_two_drivers(rolled: RollOuts) -> None:
    before = rolled.generation("current")
    assert before is not None
    told = len(rolled.stack.slack.messages())

    run_id = rolled.start(gap_s=600)
    shown = rolled.api.call("GET", rolled.question(run_id))
    assert f"- `gap_ms`: {before[1]} -> 600000" in shown["body"]
    assert "| `session_features` |" in shown["body"]
    number = before[0] + 1
    assert rolled.generation("shadow") == (number, 600_000)
    texts = [as_text(message["payload"]) for message in rolled.stack.slack.messages()[told:]]
    assert any(f"generation {number} waits for a decision" in text for text in texts)

    rolled.send()
    rolled.await_all()
    rolled.await_that("both drivers read on while a person thinks", rolled.shadow_has_all)
    states = rolled.answer(run_id, SWAP_IN)
    assert (states[tasks.SWAP], states[tasks.DROP], states[tasks.RUN]) == ("success", "skipped", "success")
    assert (rolled.generation("current"), rolled.generation("retired")) == ((number, 600_000), before)
    rolled.await_that("its next driver is watched", rolled.is_watched)
    rolled.send()
    rolled.await_all()


@pytest.mark.long
def test_a_roll_back_is_answered_and_the_generation_before_catches_up(rolled: RollOuts) -> None:
    """The same swap; generations through the real stream are rolled back in test_roll_out_stream, too."""
    if rolled.generation("retired") is None:
        rolled.answer(rolled.start(), SWAP_IN)
    current, retired = rolled.generation("current"), rolled.generation("retired")

    run_id = rolled.start(action=ROLL_BACK)
    assert "since it was retired" in rolled.api.call("GET", rolled.question(run_id))["body"]
    states = rolled.answer(run_id, SWAP_IN)
    assert (states[tasks.RUN], states[tasks.AWAIT], states[tasks.SWAP]) == ("skipped", "skipped", "success")
    assert (rolled.generation("current"), rolled.generation("retired")) == (retired, current)
    rolled.send()
    rolled.await_all()


@pytest.mark.long
def test_dropped_it_leaves_nothing_but_its_ledger(rolled: RollOuts) -> None:
    before = rolled.generation("current")
    run_id = rolled.start(lateness_s=30)
    shadow = rolled.generation("shadow")
    assert shadow is not None
    states = rolled.answer(run_id, DROP)
    assert (states[tasks.SWAP], states[tasks.DROP], states[tasks.RUN]) == ("skipped", "success", "success")
    assert (rolled.generation("current"), rolled.generation("shadow")) == (before, None)
    data = rolled.files.parents[1]
    assert not (data / "checkpoints" / f"generation={shadow[0]}").exists()
    rolled.send()
    rolled.await_all()
