"""The detached process above spark-submit: `python -m include.orchestration.supervised_spark.launcher`.

`run SPEC` holds the driver's lock, starts the command that SPEC (a JSON file) names, and stays with it. Asked to
stop (by file `stopping`, which another machine can write, or by SIGTERM) it sends the driver SIGTERM, and kills the
whole family if that takes longer than the specification's grace; whoever asked may be dead by then. `stop FOLDER
NAME GRACE` does the same for a driver whose launcher was killed. Secrets reach the driver through the environment only.

Both leave the caller's process tree: the command returns as soon as the driver has been started (exit status 0)
or cannot be, and what goes on is a child of init in a session of its own. The session is the family: Spark's
Python daemon leaves its parent's process group, and who loses its parent goes to init, but both stay in it.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType

import psutil

from include.common.processes import ProcessIdentity
from include.orchestration.supervised_spark.driver_files import (
    DriverFiles,
    DriverRecord,
    Ending,
    await_condition,
    this_host,
)

LOCK_WAIT_S = 2.0
ALREADY_RUNNING = 75
"""Exit status: another driver of this name runs."""
CANNOT_START = 127
LOG_LIMIT_BYTES = 256 * 1024 * 1024
"""A log that is larger starts anew: a stream that is always late says so at every micro-batch, for months."""
_POLL_S = 0.2
_KILLED_WITHIN_S = 10.0


@dataclass(frozen=True)
class LaunchSpec:
    """What to start. `folder` and `name` are those of DriverFiles, `grace_s` the time to stop in good order."""

    folder: str
    name: str
    token: str
    argv: list[str]
    cwd: str
    log: str
    grace_s: float

    def write(self, path: Path) -> None:
        """Write the specification; it holds no secret."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "LaunchSpec":
        """Inverse of `write`."""
        return cls(**json.loads(path.read_text()))


class _StopRequest:
    """By file, or by SIGTERM or SIGINT since `listen`."""

    def __init__(self) -> None:
        self.at: float | None = None

    def make(self) -> None:
        """The first one counts."""
        self.at = self.at or time.monotonic()

    def listen(self) -> None:
        def ask(signal_number: int, frame: FrameType | None) -> None:
            self.make()

        signal.signal(signal.SIGTERM, ask)
        signal.signal(signal.SIGINT, ask)


def run(spec: LaunchSpec, started: Callable[[], None]) -> int:
    """Start the driver, call `started`, and stay until it has ended.

    Returns its exit status (128 + signal for a signal), CANNOT_START or ALREADY_RUNNING.
    """
    stop = _StopRequest()
    stop.listen()
    files = DriverFiles(Path(spec.folder), spec.name)
    files.create()
    try:
        with files.held(LOCK_WAIT_S) as lock, Path(spec.log).open("ab") as log:
            return _supervise(spec, files, stop, started, lock, log.fileno())
    except BlockingIOError:
        print(f"launcher: another driver named {spec.name} runs already", file=sys.stderr)
        return ALREADY_RUNNING


def _supervise(
    spec: LaunchSpec, files: DriverFiles, stop: _StopRequest, started: Callable[[], None], lock: int, log: int
) -> int:
    record = DriverRecord(
        spec.token, this_host(), ProcessIdentity.of(os.getpid()), None, tuple(spec.argv), Path(spec.log)
    )
    files.write_record(record)
    try:
        driver = subprocess.Popen(
            spec.argv, cwd=spec.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock,)
        )
    except OSError as error:
        print(f"launcher: cannot start {spec.argv[0]}: {error.strerror}", file=sys.stderr)
        return CANNOT_START
    try:
        files.write_record(replace(record, driver=ProcessIdentity.of(driver.pid)))
        started()
    except BaseException:
        # nobody would know of it: a full disk, say
        _kill_session(os.getpid())
        driver.kill()
        driver.wait()
        raise
    signalled = False
    while (returncode := driver.poll()) is None:
        files.launcher_heartbeat.touch()
        _bound(log)
        if files.is_stopping(spec.token):
            stop.make()
        if stop.at is not None and not signalled:
            files.mark_stopping(spec.token)
            driver.send_signal(signal.SIGTERM)
            signalled = True
        if stop.at is not None and time.monotonic() - stop.at > spec.grace_s:
            _say(log, f"not stopped within {spec.grace_s:.0f} s: killed")
            _kill_session(os.getpid())
            driver.wait()
            continue
        time.sleep(_POLL_S)
    # a JVM that was killed leaves Python processes, which must not meet the next driver
    _kill_session(os.getpid())
    files.write_ending(Ending(spec.token, returncode, stop.at is not None, time.time()))
    return returncode if returncode >= 0 else 128 - returncode


def stop_orphan(files: DriverFiles, grace_s: float) -> int:
    """Stop a driver that lost its launcher: SIGTERM, then SIGKILL of its session; 0 once it is gone."""
    record = files.record()
    if record is None:
        return 0
    if record.driver is None:
        _kill_unrecorded(files, record)
        return 0
    driver = record.driver.process()
    if driver is None:
        return 0
    session = os.getsid(driver.pid)
    files.mark_stopping(record.token)
    driver.terminate()
    _, alive = psutil.wait_procs([driver], timeout=grace_s)
    _kill_session(session)
    files.write_ending(Ending(record.token, -signal.SIGKILL if alive else 0, True, time.time()))
    return 0


def _kill_unrecorded(files: DriverFiles, record: DriverRecord) -> None:
    """Kill a driver whose launcher died before it could say who that is: what is left of the launcher's session."""
    launcher = record.launcher
    if not files.is_running() or launcher.process() is not None or _came_round(launcher):
        return
    _kill_session(launcher.pid, since=launcher)
    if await_condition(lambda: not files.is_running(), within_s=_KILLED_WITHIN_S):
        files.write_ending(Ending(record.token, -signal.SIGKILL, True, time.time()))


def _came_round(leader: ProcessIdentity) -> bool:
    """Whether another process has the leader's pid; nobody gets it while the leader's session has a member."""
    try:
        return not leader.is_same(ProcessIdentity.of(leader.pid))
    except psutil.NoSuchProcess:
        return False


def _kill_session(session: int, since: ProcessIdentity | None = None) -> None:
    """SIGKILL every process of `session` but ourselves; where `since` is given, only what started after it."""
    for pid in psutil.pids():
        try:
            if pid == os.getpid() or os.getsid(pid) != session:
                continue
            if since is None or since.is_not_after(ProcessIdentity.of(pid)):
                os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            continue


def _bound(log: int) -> None:
    """Empty the log once it is too large; driver and launcher append, so both go on at its start."""
    if os.fstat(log).st_size > LOG_LIMIT_BYTES:
        with suppress(OSError):
            os.ftruncate(log, 0)
            _say(log, f"more than {LOG_LIMIT_BYTES} bytes of log: it starts anew, what it held is gone")


def _say(log: int, text: str) -> None:
    """A line in the log, unless the disk is full."""
    with suppress(OSError):
        os.write(log, f"launcher: {text}\n".encode())


def _detached(work: Callable[[Callable[[], None]], int]) -> int:
    """Do `work` in a child that init adopts; 0 as soon as it calls what it is given, its status where it ends before."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        if os.read(reading, 1):
            return 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(reading)
    os.setsid()

    def let_go() -> None:
        try:
            os.write(writing, b"1")
        except BrokenPipeError:  # whoever started us was killed
            return
        finally:
            os.close(writing)

    return work(let_go)


def main(argv: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="launcher", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("run", help="start a driver and stay with it")
    start.add_argument("spec", type=Path)
    stop = commands.add_parser("stop", help="stop a driver that lost its launcher")
    stop.add_argument("folder", type=Path)
    stop.add_argument("name")
    stop.add_argument("grace_s", type=float)
    arguments = parser.parse_args(argv)
    if arguments.command == "run":
        spec = LaunchSpec.read(arguments.spec)
        return _detached(lambda started: run(spec, started))
    files = DriverFiles(arguments.folder, arguments.name)

    def stop_it(let_go: Callable[[], None]) -> int:
        let_go()
        return stop_orphan(files, arguments.grace_s)

    return _detached(stop_it)


if __name__ == "__main__":
    sys.exit(main())
