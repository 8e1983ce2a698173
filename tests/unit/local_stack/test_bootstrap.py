"""What the package installer is given."""

import sys
from pathlib import Path

import pytest

from local_stack import bootstrap
from local_stack.errors import StackError


def given(tmp_path: Path, name: str) -> str:
    """The value of an environment variable in a process that bootstrap runs."""
    file = tmp_path / "value"
    program = f"import os, pathlib; pathlib.Path({str(file)!r}).write_text(os.environ.get({name!r}, 'unset'))"
    bootstrap._run(sys.executable, "-c", program, what="looking")
    return file.read_text()


def test_certificates_of_the_system_are_trusted_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)
    assert given(tmp_path, "UV_SYSTEM_CERTS") == "true"
    monkeypatch.setenv("UV_SYSTEM_CERTS", "false")
    assert given(tmp_path, "UV_SYSTEM_CERTS") == "false"


def test_an_environment_is_made_again_only_when_lock_or_python_change(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1\n")
    first = bootstrap.fingerprint(lock)
    assert first == bootstrap.fingerprint(lock)
    lock.write_text("a==2\n")
    assert bootstrap.fingerprint(lock) != first
    stamp = tmp_path / "venv" / ".setup-complete"
    stamp.parent.mkdir()
    stamp.write_text(bootstrap.fingerprint(lock))
    assert bootstrap.ensure_environment(stamp.parent, lock).parent == stamp.parent / "bin"


def test_what_fails_is_named() -> None:
    with pytest.raises(StackError, match=r"looking failed \(exit status 3\)"):
        bootstrap._run(sys.executable, "-c", "raise SystemExit(3)", what="looking")
