"""PostgreSQL refuses to run as root: where we are root, run it as `nobody`, without making a user."""

import os
import pwd
import shutil
import stat
from pathlib import Path

from local_stack.errors import StackError


def drop_prefix(*must_reach: Path) -> tuple[str, ...]:
    """What to put before a command so that it does not run as root; empty where we are not root.

    `must_reach` are paths the command needs. Where a folder above one is closed to others (a project
    under /root), the process keeps the one right to look through it.
    """
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "running as root, and `setpriv` (package util-linux) is missing: PostgreSQL refuses root. "
            "Run as an ordinary user, or install util-linux"
        )
    user = nobody()
    prefix = (setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    if all(_open_to_others(path) for path in must_reach):
        return prefix
    return (*prefix, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")


def give(path: Path) -> None:
    """Make `path` (and what is below) belong to the user that `drop_prefix` switches to."""
    if os.geteuid() != 0:
        return
    user = nobody()
    os.chown(path, user.pw_uid, user.pw_gid)
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            os.chown(Path(folder) / name, user.pw_uid, user.pw_gid, follow_symlinks=False)


def nobody() -> pwd.struct_passwd:
    """The unprivileged user that every Unix has."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError as error:
        raise StackError("running as root, and there is no user `nobody`: run as an ordinary user") from error


def _open_to_others(path: Path) -> bool:
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)
