"""A preparing command that fails says what it was, and its last words."""

import os
import sys
from pathlib import Path

import pytest

from local_stack.commands import run, tail
from local_stack.errors import StackError


def python(program: str, log: Path, timeout_s: float = 30) -> None:
    argv = (sys.executable, "-c", program)
    run(argv, what="step", log=log, env=dict(os.environ), cwd=log.parent, timeout_s=timeout_s)


def test_output_goes_to_the_log_after_what_is_there(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "step.log"
    for word in ("one", "two"):
        log.parent.mkdir(exist_ok=True)
        python(f"print({word!r})", log)
    assert log.read_text() == "one\ntwo\n"


def test_a_failure_has_status_last_lines_and_log(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    with pytest.raises(StackError) as failed:
        python("print('\\n'.join(map(str, range(100)))); raise SystemExit(7)", log)
    lines = str(failed.value).splitlines()
    assert lines[0] == "step failed with exit status 7:"
    assert lines[1:3] == ["    75", "    76"]
    assert lines[-1] == f"  whole log: {log}"


def test_a_missing_program_names_the_mend(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no-such-program not found; `make doctor`"):
        run(("no-such-program",), what="step", log=tmp_path / "l", env={}, cwd=tmp_path, timeout_s=5)


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="step took longer than 0 s"):
        python("import time; time.sleep(60)", tmp_path / "step.log", timeout_s=0.3)


def test_no_log_yet(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == f"    (no log yet: {tmp_path / 'none'})"
