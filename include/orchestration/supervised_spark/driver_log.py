"""A driver's log file: following it, and the lines that say why it failed. No Airflow import."""

import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from include.orchestration.alert_text import hide_passwords

MAX_LINES_A_READ = 200
TAIL_BYTES = 64 * 1024
REPEAT_EVERY_S = 600.0
KEPT_SHAPES = 500
_ERROR = re.compile(r"(\bERROR\b|\w(Error|Exception)\b|^[a-z_]+: )")
_NOISE = re.compile(r"^\s+(at |\.\.\. \d+ more)|^\s*$")


class LogFollower:
    """Reads what was appended since the last read, whole lines only; all of a file that has become shorter."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self.path = path
        self._position = path.stat().st_size if from_end and path.exists() else 0

    def read(self) -> list[str]:
        """New lines, passwords hidden; of a flood only the last MAX_LINES_A_READ, after a line that counts the rest."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._position:
                self._position = 0
            file.seek(self._position)
            content = file.read()
        whole, newline, _ = content.rpartition(b"\n")
        if not newline:
            return []
        self._position += len(whole) + 1
        lines = [hide_passwords(line) for line in whole.decode(errors="replace").splitlines()]
        if len(lines) > MAX_LINES_A_READ:
            hidden = len(lines) - MAX_LINES_A_READ
            return [f"({hidden} lines left out; all are in {self.path})", *lines[-MAX_LINES_A_READ:]]
        return lines


class RepeatFilter:
    """Drops blank lines, and those like one that was let through within REPEAT_EVERY_S: a stream logs for months,
    and Spark says some things at every micro-batch. Lines are alike if they differ in numbers alone."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._shown_at: dict[str, float] = {}
        self._hidden: dict[str, int] = {}

    def __call__(self, lines: Iterable[str]) -> list[str]:
        """What of `lines` is worth a look, with how many like it were dropped since the last one."""
        return [shown for line in lines if line.strip() and (shown := self._shown(line)) is not None]

    def _shown(self, line: str) -> str | None:
        shape, now = re.sub(r"\d+", "#", line), self._now()
        if now - self._shown_at.get(shape, -REPEAT_EVERY_S) < REPEAT_EVERY_S:
            self._hidden[shape] = self._hidden.get(shape, 0) + 1
            return None
        self._shown_at.pop(shape, None)  # the newest come last
        self._shown_at[shape] = now
        if len(self._shown_at) > KEPT_SHAPES:
            oldest = next(iter(self._shown_at))
            del self._shown_at[oldest]
            self._hidden.pop(oldest, None)
        hidden = self._hidden.pop(shape, 0)
        return f"{line} (and {hidden} like it since the last one shown)" if hidden else line


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines, passwords hidden; none where there is no file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return [hide_passwords(line) for line in file.read().decode(errors="replace").splitlines()][-count:]


def error_lines(path: Path, count: int = 5) -> list[str]:
    """The last lines that look like errors (not the frames of a trace); else the last lines of any kind."""
    tail = [line.rstrip() for line in last_lines(path, 400) if not _NOISE.match(line)]
    errors = [line for line in tail if _ERROR.search(line)]
    return (errors or tail)[-count:]
