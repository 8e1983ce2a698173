"""The trigger of a supervised driver with a small Python process in Spark's place: what it tells, and whom it stops."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from include.orchestration.supervised_spark import driver as driver_module
from include.orchestration.supervised_spark import trigger as trigger_module
from include.orchestration.supervised_spark.driver import Driver
from include.orchestration.supervised_spark.driver_files import DriverRecord, await_condition
from include.orchestration.supervised_spark.trigger import DriverTrigger
from tests.unit.orchestration import driver_programs
from tests.unit.orchestration.driver_programs import BROKEN, DEAF, GOOD, await_heartbeat, start


def watching(driver: Driver, record: DriverRecord, **changes: Any) -> DriverTrigger:
    """A trigger as the triggerer makes it: from its serialized form."""
    made = DriverTrigger(
        driver_name=driver.name,
        token=record.token,
        folder=str(driver.files.root.parent),
        patience=asdict(driver.patience),
        poll_interval_s=0.05,
        **changes,
    )
    path, fields = made.serialize()
    again = import_string(path)(**fields)
    assert isinstance(again, DriverTrigger)
    return again


def told(trigger: DriverTrigger) -> TriggerEvent:
    """Its event; fails if it has none within 20 s."""

    async def first() -> TriggerEvent:
        return await anext(aiter(trigger.run()))

    return asyncio.run(asyncio.wait_for(first(), timeout=20))


def test_asked_to_stop_by_a_file_it_ends_in_good_order_and_the_task_succeeds(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver()
    record = start(driver, GOOD)
    await_heartbeat(driver)
    driver.files.mark_stopping(record.token)
    assert isinstance(told(watching(driver, record)), TaskSuccessEvent)
    ending = driver.files.ending(record.token)
    assert ending is not None
    assert (ending.returncode, ending.asked_to_stop) == (0, True)
    assert "finished the micro-batch" in record.log.read_text()


def test_one_that_fails_is_handed_back(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    record = start(driver, BROKEN)
    assert told(watching(driver, record)).payload == {
        "token": record.token,
        "reason": "it ended with status 1",
    }


def test_one_that_is_killed_with_its_launcher_vanished(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    record = start(driver, GOOD)
    await_heartbeat(driver)
    assert record.driver is not None
    for pid in (record.launcher.pid, record.driver.pid):
        os.kill(pid, signal.SIGKILL)
    assert "it vanished" in told(watching(driver, record)).payload["reason"]


def test_without_its_launcher_it_is_restarted_since_nobody_could_stop_it_from_afar(
    make_driver: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "LAUNCHER_SILENT_S", 1.0)
    driver = make_driver()
    record = start(driver, GOOD)
    await_heartbeat(driver)
    os.kill(record.launcher.pid, signal.SIGKILL)
    assert "its launcher shows no sign of life for" in told(watching(driver, record)).payload["reason"]
    assert driver.running() == record


def test_from_another_machine_it_stops_it_and_sees_it_vanish(
    make_driver: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "LAUNCHER_SILENT_S", 1.0)
    driver = make_driver()
    record = start(driver, GOOD)
    await_heartbeat(driver)
    monkeypatch.setattr(driver_module, "this_host", lambda: "triggerer")
    driver.stop(record, {})
    assert isinstance(told(watching(driver, record)), TaskSuccessEvent)

    monkeypatch.undo()
    monkeypatch.setattr(driver_module, "LAUNCHER_SILENT_S", 1.0)
    again = start(driver, DEAF)
    assert again.driver is not None
    monkeypatch.setattr(driver_module, "this_host", lambda: "triggerer")
    for pid in (again.launcher.pid, again.driver.pid):
        os.kill(pid, signal.SIGKILL)
    assert "its launcher shows no sign of life" in told(watching(driver, again)).payload["reason"]


def test_silence_is_told(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    driver.patience = replace(driver.patience, startup_s=1.0)
    record = start(driver, DEAF)
    assert "no heartbeat within" in told(watching(driver, record)).payload["reason"]


def test_a_machine_that_wakes_up_is_given_a_moment(
    make_driver: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = make_driver()
    record = start(driver, GOOD)
    await_heartbeat(driver)
    ages = iter([3_600.0] * (trigger_module.SILENT_LOOKS - 1))
    real = driver_module.DriverFiles.launcher_age
    monkeypatch.setattr(
        driver_module.DriverFiles,
        "launcher_age",
        lambda files, found, now: next(ages, None) or real(files, found, now),
    )
    trigger = watching(driver, record)
    looks = [trigger._look() for _ in range(2 * trigger_module.SILENT_LOOKS)]
    assert looks == [None] * len(looks)


def test_a_standstill_is_told_and_a_probe_that_cannot_ask_is_no_reason(
    make_driver: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger_module, "PROBE_EVERY_S", 0.0)
    driver = make_driver()
    record = start(driver, GOOD)
    await_heartbeat(driver)
    event = told(watching(driver, record, stalled=f"{driver_programs.__name__}.stuck"))
    assert event.payload["reason"] == "no micro-batch committed"


def test_another_one_in_its_place_is_told(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    record = start(driver, GOOD)
    event = told(watching(driver, replace(record, token="earlier")))
    assert event.payload == {
        "token": "earlier",
        "reason": "another driver named test took this one's place",
    }


@pytest.mark.parametrize(
    ("state", "stopped"), [("failed", True), ("none", True), ("removed", True), ("deferred", False)]
)
def test_who_ends_the_task_stops_the_driver_another_triggerer_does_not(
    make_driver: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch, state: str, stopped: bool
) -> None:
    recorded: list[str] = []
    monkeypatch.setattr(trigger_module, "task_state", lambda *_: state)
    monkeypatch.setattr(trigger_module, "features_dsn", lambda: "postgresql://")
    monkeypatch.setattr(trigger_module, "record_stopped", lambda dsn, name: recorded.append(name))
    driver = make_driver()
    record = start(driver, GOOD)
    await_heartbeat(driver)
    trigger = watching(driver, record)
    trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t")  # type: ignore[assignment]
    asyncio.run(trigger.on_kill())
    assert driver.files.is_stopping(record.token) is stopped
    assert recorded == ["test"] * stopped
    if stopped:
        assert await_condition(lambda: driver.files.ending(record.token) is not None, within_s=20)
    else:
        assert driver.running() == record
