"""Start one supervised process: read its launch specification and become it (exec), same pid.

supervisord's configuration holds no environment of services (its quoting is fragile, and passwords
would stand in it); it runs `python -m local_stack.launch <state>/launch/<service>.json` instead.
"""

import json
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from include.common.processes import ProcessIdentity
from local_stack.credentials import write_private

MARKER = "WEBTOON_STACK_PROCESS"
"""In the environment of every process of a stack: its state dir. Leftovers are found by it."""
PID_SUFFIX = ".pid.json"
"""Beside the specification: pid and start time of each start, for processes that hide their environment. Those of
earlier starts stay: what a killed one left behind is found by its process group."""


def specification(argv: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> dict[str, Any]:
    """What `main` executes."""
    return {"argv": list(argv), "env": dict(env), "cwd": str(cwd)}


def write_specification(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content`; the file holds secrets (mode 0600)."""
    write_private(path, json.dumps(content, indent=1, sort_keys=True) + "\n")


def same_specification(path: Path, content: Mapping[str, Any], *, besides: Collection[str]) -> bool:
    """Was the process started with `content`, leaving aside the environment variables `besides`?"""

    def without(specified: Mapping[str, Any]) -> dict[str, Any]:
        env = {name: value for name, value in specified["env"].items() if name not in besides}
        return {**specified, "env": env}

    try:
        return without(json.loads(path.read_text())) == without(content)
    except (FileNotFoundError, json.JSONDecodeError):
        return False


def main(path: Path) -> None:
    """Become the process that `path` specifies; returns never."""
    wanted = json.loads(path.read_text())
    os.chdir(wanted["cwd"])
    argv = wanted["argv"]
    # exec changes neither; not the time now, which on a busy machine is seconds after the start
    record = ProcessIdentity.of(os.getpid())
    write_private(path.with_suffix(f".{record.pid}{PID_SUFFIX}"), json.dumps(asdict(record)))
    os.execvpe(argv[0], argv, wanted["env"])  # noqa: S606 - our own argument list


if __name__ == "__main__":
    main(Path(sys.argv[1]))
