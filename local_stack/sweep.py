"""Find and end processes that a stack left behind: after a kill -9 of its supervisor, or detached drivers."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from local_stack.launch import MARKER


def leftovers(state_dir: Path, *, keep: Iterable[int] = ()) -> list[psutil.Process]:
    """Processes started by the stack of `state_dir`, found by their environment, except pids `keep`."""
    kept = {*keep, os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in kept:
            continue
        try:
            if process.environ().get(MARKER) == str(state_dir):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess, OSError):
            continue
    return found


def descendants(pid: int) -> set[int]:
    """`pid` and everything below it."""
    try:
        process = psutil.Process(pid)
        return {pid, *(child.pid for child in process.children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()


def end(processes: list[psutil.Process], *, within_s: float) -> list[str]:
    """SIGTERM, then SIGKILL after `within_s`; PostgreSQL's server gets its fast shutdown. Names them."""
    names = []
    for process in processes:
        try:
            names.append(f"{process.name()} (pid {process.pid})")
            process.send_signal(signal.SIGINT if process.name() == "postgres" else signal.SIGTERM)
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
    return names
