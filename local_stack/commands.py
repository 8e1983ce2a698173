"""Run one preparing command of the stack (initdb, kafka format, schema tool) and explain its failure."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_stack.errors import StackError


def run(
    argv: Sequence[str], *, what: str, log: Path, env: Mapping[str, str], cwd: Path, timeout_s: float
) -> None:
    """Run `argv`, its output to `log`; raise StackError (last lines, path of the log) if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        try:
            code = subprocess.run(
                argv,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
                timeout=timeout_s,
                check=False,
            ).returncode
        except FileNotFoundError as error:
            raise StackError(f"{what}: {argv[0]} not found; `make doctor` says what is missing") from error
        except subprocess.TimeoutExpired as error:
            raise StackError(f"{what} took longer than {timeout_s:.0f} s:\n{tail(log)}") from error
    if code != 0:
        raise StackError(f"{what} failed with exit status {code}:\n{tail(log)}")


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of `log`, indented, and where to read the rest."""
    if not log.exists():
        return f"    (no log yet: {log})"
    text = log.read_text(errors="replace").splitlines()[-lines:]
    return "\n".join([*(f"    {line}" for line in text), f"  whole log: {log}"])
