"""What a supervised driver leaves on disk, under `<folder>/<name>/`: the way back to it.

`lock` is held (flock) by launcher and JVM as long as either lives, so whoever may take it knows that no driver
runs, whatever was killed and however pids were used again. `driver.json` says who runs, `ended.json` how the
last one ended, `stopping` asks the one that runs to stop, `watched` says that a deferred task watches it;
launcher and driver each touch a file as a sign of life. All but the lock can be read on another machine that
shares the folder. No Airflow import.
"""

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from include.common.processes import ProcessIdentity

KEPT_LOGS = 10


class DriverFilesError(RuntimeError):
    """The folder is unusable; the message says why."""


@dataclass(frozen=True)
class DriverRecord:
    """Who runs. `token` is unique to one start; `driver` is spark-submit's process, None just before it."""

    token: str
    host: str
    launcher: ProcessIdentity
    driver: ProcessIdentity | None
    argv: tuple[str, ...]
    log: Path

    @property
    def started_at(self) -> float:
        """Epoch seconds."""
        return self.launcher.started_at


@dataclass(frozen=True)
class Ending:
    """How the start with `token` ended. `returncode` is negative for a signal."""

    token: str
    returncode: int
    asked_to_stop: bool
    ended_at: float


def _identity(content: Any) -> ProcessIdentity | None:
    return None if content is None else ProcessIdentity.read(content)


class DriverFiles:
    """Files of the driver `name`. Paths are made by `create`."""

    def __init__(self, folder: Path, name: str) -> None:
        if not name or "/" in name or name.startswith("."):
            raise DriverFilesError(f"{name!r} is no name for a driver: letters, digits, - and _ only")
        self.name = name
        self.root = folder / name
        self.lock = self.root / "lock"
        self.heartbeat = self.root / "heartbeat"
        self.logs = self.root / "logs"
        self._record = self.root / "driver.json"
        self.launcher_heartbeat = self.root / "launcher_heartbeat"
        self._ending = self.root / "ended.json"
        self._stopping = self.root / "stopping"
        self._watched = self.root / "watched"

    def create(self) -> None:
        """Make the folders; raises DriverFilesError where that is impossible."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self.lock.touch()
        except OSError as error:
            raise DriverFilesError(
                f"cannot write {self.root}: {error.strerror}. Is variable webtoon_data_dir a local folder that "
                f"the user of Airflow's workers may write?"
            ) from error

    def is_running(self) -> bool:
        """True while launcher or driver lives. Host-local, as the driver is."""
        if not self.lock.exists():
            return False
        with self.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @contextmanager
    def held(self, wait_s: float) -> Iterator[int]:
        """Hold the lock; yields its descriptor, for children to inherit. Raises BlockingIOError after `wait_s`."""
        descriptor = os.open(self.lock, os.O_RDWR)
        try:
            deadline = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # is_running takes it for an instant
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
            yield descriptor
        finally:
            os.close(descriptor)

    def record(self) -> DriverRecord | None:
        """The last start, running or not."""
        content = _read(self._record)
        if content is None:
            return None
        launcher = _identity(content["launcher"])
        if launcher is None:
            raise DriverFilesError(f"{self._record} names no launcher: delete it once no driver runs")
        return DriverRecord(
            content["token"],
            content["host"],
            launcher,
            _identity(content["driver"]),
            tuple(content["argv"]),
            Path(content["log"]),
        )

    def write_record(self, record: DriverRecord) -> None:
        """Replace the record in one step."""
        _write(self._record, {**asdict(record), "log": str(record.log)})

    def ending(self, token: str) -> Ending | None:
        """How the start with `token` ended; None where nobody could write it (kill -9, a lost machine)."""
        content = _read(self._ending)
        return Ending(**content) if content is not None and content["token"] == token else None

    def write_ending(self, ending: Ending) -> None:
        """Replace the ending in one step."""
        _write(self._ending, asdict(ending))

    def is_stopping(self, token: str) -> bool:
        """Was the start with `token` asked to stop?"""
        return (_read(self._stopping) or {}).get("token") == token

    def mark_stopping(self, token: str) -> None:
        """Ask the start with `token` to stop; its launcher looks several times a second."""
        _write(self._stopping, {"token": token})

    def is_watched(self, token: str) -> bool:
        """Was the start with `token` given to a deferred task to watch?"""
        return (_read(self._watched) or {}).get("token") == token

    def mark_watched(self, token: str) -> None:
        """Say that a deferred task watches the start with `token`."""
        _write(self._watched, {"token": token})

    def heartbeat_age(self, record: DriverRecord, now: float) -> float | None:
        """Seconds since the driver's last heartbeat; None before its first."""
        return _age(self.heartbeat, record, now)

    def launcher_age(self, record: DriverRecord, now: float) -> float:
        """Seconds since the launcher's last sign of life, its start among them."""
        age = _age(self.launcher_heartbeat, record, now)
        return now - record.started_at if age is None else age

    def new_log(self) -> Path:
        """Path of a new log file; older ones beyond KEPT_LOGS are deleted."""
        for old in sorted(self.logs.glob("*.log"))[: -KEPT_LOGS + 1 or None]:
            old.unlink(missing_ok=True)
        return self.logs / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}.log"


def this_host() -> str:
    """Name of this machine."""
    return socket.gethostname()


def await_condition(condition: Callable[[], bool], *, within_s: float, every_s: float = 0.1) -> bool:
    """True as soon as `condition` holds, False if it does not within `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def _age(path: Path, record: DriverRecord, now: float) -> float | None:
    try:
        touched_at = path.stat().st_mtime
    except FileNotFoundError:
        return None
    return now - touched_at if touched_at >= record.started_at else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)
