"""Starting, finding, judging and stopping a supervised driver. No Airflow import."""

import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from include.orchestration.supervised_spark.driver_files import (
    DriverFiles,
    DriverRecord,
    await_condition,
    this_host,
)
from include.orchestration.supervised_spark.driver_log import error_lines, last_lines
from include.orchestration.supervised_spark.launcher import LaunchSpec

START_WITHIN_S = 30.0
LAUNCHER_SILENT_S = 30.0
"""The launcher shows a sign of life several times a second."""
VANISHED = "it vanished: killed from outside, or out of memory"
_LAUNCHER = "include.orchestration.supervised_spark.launcher"

log = logging.getLogger(__name__)


class DriverError(RuntimeError):
    """The driver cannot be started or reached; the message says why and the mend."""


@dataclass(frozen=True)
class Patience:
    """Seconds: to stop in good order, without a heartbeat, and before the first heartbeat."""

    grace_s: float = 90.0
    stall_after_s: float = 120.0
    startup_s: float = 180.0


def environment() -> dict[str, str]:
    """Ours without Airflow's: its secrets are not a driver's business."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}


class Driver:
    """The one driver of a name. `root` is the folder that launcher and driver run in (and import from)."""

    def __init__(self, files: DriverFiles, root: Path, patience: Patience) -> None:
        self.files = files
        self.root = root
        self.patience = patience

    @property
    def name(self) -> str:
        """Its name."""
        return self.files.name

    def running(self) -> DriverRecord | None:
        """The record of the driver that runs, None where none does. Raises DriverError for one on another host."""
        record = self.files.record()
        if record is not None and record.host != this_host():
            age = self.files.heartbeat_age(record, time.time())
            if age is not None and age < self.patience.stall_after_s:
                raise DriverError(
                    f"driver {self.name} runs on {record.host} (heartbeat {age:.0f} s ago), this task on "
                    f"{this_host()}: give the task a queue that only one host serves"
                )
        # a record follows its lock by an instant
        await_condition(lambda: self._is_alive() or not self.files.is_running(), within_s=10)
        record = self.files.record()
        if record is None or not self.files.is_running():
            return None
        # a launcher that died at its start leaves a driver that nobody has named, to be stopped as an orphan
        return record if self._is_alive() or record.driver is None else None

    def _is_alive(self) -> bool:
        record = self.files.record()
        return record is not None and any(
            identity is not None and identity.process() is not None
            for identity in (record.launcher, record.driver)
        )

    def await_end(self) -> bool:
        """True once no driver runs; False if it has not ended in the grace that its launcher gives, and some."""
        return await_condition(lambda: not self.files.is_running(), within_s=self.patience.grace_s + 30)

    def launch(self, argv: list[str], env: Mapping[str, str]) -> DriverRecord:
        """Start `argv`, detached; returns once it runs. Raises DriverError."""
        token = uuid.uuid4().hex
        spec = LaunchSpec(
            folder=str(self.files.root.parent),
            name=self.name,
            token=token,
            argv=argv,
            cwd=str(self.root),
            log=str(self.files.new_log()),
            grace_s=self.patience.grace_s,
        )
        path = self.files.root / "spec.json"
        spec.write(path)
        status = self._launcher(["run", str(path)], env)
        record = self.files.record()
        if status != 0 or record is None or record.token != token:
            said = "; ".join(last_lines(self.files.root / "launcher.log", 3))
            raise DriverError(f"driver {self.name} was not started (launcher's exit status {status}): {said}")
        return record

    def stop(self, record: DriverRecord, env: Mapping[str, str]) -> None:
        """Have it stopped in good order, or killed after the grace; does not wait. Works from any machine that
        shares the folder, but for a driver that lost its launcher, which its own machine must stop."""
        log.info("asking driver %s to stop", self.name)
        self.files.mark_stopping(record.token)
        if record.host == this_host() and record.launcher.process() is None:
            log.info("driver %s lost its launcher: another process stops it", self.name)
            self._launcher(["stop", str(self.files.root.parent), self.name, str(self.patience.grace_s)], env)

    def silence(self, record: DriverRecord, now: float) -> str | None:
        """Why it counts as stalled, by its heartbeat; None if it does not."""
        age = self.files.heartbeat_age(record, now)
        if age is None:
            waited = now - record.started_at
            return (
                f"no heartbeat within {waited:.0f} s of its start"
                if waited > self.patience.startup_s
                else None
            )
        return f"no heartbeat for {age:.0f} s" if age > self.patience.stall_after_s else None

    def to_be_stopped(self, now: float) -> DriverRecord | None:
        """The record of one that runs, here or elsewhere, unless it is being stopped already."""
        record = self.files.record()
        if record is None or self.files.ending(record.token) is not None:
            return None
        here = record.host == this_host()
        if not (self.files.is_running() if here else self.lost(record, now) is None):
            return None
        launcher_is_gone = here and record.launcher.process() is None
        return record if launcher_is_gone or not self.files.is_stopping(record.token) else None

    def lost(self, record: DriverRecord, now: float) -> str | None:
        """Why nobody will say how it ended, or could stop it; None while its launcher lives. Reads files only, and
        the lock where the driver is this machine's."""
        if record.host == this_host() and not self.files.is_running() and not self.files.ending(record.token):
            return VANISHED
        age = self.files.launcher_age(record, now)
        return f"its launcher shows no sign of life for {age:.0f} s" if age > LAUNCHER_SILENT_S else None

    def ending(self, record: DriverRecord) -> str | None:
        """What was wrong with how it ended; None for status 0."""
        ending = self.files.ending(record.token)
        if ending is None:
            return VANISHED
        if ending.returncode == 0:
            return None
        how = f"signal {-ending.returncode}" if ending.returncode < 0 else f"status {ending.returncode}"
        return f"it ended with {how}"

    def failure(self, record: DriverRecord, reason: str) -> str:
        """A message for a person: the reason, the driver's last error lines, where the rest is."""
        said = "\n".join(error_lines(record.log)) or "(its log is empty)"
        return f"driver {self.name}: {reason}. Its last words:\n{said}\nAll of them: {record.log}"

    def _launcher(self, arguments: list[str], env: Mapping[str, str]) -> int:
        """Exit status of the launcher's command line; what it leaves running, our death and signals do not reach."""
        with (self.files.root / "launcher.log").open("wb") as output:
            try:
                outcome = subprocess.run(
                    [sys.executable, "-m", _LAUNCHER, *arguments],
                    cwd=self.root, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    start_new_session=True, timeout=START_WITHIN_S, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise DriverError(
                    f"the launcher of driver {self.name} did not answer within {START_WITHIN_S:.0f} s: is the "
                    f"machine overloaded? The next try takes over what it may have started"
                ) from error
        return outcome.returncode
