"""supervisord event listener: restart a service whose process tree holds more memory than its limit.

Limits stand in `<state>/launch/memory_limits.json` (MiB by service name). Shared pages count once
(proportional set size where the system tells it).
"""

import json
import sys
import xmlrpc.client
from pathlib import Path
from typing import Any

import psutil

from local_stack.paths import StatePaths
from local_stack.ports import plan
from local_stack.supervision import Supervisor

LIMITS_FILE = "memory_limits.json"
MIB = 1024 * 1024


def tree_memory_mib(pid: int) -> float:
    """Memory of `pid` and its children in MiB; 0 where it has gone."""
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for member in members:
        try:
            full = member.memory_full_info()
            total += getattr(full, "pss", 0) or full.rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / MIB


def over_limit(reports: dict[str, Any], limits: dict[str, int]) -> list[tuple[str, float]]:
    """(service, MiB held) of each running service above its limit."""
    over = []
    for name, limit in limits.items():
        pid = reports.get(name, {}).get("pid", 0)
        if not pid:
            continue
        rss = tree_memory_mib(pid) if _may_exceed(pid, limit) else 0.0
        if rss > limit:
            over.append((name, rss))
    return over


def _may_exceed(pid: int, limit_mib: int) -> bool:
    """Cheap first look: the sum of resident sizes is never below the proportional one."""
    try:
        process = psutil.Process(pid)
        members = [process, *process.children(recursive=True)]
        return bool(sum(member.memory_info().rss for member in members) > limit_mib * MIB)
    except psutil.NoSuchProcess:
        return False


def main(state_dir: Path) -> None:
    """Answer supervisord's ticks until it closes our input."""
    paths = StatePaths.at(state_dir)
    supervisor = Supervisor(paths, plan(paths.ports_file, use_ephemeral=False, environ={})["supervisor"])
    while True:
        sys.stdout.write("READY\n")
        sys.stdout.flush()
        header = sys.stdin.readline()
        if not header:
            return
        fields = dict(pair.split(":", 1) for pair in header.split())
        sys.stdin.read(int(fields["len"]))
        limits = json.loads((paths.launch / LIMITS_FILE).read_text())
        for name, held in over_limit(dict(supervisor.states()), limits):
            print(
                f"{name} holds {held:.0f} MiB, limit {limits[name]}: restarting it",
                file=sys.stderr,
                flush=True,
            )
            try:
                supervisor.stop_service(name)
                supervisor.start_service(name)
            except (OSError, xmlrpc.client.Error) as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
        sys.stdout.write("RESULT 2\nOK")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
