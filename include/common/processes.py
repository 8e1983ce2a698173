"""Recognising a process again, by another process, later.

A pid alone comes round again, and a start time in epoch seconds does not stand still on Linux: it is the start since
boot plus a time of boot that every step of the clock moves. So Linux's own count is compared where there is one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

_START_TIME_TOLERANCE_S = 1.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TICKS = 19
"""Place of `starttime` among the fields of /proc/<pid>/stat that follow the program's name (proc_pid_stat(5): 22)."""


@dataclass(frozen=True)
class SinceBoot:
    """When a process started: clock ticks since the boot `boot_id`. No step of the clock moves it. Linux only."""

    boot_id: str
    ticks: int

    @classmethod
    def of(cls, pid: int) -> "SinceBoot | None":
        """Of a living process; None where the system does not tell, or the process has ended."""
        boot_id = _boot_id()
        if boot_id is None:
            return None
        try:
            content = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        # the name stands in brackets, and may hold brackets and spaces
        return cls(boot_id, int(content.rpartition(b")")[2].split()[_START_TICKS]))


@dataclass(frozen=True)
class ProcessIdentity:
    """A pid and when its process started: `started_at` in epoch seconds, by the clock as it was when we looked.

    `since_boot` decides where both sides have it (see the module); records of earlier releases have none.
    """

    pid: int
    started_at: float
    since_boot: SinceBoot | None = None

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity":
        """Identity of a living process (or a zombie); raises psutil.NoSuchProcess."""
        return cls(pid, psutil.Process(pid).create_time(), SinceBoot.of(pid))

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "ProcessIdentity":
        """Inverse of `dataclasses.asdict`."""
        since = content.get("since_boot")
        return cls(
            int(content["pid"]),
            float(content["started_at"]),
            None if since is None else SinceBoot(str(since["boot_id"]), int(since["ticks"])),
        )

    def is_same(self, other: "ProcessIdentity") -> bool:
        """Whether both are one process."""
        if self.pid != other.pid:
            return False
        if self.since_boot is not None and other.since_boot is not None:
            return self.since_boot == other.since_boot
        return abs(self.started_at - other.started_at) < _START_TIME_TOLERANCE_S

    def is_not_after(self, other: "ProcessIdentity") -> bool:
        """Whether `other` started together with this one or later, and since the same boot."""
        mine, its = self.since_boot, other.since_boot
        if mine is not None and its is not None:
            return mine.boot_id == its.boot_id and mine.ticks <= its.ticks
        return self.started_at - _START_TIME_TOLERANCE_S <= other.started_at

    def process(self) -> psutil.Process | None:
        """The process, or None where it has ended (a zombie has, too)."""
        try:
            process = psutil.Process(self.pid)
            same = self.is_same(ProcessIdentity.of(self.pid))
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@cache
def _boot_id() -> str | None:
    try:
        return _BOOT_ID.read_text().strip() or None
    except OSError:
        return None
