"""DAGs stream__sessionize and stream__send_tick on a whole Airflow: the driver outlives its task, is restarted when it
dies, counts nothing twice, and stops in good order when its run is marked failed."""

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

from include.common.kafka_offsets import watermarks
from include.common.kafka_topics import TopicSpec, create_missing_topics
from include.common.migrate import migrate
from include.common.names import Dag, Topic
from tests.integration.batch_support import as_records, event, produce
from tests.integration.conftest import AirflowStack

TASK = "supervise_stream"
MARK = uuid.uuid4().hex[:8]
"""In the ids of this file's events: other tests send to the same topic."""


class StreamDag:
    """The stream as a service of one Airflow."""

    def __init__(self, stack: AirflowStack) -> None:
        self.stack = stack
        self.api = stack.api
        self.kafka = stack.env["WEBTOON_KAFKA"]
        self.files = Path(stack.env["WEBTOON_DATA_DIR"]) / "drivers" / "sessionize"

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

    def task(self) -> dict[str, Any]:
        """The newest task instance: `id`, `state`, `try_number`."""
        run_id = quote(self.run_id(), safe="")
        path = f"/dags/{Dag.SESSIONIZE}/dagRuns/{run_id}/taskInstances/{TASK}"
        answer: dict[str, Any] = self.api.call("GET", path)
        return answer

    def run_id(self) -> str:
        """The newest run."""
        return str(self.api.runs(Dag.SESSIONIZE, limit=1)[0]["dag_run_id"])

    def send(self, first: int, count: int) -> None:
        """Events of sessions of our own, two a session."""
        now_ms = int(time.time() * 1000)
        events = [
            event(
                number, at_ms=now_ms + number % 2, event_id=f"{MARK}-{number}", session_id=f"{MARK}-{number // 2}",
                user_id=f"{MARK}-u", episode_id="ep1",
            )
            for number in range(first, first + count)
        ]  # fmt: skip
        produce(self.kafka, Topic.EVENTS, as_records(events))

    def stored(self) -> tuple[int, int]:
        """Rows and events of our sessions, as the stream has committed them."""
        with psycopg.connect(self.stack.feature_dsn) as connection:
            row = connection.execute(
                "SELECT count(*), coalesce(sum(event_count), 0)::int FROM realtime.session_features"
                " WHERE session_id LIKE %s",
                (f"{MARK}-%",),
            ).fetchone()
        assert row is not None
        return row[0], row[1]

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
    dag.api.wait_for_dags({Dag.SESSIONIZE, Dag.SEND_TICK}, timeout_s=60)
    dag.api.set_paused(Dag.SESSIONIZE, False)
    yield dag
    dag.api.set_paused(Dag.SESSIONIZE, True)
    path = f"/dags/{Dag.SESSIONIZE}/dagRuns/{quote(dag.run_id(), safe='')}"
    dag.api.call("PATCH", path, {"state": "failed"}, accept=(404, 409))
    dag.await_that("the driver has ended", lambda: not dag.drivers_running(), 120)


@pytest.mark.timeout(600)
def test_it_runs_survives_and_stops(stream_dag: StreamDag) -> None:
    stream_dag.send(0, 200)
    stream_dag.await_that("rows of the first events", lambda: stream_dag.stored() == (100, 200))
    first = stream_dag.driver()
    assert len(stream_dag.drivers_running()) == 1

    # the task's process dies: the driver goes on, the next try finds it
    task = stream_dag.task()
    mine = [
        process
        for process in psutil.process_iter(["cmdline"])
        if " ".join(process.info["cmdline"] or []).strip() == f"airflow worker -- {task['id']}"
    ]
    assert len(mine) == 1
    mine[0].send_signal(signal.SIGKILL)
    stream_dag.await_that(
        "the next try watches",
        lambda: (
            stream_dag.task()["state"] == "running" and stream_dag.task()["try_number"] > task["try_number"]
        ),
    )
    stream_dag.send(200, 100)
    stream_dag.await_that("rows while nobody or another watches", lambda: stream_dag.stored() == (150, 300))
    assert stream_dag.driver()["token"] == first["token"]
    assert len(stream_dag.drivers_running()) == 1

    # the driver dies: it is restarted and goes on where the ledger stands
    os.kill(first["driver"]["pid"], signal.SIGKILL)
    stream_dag.send(300, 100)
    stream_dag.await_that("rows of a restarted driver", lambda: stream_dag.stored() == (200, 400), 150)
    second = stream_dag.driver()
    assert second["token"] != first["token"]
    assert len(stream_dag.drivers_running()) == 1
    with psycopg.connect(stream_dag.stack.feature_dsn) as connection:
        control = connection.execute(
            "SELECT desired_state, driver_pid, restarts FROM ops.stream_control WHERE name = 'sessionize'"
        ).fetchone()
        folded = connection.execute(
            "SELECT readings_active + readings_closed FROM realtime.user_features WHERE user_id = %s",
            (f"{MARK}-u",),
        ).fetchone()
    assert control is not None
    assert control[:2] == ("running", second["driver"]["pid"])
    assert control[2] >= 1
    assert folded == (200,)

    # marked failed: it finishes its micro-batch
    stream_dag.api.set_paused(Dag.SESSIONIZE, True)
    path = f"/dags/{Dag.SESSIONIZE}/dagRuns/{quote(stream_dag.run_id(), safe='')}"
    stream_dag.api.call("PATCH", path, {"state": "failed"})
    stream_dag.await_that("the driver has ended", lambda: not stream_dag.drivers_running(), 120)
    ended = stream_dag.files / "ended.json"
    stream_dag.await_that(
        "its end is recorded", lambda: json.loads(ended.read_text())["token"] == second["token"], 20
    )
    ending = json.loads(ended.read_text())
    assert (ending["returncode"], ending["asked_to_stop"]) == (0, True), stream_dag.last_words()


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
