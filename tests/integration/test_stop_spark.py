"""The stream's Spark stops at once, whatever its state stores' maintenance does: an erasure's restarts wait for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from include.spark_jobs.stream_sessionize.spark import local_dir
from local_stack.paths import PROJECT_ROOT

STOPS = 8


@pytest.mark.long
def test_it_does_not_wait_for_a_maintenance_that_waits_for_it(
    tmp_path: Path, stack_env: dict[str, str]
) -> None:
    """With Spark's own limits each stop that meets the maintenance, every other one here, takes six minutes."""
    command = [sys.executable, "-m", "tests.integration.spark_stops", str(tmp_path), str(STOPS)]
    run = subprocess.run(
        command, cwd=PROJECT_ROOT, env=stack_env, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count(" done\n") == STOPS
    assert not any(path.is_file() for path in local_dir(tmp_path / "checkpoint").rglob("*"))
