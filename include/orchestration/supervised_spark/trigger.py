"""The trigger that watches a supervised driver while its task is deferred: no worker slot, no process of its own.

It may run on another machine than the driver (in Docker the triggerer is a container of its own): it judges by the
driver's files and the database, asks the driver to stop by a file, and hands back to the task what needs the
driver's processes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from include.common.kafka.offsets import KafkaUnreachableError
from include.common.postgres import PostgresUnreachableError
from include.orchestration.job_environment import PROJECT_ROOT, features_dsn
from include.orchestration.supervised_spark.control_row import record_stopped
from include.orchestration.supervised_spark.driver import (
    START_WITHIN_S,
    VANISHED,
    Driver,
    Patience,
    environment,
)
from include.orchestration.supervised_spark.driver_files import DriverFiles, DriverRecord
from include.orchestration.supervised_spark.driver_log import LogFollower, RepeatFilter
from include.orchestration.supervised_spark.task_state import task_state

PROBE_EVERY_S = 60.0
SILENT_LOOKS = 5
"""Silence must last for so many: when a machine wakes up, everything has been silent for as long as it slept."""
DEFERRED = "deferred"
_CANNOT_ASK = (PostgresUnreachableError, psycopg.Error, AirflowException, AirflowRuntimeError)
"""Airflow's are of a connection that is missing, or of an Airflow that does not answer."""


class DriverTrigger(BaseTrigger):
    """Watches the start with `token` of driver `driver_name` until it ends or must be restarted.

    `folder` is that of DriverFiles, `patience` the fields of Patience, `stalled` the dotted path of a function that
    makes a probe: asked once a minute, it says why the driver gets nowhere, or None. Ends the task with success where
    the driver ended with status 0 or was asked to stop; else fires `{"token": ..., "reason": ...}`.

    A person who clears the task, marks it or deletes its run has the driver stopped (`on_kill`). A triggerer that
    stops, dies or is replaced has not: the next one goes on watching.
    """

    def __init__(
        self,
        *,
        driver_name: str,
        token: str,
        folder: str,
        patience: Mapping[str, float],
        stalled: str | None = None,
        poll_interval_s: float = 1.0,
    ) -> None:
        super().__init__()
        self.driver_name = driver_name
        self.token = token
        self.folder = folder
        self.patience = dict(patience)
        self.stalled = stalled
        self.poll_interval_s = poll_interval_s
        self._probe_at = 0.0
        self._silent_looks = 0
        self._follower: LogFollower | None = None
        self._worth_a_look = RepeatFilter()

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """See BaseTrigger."""
        fields = ("driver_name", "token", "folder", "patience", "stalled", "poll_interval_s")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in fields}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to tell."""
        while (event := await asyncio.to_thread(self._look)) is None:
            await asyncio.sleep(self.poll_interval_s)
        yield event

    async def on_kill(self) -> None:
        """Stop the driver if a person ended the task.

        Airflow also calls this on a triggerer that was slow and lost its triggers to another: the task is deferred
        then as before. What is missed here (no triggerer ran just then), the next run of the task or
        stream__watch_progress makes up for.
        """
        await asyncio.to_thread(self._stop)

    # --- parts, each in a thread: files, and what the probe asks, block

    @cached_property
    def _driver(self) -> Driver:
        return Driver(
            DriverFiles(Path(self.folder), self.driver_name), PROJECT_ROOT, Patience(**self.patience)
        )

    @cached_property
    def _probe(self) -> Callable[[], str | None]:
        return (lambda: None) if self.stalled is None else import_string(self.stalled)()

    def _look(self) -> TriggerEvent | None:
        files = self._driver.files
        try:
            record = files.record()
            if record is None or record.token != self.token:
                return self._event(f"another driver named {self.driver_name} took this one's place")
            self._show(record)
            ending = files.ending(self.token)
            if ending is None:
                reason = self._why_restart(record)
                return None if reason is None else self._event(reason)
            self._show(record)
        except OSError as error:  # a network file system may be away for a moment
            self.log.warning("cannot read the files of driver %s: %s", self.driver_name, error)
            return None
        wrong = self._driver.ending(record)
        if wrong is not None and not ending.asked_to_stop:
            return self._event(wrong)
        asked = "asked to stop, " if ending.asked_to_stop else ""
        self.log.info("driver %s: %s%s", self.driver_name, asked, wrong or "it ended with status 0")
        return TaskSuccessEvent()

    def _why_restart(self, record: DriverRecord) -> str | None:
        now = time.time()
        is_stopping = self._driver.files.is_stopping(self.token)
        reason = self._driver.lost(record, now) or (
            None if is_stopping else self._driver.silence(record, now)
        )
        if reason == VANISHED:
            return reason
        self._silent_looks = 0 if reason is None else self._silent_looks + 1
        if reason is not None:
            return reason if self._silent_looks >= SILENT_LOOKS else None
        return None if is_stopping else self._why_stalled()

    def _why_stalled(self) -> str | None:
        """What the probe says; a store that cannot be asked is no reason to restart the driver."""
        now = time.monotonic()
        if now < self._probe_at:
            return None
        self._probe_at = now + PROBE_EVERY_S
        try:
            return self._probe()
        except (*_CANNOT_ASK, KafkaUnreachableError) as error:
            self.log.warning("cannot tell whether driver %s gets on: %s", self.driver_name, error)
            return None

    def _show(self, record: DriverRecord) -> None:
        if self._follower is None:
            # a triggerer that takes over does not repeat what the one before has shown
            from_end = time.time() - record.started_at > START_WITHIN_S
            self._follower = LogFollower(record.log, from_end=from_end)
            self.log.info("watching driver %s; its log: %s", self.driver_name, record.log)
        for line in self._worth_a_look(self._follower.read()):
            self.log.info("driver: %s", line)

    def _event(self, reason: str) -> TriggerEvent:
        return TriggerEvent({"token": self.token, "reason": reason})

    def _stop(self) -> None:
        record = self._driver.files.record()
        if record is None or record.token != self.token or self._driver.files.ending(self.token) is not None:
            return
        ti = self.task_instance
        if ti is None:
            return
        try:
            state = task_state(ti.dag_id, ti.run_id, ti.task_id)
        except AirflowRuntimeError as error:
            self.log.warning("Airflow does not say whether %s is still wanted: %s", self.driver_name, error)
            return
        if state == DEFERRED:
            self.log.info("another triggerer watches driver %s from now on", self.driver_name)
            return
        self.log.info("stopping driver %s: its task is %s", self.driver_name, state)
        self._driver.stop(record, environment())
        try:
            record_stopped(features_dsn(), self.driver_name)
        except _CANNOT_ASK as error:
            self.log.warning("ops.stream_control does not know of the stop: %s", error)
