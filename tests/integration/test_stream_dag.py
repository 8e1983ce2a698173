"""DAGs stream__sessionize, stream__watch_progress and stream__send_tick on a whole Airflow: the driver runs while no
task does, outlives the triggerer, is restarted when it dies, counts nothing twice, and stops in good order when a
person wants it to."""

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from include.common.kafka.offsets import watermarks
from include.common.kafka.topics import TopicSpec, create_missing_topics
from include.common.migrate import migrate
from include.common.names import Dag, Topic, Var
from include.orchestration.connections import variable_default
from include.orchestration.stream_checks.faults import CHECKS, FRESHNESS
from include.orchestration.stream_checks.tasks import LOOK_TASK
from tests.integration.batch_support import as_records, event, produce
from tests.integration.conftest import AirflowStack, get_page
from tests.integration.own_rows import assert_own_rows_as_recomputed
from tests.otlp_receiver import scrape

TASK = "supervise_stream"
RUNS = f"/dags/{Dag.SESSIONIZE}/dagRuns"
FRESHNESS_ONLY = {LOOK_TASK: "success"} | dict.fromkeys(CHECKS, "skipped") | {FRESHNESS: "failed"}


class StreamDag:
    """The stream as a service of one Airflow, and events of our own in it."""

    schema = "realtime"

    def __init__(self, stack: AirflowStack) -> None:
        self.stack = stack
        self.api = stack.api
        self.kafka = stack.env["WEBTOON_KAFKA"]
        self.files = Path(stack.env["WEBTOON_DATA_DIR"]) / "drivers" / "sessionize"
        self.sent = 0
        self.mark = uuid.uuid4().hex[:8]
        """In the ids of these events: other tests send to the same topic."""

    def driver(self) -> dict[str, Any]:
        """Who runs, or ran last."""
        content: dict[str, Any] = json.loads((self.files / "driver.json").read_text())
        return content

    def drivers_running(self) -> list[int]:
        """Pids of all processes that run the job's Python."""
        job = "stream_sessionize/job.py"
        found = []
        for process in psutil.process_iter(["cmdline", "name"]):
            words = process.info["cmdline"] or []
            if process.info["name"].startswith("python") and any(word.endswith(job) for word in words):
                found += [process.pid] * any(str(self.files) in word for word in words)
        return found

    def task(self, run_id: str) -> dict[str, Any]:
        """The task instance of a run: `id`, `state`, `try_number`."""
        path = f"{RUNS}/{quote(run_id, safe='')}/taskInstances/{TASK}"
        answer: dict[str, Any] = self.api.call("GET", path)
        return answer

    def run_id(self) -> str:
        """The newest run."""
        return str(self.api.runs(Dag.SESSIONIZE, limit=1)[0]["dag_run_id"])

    def is_watched(self, after_try: int = 0) -> bool:
        """Does a driver run, and a try of the newest run with a greater number watch it?"""
        if not self.api.runs(Dag.SESSIONIZE, limit=1) or len(self.drivers_running()) != 1:
            return False
        task = self.task(self.run_id())
        return task["state"] == "deferred" and task["try_number"] > after_try

    def workers(self, task_id: str) -> list[psutil.Process]:
        """Processes of the task instance; Airflow gives them this title."""
        title = f"airflow worker -- {task_id}"
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if " ".join(process.info["cmdline"] or []).strip() == title
        ]

    def triggerers(self) -> list[psutil.Process]:
        """This Airflow's triggerer: its main process, and the one that runs the triggers."""
        return [
            process
            for process in psutil.process_iter(["cmdline", "environ"])
            if "triggerer" in (process.info["cmdline"] or [])
            and (process.info["environ"] or {}).get("AIRFLOW_HOME") == self.stack.env["AIRFLOW_HOME"]
        ]

    def mark_failed(self, run_id: str) -> None:
        """What a person does in the user interface."""
        self.api.call("PATCH", f"{RUNS}/{quote(run_id, safe='')}", {"state": "failed"})

    def clear(self, run_id: str) -> None:
        """What a person does in the user interface."""
        chosen = {"dag_run_id": run_id, "task_ids": [TASK], "only_failed": False, "dry_run": False}
        self.api.call("POST", f"/dags/{Dag.SESSIONIZE}/clearTaskInstances", chosen)

    def send(self, count: int = 100) -> None:
        """Events of sessions of our own, two a session."""
        now_ms = int(time.time() * 1000)
        events = [
            event(
                number, at_ms=now_ms + number % 2, event_id=f"{self.mark}-{number}",
                session_id=f"{self.mark}-{number // 2}", user_id=f"{self.mark}-u", episode_id=f"{self.mark}-e",
            )
            for number in range(self.sent, self.sent + count)
        ]  # fmt: skip
        produce(self.kafka, Topic.EVENTS, as_records(events))
        self.sent += count

    def await_all(self, limit_s: float = 90) -> None:
        """Until each event sent is counted once, and none twice."""
        wanted = (self.sent // 2, self.sent, self.sent // 2)
        self.await_that(f"{wanted} stored", lambda: self.stored() == wanted, limit_s)

    def await_more_rows(self, limit_s: float = 90) -> None:
        """Send events, and await that the stream has counted all so far."""
        self.send()
        self.await_all(limit_s)

    def assert_every_row_as_recomputed(self) -> None:
        """All rows of our sessions, our reader and our episode are what their records on the topic make."""
        counts = assert_own_rows_as_recomputed(
            self.stack.feature_dsn, self.kafka, self.mark, self.schema
        ).counts
        assert (counts["events"], counts["readings"]) == (self.sent, self.sent // 2)
        assert (counts["users"], counts["episodes"]) == (1, 1)

    def stored(self) -> tuple[int, ...]:
        """Rows and events of our sessions, and readings of our reader, as readers of `schema` see them."""
        with psycopg.connect(self.stack.feature_dsn) as connection:
            query = (
                "SELECT count(*), coalesce(sum(event_count), 0)::int, coalesce((SELECT readings_active + readings_closed"
                f" FROM {self.schema}.user_features WHERE user_id = %s), 0) FROM {self.schema}.session_features"
                " WHERE session_id LIKE %s"
            )
            row = connection.execute(query.encode(), (f"{self.mark}-u", f"{self.mark}-%")).fetchone()
        assert row is not None
        return row

    def told(self, run_id: str) -> list[str]:
        """What Slack was told of a run."""
        texts = [message["payload"]["text"] for message in self.stack.slack.messages()]
        return [text for text in texts if quote(run_id, safe="") in text or run_id in text]

    def await_good_end(self, token: str) -> None:
        """Await the end of the start with `token`, asked for and with status 0."""
        file = self.files / "ended.json"

        def ending() -> dict[str, Any]:
            return json.loads(file.read_text()) if file.exists() else {"token": None}  # type: ignore[no-any-return]

        self.await_that("its end is recorded", lambda: ending()["token"] == token)
        assert (ending()["returncode"], ending()["asked_to_stop"]) == (0, True), self.last_words()

    def control(self) -> tuple[str, int | None]:
        """What ops.stream_control says: desired state, and the driver's pid."""
        with psycopg.connect(self.stack.feature_dsn) as connection:
            query = "SELECT desired_state, driver_pid FROM ops.stream_control WHERE name = 'sessionize'"
            row = connection.execute(query).fetchone()
        assert row is not None
        return row

    def await_that(self, what: str, condition: Callable[[], bool], limit_s: float = 90) -> None:
        """Wait until `condition` holds."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"not in {limit_s} s: {what}; {self.last_words()}"
            time.sleep(0.3)

    def last_words(self) -> str:
        """End of the driver's newest log."""
        logs = sorted((self.files / "logs").glob("*.log")) if self.files.exists() else []
        return logs[-1].read_text()[-3000:] if logs else "no driver has started"


@pytest.fixture(scope="module")
def stream_dag(airflow_stack: AirflowStack) -> Iterator[StreamDag]:
    migrate(airflow_stack.feature_dsn)
    dag = StreamDag(airflow_stack)
    admin = AdminClient({"bootstrap.servers": dag.kafka})
    create_missing_topics(admin, [TopicSpec(Topic.EVENTS, 3, 1), TopicSpec(Topic.STREAM_CONTROL, 1, 1)])
    dag.api.wait_for_dags({Dag.SESSIONIZE, Dag.WATCH_PROGRESS, Dag.SEND_TICK}, timeout_s=60)
    yield dag
    dag.api.set_paused(Dag.SESSIONIZE, True)
    if dag.drivers_running():
        dag.mark_failed(dag.run_id())
        dag.await_that("the driver has ended", lambda: not dag.drivers_running(), 120)


@pytest.fixture
def stream(stream_dag: StreamDag) -> StreamDag:
    """It runs, and a task watches it."""
    stream_dag.api.set_paused(Dag.SESSIONIZE, False)
    stream_dag.await_that("it runs", stream_dag.is_watched)
    return stream_dag


def test_while_it_runs_no_task_does(stream: StreamDag) -> None:
    def watch() -> tuple[str, ...]:
        task = stream.task(stream.run_id())
        assert stream.workers(task["id"]) == []
        return tuple(str(task[name]) for name in ("id", "state", "start_date", "trigger"))

    before = watch()
    assert before[1] == "deferred"
    stream.await_more_rows()
    assert watch() == before, "nor did one in between"


def test_its_progress_can_be_read_by_who_may_see_the_dag(stream: StreamDag) -> None:
    stream.await_more_rows()
    run_id = quote(stream.run_id(), safe="")
    links = stream.api.call("GET", f"{RUNS}/{run_id}/taskInstances/{TASK}/links")["extra_links"]
    address = links["Stream progress"]
    assert address == f"{stream.api.base_url}/stream-progress/"
    assert get_page(address) == (401, "")
    token = stream.api.token()

    def shows_the_newest_row() -> bool:
        """A micro-batch may end between the two looks."""
        with psycopg.connect(stream.stack.feature_dsn) as connection:
            row = connection.execute(
                "SELECT batch_id, low_clock_at, high_clock_at FROM ops.stream_progress"
                " JOIN ops.stream_generations USING (generation) WHERE status = 'current' ORDER BY batch_id DESC"
            ).fetchone()
        status, page = get_page(address, token)
        assert status == 200
        assert row is not None
        assert row[1] <= row[2]
        return f"<td>{row[0]}</td>" in page and row[2].strftime("%H:%M:%S") in page

    stream.await_that("the page of the newest micro-batch", shows_the_newest_row)


def test_its_metrics_arrive_where_airflows_do(stream: StreamDag) -> None:
    """The driver inherits OpenTelemetry's variables of the task that starts it."""
    stream.await_more_rows()

    def arrived() -> bool:
        records = scrape(stream.stack.context.ports.address("metrics")).get(
            "webtoon_stream_records_total", []
        )
        return any(labels["job"] == "webtoon-stream" and value > 0 for labels, value in records)

    stream.await_that("its metrics", arrived)


def test_it_outlives_the_triggerer_and_the_next_one_sees_it_die(stream: StreamDag) -> None:
    stream.await_more_rows()
    before, tried = stream.driver(), stream.task(stream.run_id())["try_number"]
    killed = stream.triggerers()
    assert len(killed) == 2
    for process in killed:
        process.kill()
    stream.await_more_rows()
    assert stream.driver() == before
    stream.await_that("the next triggerer", lambda: len(stream.triggerers()) == 2)
    assert stream.is_watched()

    os.kill(before["driver"]["pid"], signal.SIGKILL)
    stream.await_that("the next try", lambda: stream.is_watched(after_try=tried), 150)
    stream.await_more_rows()
    after = stream.driver()
    assert after["token"] != before["token"]
    assert stream.control() == ("running", after["driver"]["pid"])
    stream.await_that("its message", lambda: bool(stream.told(stream.run_id())))
    title, *lines = stream.told(stream.run_id())[-1].splitlines()
    assert title == "*stream__sessionize: supervise_stream is being restarted*"
    assert f"Restart {tried} of this run, after " in lines[1], lines
    stream.assert_every_row_as_recomputed()


def test_marked_failed_it_stops_in_good_order_and_the_next_run_starts_it_again(stream: StreamDag) -> None:
    before, run_id = stream.driver()["token"], stream.run_id()
    # paused: the next run would stop the driver that it finds, too, and hide a trigger that does not
    stream.api.set_paused(Dag.SESSIONIZE, True)
    stream.mark_failed(run_id)
    stream.await_good_end(before)
    assert stream.task(run_id)["state"] == "failed"
    stream.api.set_paused(Dag.SESSIONIZE, False)
    stream.await_that("the next run", lambda: stream.run_id() != run_id and stream.is_watched())
    stream.await_more_rows()


def test_cleared_it_is_stopped_in_good_order_and_started_again(stream: StreamDag) -> None:
    """By its trigger or by the next try, whoever comes first: Airflow 3.3 keeps the trigger of a cleared task until the
    scheduler has taken it up again, so a paused DAG cannot show the one without the other."""
    before, run_id = stream.driver()["token"], stream.run_id()
    tried = stream.task(run_id)["try_number"]
    stream.clear(run_id)
    stream.await_that("a worker starts it", lambda: bool(stream.workers(stream.task(run_id)["id"])))
    stream.await_good_end(before)
    stream.await_that("the next try", lambda: stream.is_watched(after_try=tried))
    stream.await_more_rows()
    assert stream.run_id() == run_id


def test_its_process_is_killed_while_it_restarts_the_driver_and_the_next_try_takes_over(
    stream: StreamDag,
) -> None:
    before, run_id = stream.driver()["token"], stream.run_id()
    tried = stream.task(run_id)["try_number"]
    stream.clear(run_id)
    stream.await_that("a process of the task", lambda: bool(stream.workers(stream.task(run_id)["id"])))
    killed = stream.workers(stream.task(run_id)["id"])
    assert killed, "it had ended before it could be killed"
    for process in killed:
        process.kill()
    stream.await_that("the try after it", lambda: stream.is_watched(after_try=tried + 1), 150)
    assert stream.run_id() == run_id
    assert stream.driver()["token"] != before
    assert len(stream.drivers_running()) == 1
    stream.await_more_rows()
    stream.assert_every_row_as_recomputed()


def test_a_fault_is_told_with_figure_limit_and_section_of_the_runbook(stream: StreamDag) -> None:
    stream.await_more_rows()
    stream.api.set_variable(Var.FRESHNESS_LIMIT_S, "0")
    stream.api.set_paused(Dag.WATCH_PROGRESS, False)
    stream.await_that("a look", lambda: bool(stream.api.runs(Dag.WATCH_PROGRESS)))
    run_id = str(stream.api.runs(Dag.WATCH_PROGRESS)[-1]["dag_run_id"])
    stream.await_that("its end", lambda: stream.api.task_states(Dag.WATCH_PROGRESS, run_id) == FRESHNESS_ONLY)
    stream.api.set_paused(Dag.WATCH_PROGRESS, True)
    stream.api.set_variable(Var.FRESHNESS_LIMIT_S, variable_default(Var.FRESHNESS_LIMIT_S))

    stream.await_that("its message", lambda: bool(stream.told(run_id)))
    (message,) = stream.told(run_id)
    title, why, since, *_, runbook = message.splitlines()
    assert title == "*stream__watch_progress: task check_freshness failed*"
    assert why.startswith("Why: freshness: 99 % of the ")
    assert why.endswith("(allowed 0 s, variable webtoon_freshness_limit_seconds)")
    assert since == "Since: it has not succeeded yet"
    assert "stream_watch_progress.md#check_freshness" in runbook


def test_paused_it_is_stopped_in_good_order_by_the_dag_that_watches_it(stream: StreamDag) -> None:
    stream.api.set_paused(Dag.SESSIONIZE, True)
    # unpausing starts a run at once; from then on there is one a minute
    stream.api.set_paused(Dag.WATCH_PROGRESS, False)
    stream.await_good_end(stream.driver()["token"])
    stream.await_that("its success", lambda: stream.task(stream.run_id())["state"] == "success")
    assert stream.control() == ("stopped", None)
    stream.api.set_paused(Dag.WATCH_PROGRESS, True)


def test_a_tick_reaches_the_control_topic(stream_dag: StreamDag) -> None:
    def ticks() -> int:
        marks = watermarks({"bootstrap.servers": stream_dag.kafka}, Topic.STREAM_CONTROL)
        return sum(high for _, high in marks.values())

    before = ticks()
    stream_dag.api.set_paused(Dag.SEND_TICK, False)
    run_id = stream_dag.api.trigger(Dag.SEND_TICK)
    assert stream_dag.api.wait_for_run(Dag.SEND_TICK, run_id, timeout_s=60) == "success"
    stream_dag.api.set_paused(Dag.SEND_TICK, True)
    assert ticks() > before
