"""The peer's environment in .cache/quix, made by the pinned uv from requirements.lock; a second run does nothing."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.stack import BenchmarkError, say
from local_stack.bootstrap import install_uv
from local_stack.paths import PROJECT_ROOT

ENVIRONMENT = PROJECT_ROOT / ".cache" / "quix"
FOLDER = Path(__file__).resolve().parent
LOCK = FOLDER / "requirements.lock"


def ensure_environment() -> Path:
    """Python of an environment that has what requirements.lock says; raises BenchmarkError."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / ".complete"
    wanted = f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {sys.version_info[:2]}"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    say("installing Quix Streams into .cache/quix ...")
    uv = str(install_uv())
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT))
    _run(uv, "pip", "sync", "--quiet", "--python", str(python), "--compile-bytecode", str(LOCK))
    stamp.write_text(wanted)
    return python


def _run(*argv: str) -> None:
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    environment.setdefault("UV_CACHE_DIR", str(PROJECT_ROOT / ".cache" / "uv"))
    environment.pop("VIRTUAL_ENV", None)
    code = subprocess.run(argv, cwd=PROJECT_ROOT, env=environment, check=False).returncode
    if code != 0:
        raise BenchmarkError(
            f"{' '.join(argv[:3])} failed (exit status {code}): is the package index reachable?"
        )
