"""Start one supervised process: read its launch specification and become it (exec), same pid.

supervisord's configuration holds no environment of services (its quoting is fragile, and passwords
would stand in it); it runs `python -m local_stack.launch <state>/launch/<service>.json` instead.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from local_stack.credentials import write_private

MARKER = "WEBTOON_STACK_PROCESS"
"""In the environment of every process of a stack: its state dir. Leftovers are found by it."""
PID_SUFFIX = ".pid.json"
"""Beside the specification: pid and start time of the process, for those that hide their environment."""


def write_specification(path: Path, argv: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> None:
    """Write what `main` executes; the file holds secrets (mode 0600)."""
    specification = {"argv": list(argv), "env": dict(env), "cwd": str(cwd)}
    write_private(path, json.dumps(specification, indent=1, sort_keys=True) + "\n")


def main(path: Path) -> None:
    """Become the process that `path` specifies; returns never."""
    specification = json.loads(path.read_text())
    os.chdir(specification["cwd"])
    argv = specification["argv"]
    record = {"pid": os.getpid(), "started_at": time.time()}  # exec changes neither
    write_private(path.with_suffix(PID_SUFFIX), json.dumps(record))
    os.execvpe(argv[0], argv, specification["env"])  # noqa: S606 - our own argument list


if __name__ == "__main__":
    main(Path(sys.argv[1]))
