"""A process is recognised again whatever becomes of pids, clocks and boots."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace

import psutil
import pytest

from include.common.processes import ProcessIdentity, SinceBoot

ON_LINUX = sys.platform.startswith("linux")
linux_only = pytest.mark.skipif(not ON_LINUX, reason="elsewhere epoch seconds are all there is")


@pytest.fixture
def step_the_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """`step_the_clock(s)`: from now on psutil tells start times as on Linux after the clock was set forward by `s`."""
    create_time = psutil.Process.create_time

    def step(seconds: float) -> None:
        monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) + seconds)

    return step


def since_boot(identity: ProcessIdentity) -> SinceBoot:
    assert identity.since_boot is not None
    return identity.since_boot


@linux_only
@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_step_of_the_clock_makes_no_other_process_of_it(
    step_the_clock: Callable[[float], None], seconds: float
) -> None:
    me = ProcessIdentity.of(os.getpid())
    step_the_clock(seconds)
    assert me.process() == psutil.Process()
    again = ProcessIdentity.of(os.getpid())
    assert me.is_not_after(again)
    assert again.is_not_after(me)


@linux_only
def test_a_pid_that_came_round_again_is_another_process() -> None:
    me = ProcessIdentity.of(os.getpid())
    assert me.process() == psutil.Process()
    mine = since_boot(me)
    assert replace(me, since_boot=replace(mine, ticks=mine.ticks - 1)).process() is None
    assert replace(me, since_boot=replace(mine, boot_id="of yesterday")).process() is None, (
        "same tick, other boot"
    )


def test_without_the_time_since_boot_epoch_seconds_are_compared() -> None:
    me = replace(ProcessIdentity.of(os.getpid()), since_boot=None)
    assert me.process() == psutil.Process()
    before = replace(me, started_at=me.started_at - 60)
    assert before.process() is None
    assert before.is_not_after(me)
    assert not me.is_not_after(before)


def test_what_an_earlier_release_wrote_is_read() -> None:
    me = ProcessIdentity.of(os.getpid())
    old = ProcessIdentity.read({"pid": me.pid, "started_at": me.started_at})
    assert old.process() == psutil.Process()
    assert ProcessIdentity.read(asdict(me)) == me
    assert (me.since_boot is not None) == ON_LINUX


@linux_only
def test_who_came_first_is_told_within_one_boot_only() -> None:
    parent, me = ProcessIdentity.of(1), ProcessIdentity.of(os.getpid())
    assert parent.is_not_after(me)
    assert not me.is_not_after(parent)
    yesterday = replace(parent, since_boot=replace(since_boot(parent), boot_id="of yesterday"))
    assert not yesterday.is_not_after(me)


@linux_only
def test_a_name_with_brackets_and_spaces_is_no_hindrance() -> None:
    rename = "import pathlib, sys; pathlib.Path('/proc/self/comm').write_text('a) R (b 1 2'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", rename], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        before = SinceBoot.of(child.pid)
        assert child.stdout.readline() == b"\n"
        assert psutil.Process(child.pid).name() == "a) R (b 1 2"
        assert before is not None
        assert SinceBoot.of(child.pid) == before
        child.communicate(b"\n")


def test_what_has_ended_is_none() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = ProcessIdentity.of(child.pid)
        child.communicate(b"\n")
    assert identity.process() is None
    assert SinceBoot.of(child.pid) is None
