"""`make setup`: from nothing but Python 3.11+ to the pinned environment in .venv; a second run does nothing.

Standard library only. uv (pinned) goes to a small environment of its own in .cache/tools; its cache stays
inside the project unless UV_CACHE_DIR says otherwise. `--lock` re-resolves requirements.lock instead.
"""

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from local_stack.doctor import check_python, install_hint
from local_stack.errors import StackError
from local_stack.paths import PROJECT_ROOT

UV_VERSION = "0.13.9"
LOCK_FILE = PROJECT_ROOT / "requirements.lock"
TOOLS = PROJECT_ROOT / ".cache" / "tools"
VENV = PROJECT_ROOT / ".venv"
# markers for every Python and system, so that one lock serves all
LOCK_COMMAND = (
    "pip", "compile", "--universal", "--python-version", "3.11", "requirements-dev.txt",
    "--override", "overrides.txt", "-o", "requirements.lock", "--quiet",
)  # fmt: skip


def _run(*argv: str | Path, what: str) -> None:
    environment = dict(os.environ)
    environment.setdefault("UV_CACHE_DIR", str(PROJECT_ROOT / ".cache" / "uv"))
    environment.setdefault("UV_HTTP_TIMEOUT", "180")
    # uv trusts a list of its own otherwise, and fails behind a proxy whose certificate the system trusts, as pip does
    environment.setdefault("UV_SYSTEM_CERTS", "true")
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("VIRTUAL_ENV", None)
    code = subprocess.run(
        [str(word) for word in argv], cwd=PROJECT_ROOT, env=environment, check=False
    ).returncode
    if code != 0:
        raise StackError(f"{what} failed (exit status {code}): see above. Is the package index reachable?")


def fingerprint(lock: Path) -> str:
    """What an environment was made from: the lock, and the Python it runs on."""
    return f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {sys.version_info[0]}.{sys.version_info[1]}\n"


def install_uv() -> Path:
    """uv of the pinned version in its own environment; returns its path."""
    uv = TOOLS / "bin" / "uv"
    stamp = TOOLS / f".uv-{UV_VERSION}"
    if uv.exists() and stamp.exists():
        return uv
    if importlib.util.find_spec("ensurepip") is None:
        raise StackError(f"this Python has no venv module; {install_hint('python')}")
    print(f"installing uv {UV_VERSION} into {TOOLS.relative_to(PROJECT_ROOT)} ...", flush=True)
    _run(sys.executable, "-m", "venv", "--clear", TOOLS, what="making an environment for uv")
    _run(
        TOOLS / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", f"uv=={UV_VERSION}",
        what="installing uv",
    )  # fmt: skip
    stamp.touch()
    return uv


def ensure_environment(venv: Path, lock: Path) -> Path:
    """Make `venv` what `lock` says, unless it is; returns its Python. Raises StackError."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    python, stamp = venv / "bin" / f"python{version}", venv / ".setup-complete"
    if stamp.exists() and stamp.read_text() == fingerprint(lock):
        return python
    uv, name = install_uv(), venv.relative_to(PROJECT_ROOT)
    stamp.unlink(missing_ok=True)
    if not python.exists():
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, venv, what=f"making {name}")
    print(f"installing the pinned packages into {name} (1 to 4 minutes the first time) ...", flush=True)
    _run(
        uv, "pip", "sync", "--python", python, "--compile-bytecode", lock, what="installing the packages"
    )  # fmt: skip
    stamp.write_text(fingerprint(lock))
    return python


def main() -> int:
    """Command line: set up, or `--lock` to resolve again."""
    parser = argparse.ArgumentParser(prog="python3 -m local_stack.bootstrap", description=__doc__)
    parser.add_argument("--lock", action="store_true", help="resolve requirements.lock again")
    arguments = parser.parse_args()
    try:
        python = check_python()
        if python.problem is not None:
            raise StackError(f"Python {python.found}: {python.problem}")
        if arguments.lock:
            _run(install_uv(), *LOCK_COMMAND, what="resolving requirements.lock")
        else:
            ensure_environment(VENV, LOCK_FILE)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
