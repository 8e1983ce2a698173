"""The memory watch: what a process tree holds, and who is over the limit."""

import os
import subprocess
import sys

from local_stack.memory_watch import over_limit, tree_memory_mib

_HOLD = "x = bytearray(80 << 20); print('ready', flush=True); input()"


def test_a_trees_memory_counts_its_children() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_HOLD!r}])"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    held = tree_memory_mib(parent.pid)
    reports = {"big": {"pid": parent.pid}, "stopped": {"pid": 0}}
    assert [name for name, _ in over_limit(reports, {"big": 40, "stopped": 1})] == ["big"]
    assert over_limit(reports, {"big": 4000, "stopped": 1}) == []
    parent.communicate("\n", timeout=10)
    assert 80 < held < 200


def test_a_process_that_has_gone_holds_nothing() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert tree_memory_mib(gone.pid) == 0.0
    assert over_limit({"a": {"pid": gone.pid}}, {"a": 1}) == []
    assert tree_memory_mib(os.getpid()) > 5
