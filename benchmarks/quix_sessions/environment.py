"""The peer's environment in .cache/quix, made by the pinned uv from requirements.lock; a second run does nothing."""

from pathlib import Path

from local_stack import bootstrap
from local_stack.paths import PROJECT_ROOT

FOLDER = Path(__file__).resolve().parent


def ensure_environment() -> Path:
    """Python of an environment that has what requirements.lock says; raises StackError."""
    return bootstrap.ensure_environment(PROJECT_ROOT / ".cache" / "quix", FOLDER / "requirements.lock")
