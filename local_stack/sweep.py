"""Find and end processes that a stack left behind: after a kill -9 of its supervisor, or detached drivers.

Three marks, because each alone has a hole: the environment (lost where a process writes its title over
it, as PostgreSQL and Airflow do), the recorded pid and start time of each service, and the process group
that supervisord gave the service (orphans of a killed scheduler).
"""

import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from include.common.processes import ProcessIdentity
from local_stack.launch import MARKER, PID_SUFFIX
from local_stack.paths import PROJECT_ROOT


def recorded(state_dir: Path) -> dict[int, ProcessIdentity]:
    """Every start of a service, by pid."""
    found = {}
    for file in (state_dir / "launch").glob(f"*{PID_SUFFIX}"):
        try:
            record = json.loads(file.read_text())
        except (json.JSONDecodeError, FileNotFoundError):  # killed while it was written
            continue
        identity = ProcessIdentity.read(record)
        found[identity.pid] = identity
    return found


def _is_ours(process: psutil.Process, state_dir: Path, services: dict[int, ProcessIdentity]) -> bool:
    if process.environ().get(MARKER) == str(state_dir):
        return True
    service = services.get(process.pid)
    if service is not None and service.is_same(ProcessIdentity.of(process.pid)):
        return True
    group = os.getpgid(process.pid)
    if group in services and services[group].is_not_after(ProcessIdentity.of(process.pid)):
        # a pid may have come round again: only what works in our folders is ours
        return Path(process.cwd()).is_relative_to(PROJECT_ROOT) or Path(process.cwd()).is_relative_to(
            state_dir
        )
    return False


def leftovers(state_dir: Path, *, keep: Iterable[int] = ()) -> list[psutil.Process]:
    """Processes started by the stack of `state_dir`, except pids `keep`, ourselves and our parents."""
    kept = {*keep, os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    services = recorded(state_dir)
    found = []
    for process in psutil.process_iter():
        if process.pid in kept:
            continue
        try:
            if _is_ours(process, state_dir, services):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def descendants(pid: int) -> set[int]:
    """`pid` and everything below it."""
    try:
        process = psutil.Process(pid)
        return {pid, *(child.pid for child in process.children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def python_drivers(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that run one of our Spark jobs' Python: the ones that know how to stop in good order.

    spark-submit is a JVM that starts the job's Python as its child; a signal to the JVM, or to the Python
    workers, would break the micro-batch at hand.
    """
    found = []
    for process in processes:
        try:
            runs_job = any(
                "include/spark_jobs/" in word and word.endswith(".py") for word in process.cmdline()
            )
            if runs_job and process.name().startswith("python"):
                found.append(process)
        except psutil.Error:
            continue
    return found


def end(processes: list[psutil.Process], *, within_s: float) -> list[str]:
    """Stop `processes`: Spark jobs' Python first and in good order, then the rest; SIGKILL for the deaf.

    PostgreSQL's server gets SIGINT, its fast shutdown. Each of the two waves has `within_s` seconds. Returns
    what was ended.
    """
    names = []
    for process in processes:
        try:
            names.append(f"{process.name()} (pid {process.pid})")
        except psutil.NoSuchProcess:
            continue
    drivers = python_drivers(processes)
    if drivers:
        _signal(drivers)
        psutil.wait_procs(drivers, timeout=within_s)
    rest = [process for process in processes if process.is_running()]
    _signal(rest)
    _, alive = psutil.wait_procs(rest, timeout=within_s)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
    return names


def _signal(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
        except psutil.NoSuchProcess:
            continue
