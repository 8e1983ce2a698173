"""Processor time, and wake-ups, of a process and all that it has started."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil


class ProcessorTime:
    """What the family of `pid` used since this was made; a child that comes and goes within is counted by its parent."""

    def __init__(self, pid: int) -> None:
        self._parent = psutil.Process(pid)
        self._started = time.monotonic()
        self._used = self._seconds()
        self._switched = self._switches()

    def cores(self) -> float:
        """Mean of cores in use: 0.05 is 5 % of one."""
        return (self._seconds() - self._used) / (time.monotonic() - self._started)

    def wakeups(self) -> float:
        """Voluntary context switches a second, of threads that live: what an idle process does, whatever a machine charges."""
        now = self._switches()
        done = sum(count - self._switched.get(thread, 0) for thread, count in now.items())
        return done / (time.monotonic() - self._started)

    def _family(self) -> Iterator[psutil.Process]:
        yield self._parent
        yield from self._parent.children(recursive=True)

    def _seconds(self) -> float:
        used = 0.0
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                used += sum(process.cpu_times()[:4])  # user, system, and both of children that have ended
        return used

    def _switches(self) -> dict[str, int]:
        """By thread; psutil has those of a process's first thread alone."""
        counts = {}
        for process in self._family():
            for status in Path(f"/proc/{process.pid}/task").glob("*/status"):
                with suppress(OSError):
                    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
                    counts[status.parent.name] = int(fields["voluntary_ctxt_switches"])
        return counts
