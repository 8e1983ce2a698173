"""Generated passwords of the stack: one file each in the state dir, readable by its owner only."""

import os
import secrets
from pathlib import Path


def write_private(path: Path, content: str) -> None:
    """Write `content` so that only the owner can ever read it, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    partial.replace(path)


def password(folder: Path, name: str) -> str:
    """The password `name`, generated at the first call (URL-safe, 32 characters)."""
    path = folder / name
    if path.exists():
        return path.read_text().strip()
    value = secrets.token_urlsafe(24)
    write_private(path, value + "\n")
    return value
