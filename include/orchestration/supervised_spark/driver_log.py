"""A driver's log file: following it, and the lines that say why it failed. No Airflow import."""

import re
from pathlib import Path

from include.orchestration.alert_text import hide_passwords

MAX_LINES_A_READ = 200
TAIL_BYTES = 64 * 1024
_ERROR = re.compile(r"(\bERROR\b|\w(Error|Exception)\b|^[a-z_]+: )")
_NOISE = re.compile(r"^\s+(at |\.\.\. \d+ more)|^\s*$")


class LogFollower:
    """Reads what was appended since the last read, whole lines only."""

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self.path = path
        self._position = path.stat().st_size if from_end and path.exists() else 0

    def read(self) -> list[str]:
        """New lines, passwords hidden; of a flood only the last MAX_LINES_A_READ, after a line that counts the rest."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
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
