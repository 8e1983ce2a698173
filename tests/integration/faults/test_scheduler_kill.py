"""kill -9 of Airflow's scheduler while the stream runs: the same driver goes on, and the new scheduler can stop it.

It dies in the moment that is worst for the next one: inside the transaction in which it holds the pools' rows.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from include.common.kafka.topics import TopicSpec, create_missing_topics
from include.common.migrate import migrate
from include.common.names import Dag, Topic
from include.orchestration.supervised_spark.driver_files import DriverFiles
from local_stack import stack, sweep
from tests.integration.batch_support import as_records, event, produce
from tests.integration.conftest import AirflowStack
from tests.integration.own_rows import assert_own_rows_as_recomputed

MARK = f"scheduler-{uuid.uuid4().hex[:8]}"
BURST = 200
pytestmark = pytest.mark.timeout(600)


def await_that(what: str, condition: Callable[[], bool], limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not in {limit_s} s: {what}"
        time.sleep(0.3)


def scheduler(airflow: AirflowStack) -> stack.ServiceState:
    (found,) = (it for it in stack.status(airflow.context.paths.root) if it.name == "airflow-scheduler")
    return found


HOLDS_POOLS = """
    SELECT 1 FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE client_port = ANY (%s) AND state = 'idle in transaction'
    AND relation = (SELECT oid FROM pg_class WHERE relname = 'slot_pool') AND mode = 'RowShareLock'
"""


def kill_while_it_holds_the_pools(airflow: AirflowStack, pid: int) -> None:
    """It is stopped again and again until it stands between two statements with the pools' rows locked."""
    process = psutil.Process(pid)
    deadline = time.monotonic() + 120
    try:
        with psycopg.connect(airflow.context.dsn("airflow", "airflow"), autocommit=True) as connection:
            while True:
                process.suspend()
                ports = [it.laddr.port for it in process.net_connections("tcp") if it.raddr]
                if connection.execute(HOLDS_POOLS, (ports,)).fetchone():
                    break
                process.resume()
                assert time.monotonic() < deadline, "the scheduler was never seen with the pools' rows locked"
                time.sleep(random.uniform(0.001, 0.05))
    finally:
        process.kill()  # also where this fails: a suspended one would stop every test that follows


def send(airflow: AirflowStack, first: int) -> None:
    now_ms = int(time.time() * 1000)
    events = [
        event(
            n, at_ms=now_ms + n % 4, event_id=f"{MARK}-{n}", session_id=f"{MARK}-{n // 4}",
            user_id=f"{MARK}-{n // 4 % 7}", episode_id=f"{MARK}-{n // 2 % 5}",
        )
        for n in range(first, first + BURST)
    ]  # fmt: skip
    produce(airflow.context.ports.address("kafka"), Topic.EVENTS, as_records(events))


def counted(airflow: AirflowStack) -> int:
    """Events of ours in the store's rows."""
    with psycopg.connect(airflow.feature_dsn) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(event_count), 0) FROM realtime.session_features WHERE session_id LIKE %s",
            (f"{MARK}%",),
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def driver(airflow_stack: AirflowStack) -> Iterator[DriverFiles]:
    """The driver's files; it runs, and is stopped at the end."""
    migrate(airflow_stack.feature_dsn)
    admin = AdminClient({"bootstrap.servers": airflow_stack.context.ports.address("kafka")})
    create_missing_topics(admin, [TopicSpec(Topic.EVENTS, 3, 1), TopicSpec(Topic.STREAM_CONTROL, 1, 1)])
    airflow_stack.api.wait_for_dags({Dag.SESSIONIZE, Dag.SEND_TICK}, timeout_s=60)
    files = DriverFiles(Path(airflow_stack.env["WEBTOON_DATA_DIR"]) / "drivers", "sessionize")
    airflow_stack.api.set_paused(Dag.SESSIONIZE, False)
    await_that("the driver runs", files.is_running)
    yield files
    airflow_stack.api.set_paused(Dag.SESSIONIZE, True)
    if files.is_running():
        run_id = str(airflow_stack.api.runs(Dag.SESSIONIZE, limit=1)[0]["dag_run_id"])
        path = f"/dags/{Dag.SESSIONIZE}/dagRuns/{quote(run_id, safe='')}"
        airflow_stack.api.call("PATCH", path, {"state": "failed"})
    await_that("the driver has ended", lambda: not files.is_running())


def test_a_killed_scheduler_leaves_the_driver_to_the_next_one(
    airflow_stack: AirflowStack, driver: DriverFiles
) -> None:
    send(airflow_stack, 0)
    await_that("the first events are counted", lambda: counted(airflow_stack) == BURST)
    record, killed = driver.record(), scheduler(airflow_stack)
    assert record is not None
    assert killed.reason is None
    workers = psutil.Process(killed.pid).children()
    kill_while_it_holds_the_pools(airflow_stack, killed.pid)
    send(airflow_stack, BURST)
    await_that("those sent meanwhile are counted", lambda: counted(airflow_stack) == 2 * BURST)

    def works_again() -> bool:
        now = scheduler(airflow_stack)
        return now.pid not in (0, killed.pid) and now.reason is None

    await_that("a new scheduler works", works_again)
    tick = airflow_stack.api.trigger(Dag.SEND_TICK)
    airflow_stack.api.set_paused(Dag.SEND_TICK, False)
    assert airflow_stack.api.wait_for_run(Dag.SEND_TICK, tick, timeout_s=150) == "success"
    airflow_stack.api.set_paused(Dag.SEND_TICK, True)
    # the workers of its LocalExecutor live on, so that a task at hand can end: `make down` must find them
    orphans = {worker.pid for worker in workers if worker.is_running()}
    assert orphans
    assert orphans <= {process.pid for process in sweep.leftovers(airflow_stack.context.paths.root)}
    run_id = str(airflow_stack.api.runs(Dag.SESSIONIZE, limit=1)[0]["dag_run_id"])
    path = f"/dags/{Dag.SESSIONIZE}/dagRuns/{quote(run_id, safe='')}"
    await_that("the run is running", lambda: airflow_stack.api.call("GET", path)["state"] == "running")
    send(airflow_stack, 2 * BURST)
    await_that("the last events are counted", lambda: counted(airflow_stack) == 3 * BURST)
    kafka = airflow_stack.context.ports.address("kafka")
    compared = assert_own_rows_as_recomputed(airflow_stack.feature_dsn, kafka, MARK).counts
    assert (compared["events"], compared["users"], compared["episodes"]) == (3 * BURST, 7, 5)
    assert compared["readings"] > BURST // 2
    after = driver.record()
    assert after is not None
    assert (after.token, after.driver) == (record.token, record.driver), "a second driver was started"
    # stopped through the new scheduler, in good order
    airflow_stack.api.set_paused(Dag.SESSIONIZE, True)
    airflow_stack.api.call("PATCH", path, {"state": "failed"})
    await_that("the driver has ended", lambda: driver.ending(record.token) is not None)
    ending = driver.ending(record.token)
    assert ending is not None
    assert (ending.returncode, ending.asked_to_stop) == (0, True)
