"""Which driver a task of the supervising operator takes, with a small Python process in Spark's place."""

import os
import signal
import sys
import time
from collections.abc import Callable

import pytest

from include.orchestration.supervised_spark.driver import Driver
from include.orchestration.supervised_spark.driver_files import DriverRecord, await_condition
from include.orchestration.supervised_spark.operator import DriverFailedError, SupervisedSparkSubmitOperator
from tests.unit.orchestration.driver_programs import BROKEN, DEAF, GOOD, await_heartbeat


class Task(SupervisedSparkSubmitOperator):
    """One task, of which nothing but the driver is real."""

    program = GOOD

    def _prepare(self, context: object) -> None:
        pass

    def _command(self) -> list[str]:
        return [sys.executable, "-c", self.program, str(self._driver.files.heartbeat)]

    def take(self) -> DriverRecord:
        """The driver that it would defer on."""
        return self._running_driver()


def task(driver: Driver, program: str = GOOD) -> Task:
    """A new try."""
    made = Task(task_id="supervise", driver_name=driver.name, application="a")
    made.program = program
    made._driver = driver
    made._environment = dict(os.environ) | {"WEBTOON_POSTGRES_DSN": "postgresql://127.0.0.1:1/none"}
    return made


def test_a_task_whose_worker_died_before_it_deferred_leaves_its_driver_to_the_next_try(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver()
    started = task(driver).take()
    assert task(driver).take() == started


def test_a_cleared_task_restarts_the_driver_even_where_no_triggerer_stopped_it(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver()
    started = task(driver).take()
    await_heartbeat(driver)
    driver.files.mark_watched(started.token)
    again = task(driver).take()
    assert again.token != started.token
    assert again == driver.running()
    assert "finished the micro-batch" in started.log.read_text()


def test_one_that_is_stopping_is_waited_for(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    started = task(driver).take()
    await_heartbeat(driver)
    driver.files.mark_stopping(started.token)
    assert task(driver).take().token != started.token
    assert "finished the micro-batch" in started.log.read_text()


def test_what_the_trigger_hands_back_is_ended_and_fails_the_task(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    started = task(driver).take()
    await_heartbeat(driver)
    event = {"token": started.token, "reason": "no heartbeat for 121 s"}
    with pytest.raises(DriverFailedError, match=r"driver test: no heartbeat for 121 s\. Its last words:"):
        task(driver).end_driver({}, event)  # type: ignore[arg-type]
    assert driver.running() is None


def test_the_last_words_of_one_that_has_ended_are_in_the_failure(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    started = task(driver, BROKEN).take()
    assert driver.await_end()
    event = {"token": started.token, "reason": "it ended with status 1"}
    with pytest.raises(DriverFailedError, match="stream_sessionize: no broker"):
        task(driver).end_driver({}, event)  # type: ignore[arg-type]


def test_of_a_paused_dag_only_a_driver_that_runs_and_is_not_stopping_is_to_be_stopped(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver(grace_s=60)
    assert driver.to_be_stopped(time.time()) is None
    started = task(driver, DEAF).take()
    assert driver.to_be_stopped(time.time()) == started
    driver.files.mark_stopping(started.token)
    assert driver.to_be_stopped(time.time()) is None, "its launcher sees to it"
    os.kill(started.launcher.pid, signal.SIGKILL)
    assert await_condition(lambda: driver.to_be_stopped(time.time()) == started, within_s=10)
    assert started.driver is not None
    os.kill(started.driver.pid, signal.SIGKILL)
    assert driver.await_end()
    assert driver.to_be_stopped(time.time()) is None
