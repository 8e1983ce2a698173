"""Processor time of a process and all that it has started."""

import time

import psutil


class ProcessorTime:
    """What the family of `pid` used since this was made; a child that comes and goes within is counted by its parent."""

    def __init__(self, pid: int) -> None:
        self._parent = psutil.Process(pid)
        self._started = time.monotonic()
        self._used = self._seconds()

    def cores(self) -> float:
        """Mean of cores in use: 0.05 is 5 % of one."""
        return (self._seconds() - self._used) / (time.monotonic() - self._started)

    def _seconds(self) -> float:
        used = 0.0
        for process in (self._parent, *self._parent.children(recursive=True)):
            try:
                used += sum(process.cpu_times()[:4])  # user, system, and both of children that have ended
            except psutil.NoSuchProcess:
                continue
        return used
