"""The form of privacy__erase_user on a whole Airflow: what is typed into it stands nowhere but where it is removed."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from include.common.erasure.erasures import digest_of, find_erasure, record_step
from include.common.migrate import migrate
from include.common.names import Conn, Dag
from include.common.postgres import with_database
from include.orchestration.erasure.search import MENDS
from tests.integration.conftest import AirflowStack
from tests.integration.erasure_support import dump_of, files_with, tables_with


class Form:
    """The form, filled in for a reader of this test alone."""

    def __init__(self, stack: AirflowStack) -> None:
        self.stack, self.api = stack, stack.api
        self.reader = f"privacy-form-{uuid.uuid4()}"
        key = json.loads(stack.env[f"AIRFLOW_CONN_{Conn.ERASURE_KEY.upper()}"])["password"]
        self.key = key.encode()
        self.run_id = ""

    def number(self) -> int:
        """The reader's erasure, by the hash."""
        with psycopg.connect(self.stack.feature_dsn) as connection:
            query = "SELECT erasure_id FROM ops.erasures WHERE subject_digest = %s"
            row = connection.execute(query, (digest_of(self.reader, self.key),)).fetchone()
        assert row is not None
        return int(row[0])

    def working_run(self) -> str:
        """Run that the form's run has started."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for run in self.api.runs(Dag.ERASE_USER):
                if run["dag_run_id"].startswith(f"erasure_{self.number()}__"):
                    return str(run["dag_run_id"])
            time.sleep(0.5)
        pytest.fail("no run carries the request on", pytrace=False)

    def await_task(self, run_id: str, task_id: str, *states: str) -> None:
        """Until the task is in one of `states`."""
        deadline = time.monotonic() + 90
        while (state := self.api.task_states(Dag.ERASE_USER, run_id).get(task_id)) not in states:
            assert time.monotonic() < deadline, (task_id, state)
            time.sleep(0.5)

    def steps(self) -> dict[str, int]:
        """What each store removed."""
        return dict(self._of_erasure("SELECT store, removed FROM ops.erasure_steps WHERE erasure_id = %s"))

    def searches(self) -> dict[str, int]:
        """How often each store's search found the reader."""
        return dict(self._of_erasure("SELECT store, found FROM ops.erasure_searches WHERE erasure_id = %s"))

    def _of_erasure(self, query: LiteralString) -> list[tuple[str, int]]:
        with psycopg.connect(self.stack.feature_dsn) as connection:
            return connection.execute(query, (self.number(),)).fetchall()

    def airflow_tables(self) -> set[str]:
        """Tables of Airflow's database that hold the id."""
        return tables_with(dump_of(with_database(self.stack.context.admin_dsn, "airflow")), self.reader)


@pytest.fixture(scope="module")
def form(airflow_stack: AirflowStack) -> Iterator[Form]:
    """Filed by its run, while the stream is paused: what comes after it waits."""
    migrate(airflow_stack.feature_dsn)
    it = Form(airflow_stack)
    it.api.wait_for_dags({Dag.ERASE_USER}, timeout_s=60)
    it.api.set_paused(Dag.SESSIONIZE, True)
    it.api.set_paused(Dag.ERASE_USER, False)
    it.run_id = it.api.trigger(Dag.ERASE_USER, {"user_id": it.reader, "reason": "ticket 4711"})
    assert it.api.wait_for_run(Dag.ERASE_USER, it.run_id, timeout_s=120) == "success"
    yield it
    for dag_id in (Dag.ERASE_USER, Dag.PROVE_ERASURES, Dag.MODEL):
        it.api.set_paused(dag_id, True)
    for run in it.api.runs(Dag.ERASE_USER):
        if run["state"] in ("queued", "running"):
            it.api.call(
                "PATCH",
                f"/dags/{Dag.ERASE_USER}/dagRuns/{run['dag_run_id'].replace('+', '%2B')}",
                {"state": "failed"},
            )
    # with somebody erased, nobody works on these stores without the key
    with psycopg.connect(airflow_stack.feature_dsn) as connection:
        connection.execute("TRUNCATE ops.erasure_searches, ops.erasure_steps, ops.erasures")


def test_the_request_is_filed_and_names_nobody(form: Form) -> None:
    with psycopg.connect(form.stack.feature_dsn) as connection:
        assert find_erasure(connection, form.key, form.number()).user_id == form.reader
    assert tables_with(dump_of(form.stack.feature_dsn), form.reader) == set()
    states = form.api.task_states(Dag.ERASE_USER, form.run_id)
    done = {task for task, state in states.items() if state == "success"}
    assert done == {"file_request", "start_erasure"}


def test_the_id_stands_in_the_form_s_run_and_nowhere_else(form: Form) -> None:
    """Not in the audit log, XComs, rendered fields, logs, lineage or messages."""
    assert form.airflow_tables() == {"public.dag_run"}
    assert files_with(form.stack.context.paths.root, form.reader) == []
    answer = form.api.call("GET", f"/eventLogs?dag_id={Dag.ERASE_USER}&event=trigger_dag_run&limit=100")
    assert [entry for entry in answer["event_logs"] if '"user_id": "***"' in (entry["extra"] or "")]


def test_the_working_run_waits_for_a_paused_stream_and_says_so(form: Form) -> None:
    run_id = form.working_run()
    assert form.api.run(Dag.ERASE_USER, run_id)["conf"]["erasure_id"] == form.number()
    form.await_task(run_id, "await_stream", "up_for_reschedule")
    logs = form.stack.context.paths.airflow_home / "logs" / f"dag_id={Dag.ERASE_USER}" / f"run_id={run_id}"
    said = "".join(path.read_text() for path in logs.rglob("*.log"))
    assert f"{Dag.SESSIONIZE} is paused: unpause it" in said
    assert form.reader not in said


def test_the_working_run_forgets_searches_and_records(form: Form) -> None:
    """All of it but the stream, whose part the test plays."""
    for dag_id in (Dag.MIGRATE_STORE, Dag.MODEL):
        form.api.set_paused(dag_id, False)
    made = form.api.wait_for_run(Dag.MIGRATE_STORE, form.api.trigger(Dag.MIGRATE_STORE), timeout_s=120)
    assert made == "success"
    logs = form.stack.context.paths.airflow_home / "logs" / f"dag_id={Dag.ERASE_USER}"
    assert (logs / f"run_id={form.run_id}").is_dir()
    docs = form.stack.context.paths.docs / "trace" / "of_the_form_test.html"
    docs.parent.mkdir(exist_ok=True)
    docs.write_text(f"<b>{form.reader}</b>")
    with psycopg.connect(form.stack.feature_dsn) as connection:
        record_step(connection, form.number(), "stream", 3)
    run_id = form.working_run()
    state = form.api.wait_for_run(Dag.ERASE_USER, run_id, timeout_s=240)
    assert state == "success", form.api.task_states(Dag.ERASE_USER, run_id)

    assert form.run_id not in [run["dag_run_id"] for run in form.api.runs(Dag.ERASE_USER)]
    assert not (logs / f"run_id={form.run_id}").exists()
    assert form.airflow_tables() == set()
    assert files_with(form.stack.context.paths.root, form.reader) == []
    assert form.steps() == {"stream": 3, "archive": 0, "marts": 0, "features": 0, "airflow": 1, "pages": 1}
    assert form.searches() == dict.fromkeys(MENDS, 0)


def test_what_kafka_does_not_hold_is_proven_and_the_id_forgotten(form: Form) -> None:
    form.api.set_paused(Dag.PROVE_ERASURES, False)
    run_id = form.api.trigger(Dag.PROVE_ERASURES)
    assert form.api.wait_for_run(Dag.PROVE_ERASURES, run_id, timeout_s=120) == "success"
    form.api.set_paused(Dag.PROVE_ERASURES, True)
    with psycopg.connect(form.stack.feature_dsn) as connection:
        assert find_erasure(connection, form.key, form.number()).user_id is None
        query = "SELECT proven_at > erased_at, reason FROM ops.erasures WHERE erasure_id = %s"
        assert connection.execute(query, (form.number(),)).fetchone() == (True, "ticket 4711")


def test_a_form_that_is_refused_is_quoted_nowhere(form: Form) -> None:
    bad = f"{form.reader}\n"
    path = f"/dags/{Dag.ERASE_USER}/dagRuns"
    body = {"logical_date": None, "conf": {"user_id": bad, "reason": "ticket 4711"}}
    assert form.api.call("POST", path, body, accept=(400, 422)) is None
    assert form.airflow_tables() == set()
    assert files_with(form.stack.context.paths.root, form.reader) == []
