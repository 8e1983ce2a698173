"""Is this machine fit to run the stack? Each finding says what is wrong and how to mend it.

Standard library only, and no import of an installed package: it runs before `make setup`.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local_stack.ports import DEFAULT_PORTS, conflicts, plan

MIN_PYTHON = (3, 11)
MAX_PYTHON = (3, 13)
MIN_JAVA = 17
MIN_FREE_MEMORY_GIB = 8.0
MIN_FREE_DISK_GIB = 8.0
_INSTALL = {
    "python": ("apt-get install python3.11 python3.11-venv", "brew install python@3.11"),
    "java": ("apt-get install openjdk-17-jre-headless", "brew install openjdk@17"),
    "maven": ("apt-get install maven", "brew install maven"),
    "make": ("apt-get install make", "xcode-select --install"),
    "setpriv": ("apt-get install util-linux", "run as an ordinary user"),
}


@dataclass(frozen=True)
class Finding:
    """One check: `problem` is None where all is well; `required` decides the exit status."""

    subject: str
    found: str
    problem: str | None = None
    required: bool = True


def install_hint(tool: str) -> str:
    """How to install `tool` with apt or brew."""
    apt, brew = _INSTALL[tool]
    return f"install it: sudo {apt}   (macOS: {brew})"


def check_python(version: tuple[int, int] = (sys.version_info[0], sys.version_info[1])) -> Finding:
    """Python 3.11 to 3.13: what the pinned packages have wheels for."""
    found = f"{version[0]}.{version[1]}"
    if MIN_PYTHON <= version <= MAX_PYTHON:
        return Finding("Python", found)
    return Finding("Python", found, f"3.11, 3.12 or 3.13 is needed; {install_hint('python')}")


def parse_java_version(output: str) -> int | None:
    """Major version in what `java -version` prints, None where it is not there."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', output)
    if match is None:
        return None
    major = int(match[1])
    return int(match[2] or 0) if major == 1 else major


def _output(*argv: str) -> str:
    try:
        outcome = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return outcome.stdout + outcome.stderr


def check_java() -> Finding:
    """Java 17 or newer: Spark 4 and Kafka 4 need it."""
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if command is None or not Path(command).exists():
        where = f"JAVA_HOME={home} holds no bin/java" if home else "not found"
        return Finding("Java", where, f"Java {MIN_JAVA} or newer is needed; {install_hint('java')}")
    version = parse_java_version(_output(command, "-version"))
    if version is None or version < MIN_JAVA:
        return Finding(
            "Java", f"{version or 'unknown'} ({command})", f"Java {MIN_JAVA} or newer is needed; "
            f"{install_hint('java')}, or point JAVA_HOME at one",
        )  # fmt: skip
    return Finding("Java", str(version))


def check_command(subject: str, command: str, tool: str) -> Finding:
    """Is `command` on the PATH?"""
    path = shutil.which(command)
    return Finding(subject, path) if path else Finding(subject, "not found", install_hint(tool))


def available_memory_gib() -> float | None:
    """Memory that new processes can have, GiB; a container's limit counts. None where unknown."""
    figures = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        match = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())
        if match:
            figures.append(int(match[1]) / 1024**2)
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and limit.read_text().strip().isdigit():
        figures.append((int(limit.read_text()) - int(used.read_text())) / 1024**3)
    if not figures and sys.platform == "darwin":
        total = _output("sysctl", "-n", "hw.memsize").strip()
        figures += [int(total) / 1024**3 * 0.7] if total.isdigit() else []
    return min(figures) if figures else None


def check_memory(available: float | None) -> Finding:
    """The stack together stays under 12 GiB; 8 free are enough to start and to demo."""
    if available is None:
        return Finding("Memory", "unknown", None)
    found = f"{available:.1f} GiB available"
    if available >= MIN_FREE_MEMORY_GIB:
        return Finding("Memory", found)
    return Finding("Memory", found, f"{MIN_FREE_MEMORY_GIB:.0f} GiB are needed: close other programs")


def check_disk(folder: Path) -> Finding:
    """Packages, jars and the state of a demo take about 5 GiB."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1024**3
    problem = None if free >= MIN_FREE_DISK_GIB else f"{MIN_FREE_DISK_GIB:.0f} GiB are needed in {folder}"
    return Finding("Disk", f"{free:.0f} GiB free", problem)


def check_ports(state_dir: Path) -> Finding:
    """Are the stack's ports free? Not asked while it runs itself."""
    if _stack_runs(state_dir):
        return Finding("Ports", "in use by this stack, which is running")
    saved = state_dir / "ports.json"
    taken = conflicts(plan(saved, use_ephemeral=False), DEFAULT_PORTS)
    if not taken:
        return Finding("Ports", "free")
    if saved.exists():  # `up` ends what an earlier, killed stack left over, then looks again
        return Finding(
            "Ports",
            "taken, perhaps by leftovers of this stack, which `make up` ends",
            "\n".join(taken),
            False,
        )
    return Finding("Ports", "taken", "\n".join(taken))


def _stack_runs(state_dir: Path) -> bool:
    pid_file = state_dir / "supervisord.pid"
    pid = pid_file.read_text().strip() if pid_file.exists() else ""
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except OSError:
        return False
    return True


def check_root() -> Finding | None:
    """As root, PostgreSQL is started as `nobody` by setpriv, which must be there."""
    if os.geteuid() != 0:
        return None
    return check_command("setpriv (running as root)", "setpriv", "setpriv")


def findings(state_dir: Path, *, with_ports: bool) -> list[Finding]:
    """All checks."""
    found = [
        check_python(),
        check_java(),
        check_command("Maven", "mvn", "maven"),
        check_command("make", "make", "make"),
        check_memory(available_memory_gib()),
        check_disk(state_dir),
    ]
    if with_ports:
        found.append(check_ports(state_dir))
    root = check_root()
    return [*found, root] if root else found


def report(state_dir: Path, *, check_ports: bool, say: Callable[[str], None]) -> int:
    """Print every finding; 0 where nothing required is wrong, else 1."""
    failed = 0
    for finding in findings(state_dir, with_ports=check_ports):
        mark = "ok  " if finding.problem is None else ("FAIL" if finding.required else "warn")
        say(f"{mark}  {finding.subject}: {finding.found}")
        if finding.problem is not None:
            failed += finding.required
            for line in finding.problem.splitlines():
                say(f"        {line}")
    say("this machine is fit" if not failed else f"{failed} thing(s) to mend, see above")
    return 1 if failed else 0
