"""A small disk for a checkpoint: a tmpfs in a mount namespace of its own, so nothing stays mounted whatever is killed."""

import shutil
import subprocess
from pathlib import Path

from local_stack.paths import PROJECT_ROOT
from tests.integration.faults.plan import FILLER

_MOUNT = 'mount -t tmpfs -o "size=$2m" tmpfs "$1" && echo mounted && exec sleep infinity'
_TOOLS = ("setpriv", "unshare", "nsenter")
_WAYS: tuple[tuple[str, ...], ...] = ((), ("--user", "--map-root-user"))
"""As root; as an ordinary user, where the kernel gives him a namespace in which he may mount."""


class NoSmallDiskError(RuntimeError):
    """This machine does not let us mount; the message says why."""


class SmallDisk:
    """`folder` is `mib` MiB large for processes started with `prefix`, and an ordinary folder for all others.

    Raises NoSmallDiskError.
    """

    def __init__(self, folder: Path, mib: int) -> None:
        self.folder = folder
        said: list[str] = []
        if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
            raise NoSmallDiskError(f"no {', '.join(missing)} (util-linux)")
        for way in _WAYS:
            self._holder = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", *way, "--mount", "--propagation", "private",
                 "sh", "-c", _MOUNT, "sh", str(folder), str(mib)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert self._holder.stdout is not None
            if self._holder.stdout.readline().strip() == "mounted":
                break
            said.append(self._holder.communicate()[1].strip())
        else:
            raise NoSmallDiskError(f"no right to mount a tmpfs ({'; '.join(said)})")
        enter = ["nsenter", "--target", str(self._holder.pid), "--mount"]
        if way:
            enter += ["--user", "--preserve-credentials"]
        self.prefix = (*enter, "--", "env", f"--chdir={PROJECT_ROOT}")
        self._seen_from_here = Path(f"/proc/{self._holder.pid}/root") / folder.relative_to("/")

    def make_room(self) -> int:
        """Delete what filled it; returns the bytes that were freed."""
        filler = self._seen_from_here / FILLER
        size = filler.stat().st_size if filler.exists() else 0
        filler.unlink(missing_ok=True)
        return size

    def close(self) -> None:
        """Let go of the disk and all that is on it."""
        self._holder.kill()
        self._holder.communicate()
