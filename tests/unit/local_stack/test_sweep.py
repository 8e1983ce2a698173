"""Leftovers of a stack are found by the recorded start of each service, whatever was done to the clock since."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from local_stack import sweep
from local_stack.launch import PID_SUFFIX, specification, write_specification

PARENT = "import subprocess; subprocess.run(['sleep', '600'])"


@pytest.fixture
def service(tmp_path: Path, project_root: Path) -> Iterator[psutil.Process]:
    """A service with a child, started as supervisord starts one, in a process group of its own."""
    path = tmp_path / "launch" / "sleeper.json"
    path.parent.mkdir()
    write_specification(path, specification((sys.executable, "-c", PARENT), dict(os.environ), tmp_path))
    with subprocess.Popen(
        [sys.executable, "-m", "local_stack.launch", str(path)], cwd=project_root, start_new_session=True
    ) as started:
        process = psutil.Process(started.pid)
        children: list[psutil.Process] = []
        try:
            while not (children := process.children()):
                assert started.poll() is None
                psutil.wait_procs([process], timeout=0.05)
            yield process
        finally:
            for left in [*children, process]:
                if left.is_running():
                    left.kill()


def found(state_dir: Path) -> set[int]:
    return {process.pid for process in sweep.leftovers(state_dir)}


def family(service: psutil.Process) -> set[int]:
    return {service.pid, *(child.pid for child in service.children())}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere epoch seconds are all there is")
def test_a_step_of_the_clock_hides_nothing(
    service: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found(tmp_path) == family(service)
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) - 3600)
    assert found(tmp_path) == family(service)


def test_the_record_of_an_earlier_release_is_read(service: psutil.Process, tmp_path: Path) -> None:
    [path] = (tmp_path / "launch").glob(f"*{PID_SUFFIX}")
    record = json.loads(path.read_text())
    old = {"pid": record["pid"], "started_at": record["started_at"]}
    path.write_text(json.dumps(old))
    assert found(tmp_path) == family(service)
    path.write_text(json.dumps({**old, "started_at": old["started_at"] + 60}))
    assert found(tmp_path) == set(), "the pids came round again"
