"""The supervised driver with a small Python process in Spark's place: started, found, stopped, killed in every way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from include.common.processes import ProcessIdentity
from include.orchestration.supervised_spark import launcher
from include.orchestration.supervised_spark.driver import Driver, DriverError
from include.orchestration.supervised_spark.driver_files import (
    KEPT_LOGS,
    DriverFiles,
    DriverFilesError,
    DriverRecord,
    await_condition,
    this_host,
)
from include.orchestration.supervised_spark.driver_log import (
    KEPT_SHAPES,
    LogFollower,
    RepeatFilter,
    error_lines,
)
from tests.unit.orchestration.driver_programs import BROKEN, DEAF, GOOD, await_heartbeat, start

FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import os, time; os.setpgid(0, 0); time.sleep(600)"])
print(f"child {child.pid}", flush=True)
time.sleep(600)
"""
"""As Spark's Python daemon: a process group of its own."""
STARTER = """
import os, pathlib, sys, time
from include.orchestration.supervised_spark.driver import Driver, Patience
from include.orchestration.supervised_spark.driver_files import DriverFiles
files = DriverFiles(pathlib.Path(sys.argv[1]), "test")
files.create()
Driver(files, pathlib.Path.cwd(), Patience(grace_s=20)).launch(
    [sys.executable, "-c", sys.argv[2], str(files.heartbeat)], dict(os.environ)
)
print("started", flush=True)
time.sleep(600)
"""


CHATTY = """
import signal, sys, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
print("late again\\n" * 1000, flush=True)
while not stop:
    time.sleep(0.02)
print("bye", flush=True)
"""
SMALL_LOG = """
import sys
from include.orchestration.supervised_spark import launcher
launcher.LOG_LIMIT_BYTES = 1000
sys.exit(launcher.main(["run", sys.argv[1]]))
"""
FULL_DISK = """
import errno, os, sys
from include.orchestration.supervised_spark import launcher
from include.orchestration.supervised_spark.driver_files import DriverFiles
write_record = DriverFiles.write_record
def write(files, record):
    if record.driver is not None:
        (files.root / "pid").write_text(str(record.driver.pid))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write_record(files, record)
DriverFiles.write_record = write
sys.exit(launcher.main(["run", sys.argv[1]]))
"""


def launch_with(
    changed: str, driver: Driver, tmp_path: Path, program: str
) -> subprocess.CompletedProcess[str]:
    """Start `program` by `changed`, a launcher of other conditions."""
    path = tmp_path / "spec.json"
    launcher.LaunchSpec(
        folder=str(driver.files.root.parent), name=driver.name, token="token", cwd=str(driver.root),
        argv=[sys.executable, "-c", program], log=str(driver.files.new_log()), grace_s=20,
    ).write(path)  # fmt: skip
    with (tmp_path / "said").open("w+") as said:
        outcome = subprocess.run(
            [sys.executable, "-c", changed, str(path)], cwd=driver.root, stdout=said, stderr=said, timeout=60
        )
        said.seek(0)
        return subprocess.CompletedProcess(outcome.args, outcome.returncode, None, said.read())


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def await_log(driver: Driver, text: str) -> None:
    record = driver.files.record()
    assert record is not None
    assert await_condition(lambda: record.log.exists() and text in record.log.read_text(), within_s=20)


def test_it_outlives_who_started_it_is_found_and_stopped_in_good_order(
    make_driver: Callable[..., Driver], tmp_path: Path
) -> None:
    driver = make_driver()
    assert driver.running() is None
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path / "drivers"), GOOD],
        cwd=driver.root,
        stdout=subprocess.PIPE,
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"started\n"
    assert psutil.Process(starter.pid).children() == [], "nor does the memory watch count it as the starter's"
    starter.kill()
    starter.communicate()
    await_heartbeat(driver)
    found = driver.running()
    assert found is not None
    assert found.driver is not None
    assert driver.silence(found, time.time()) is None
    driver.stop(found, dict(os.environ))
    assert driver.await_end()
    ending = driver.files.ending(found.token)
    assert ending is not None
    assert (ending.returncode, ending.asked_to_stop) == (0, True)
    assert driver.ending(found) is None
    assert "finished the micro-batch" in found.log.read_text()
    assert driver.running() is None


def test_what_a_killed_one_leaves_behind_is_killed_too(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    start(driver, FAMILY)
    await_log(driver, "child")
    record = driver.running()
    assert record is not None
    assert record.driver is not None
    child = psutil.Process(int(record.log.read_text().split()[1]))
    os.kill(record.driver.pid, signal.SIGKILL)
    assert driver.await_end()
    assert driver.ending(record) == "it ended with signal 9"
    assert await_condition(lambda: not child.is_running(), within_s=10)


def test_one_that_is_deaf_is_killed_after_the_grace(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver(grace_s=0.5)
    start(driver, DEAF)
    await_log(driver, "deaf")
    record = driver.running()
    assert record is not None
    driver.stop(record, dict(os.environ))
    assert driver.await_end()
    assert driver.ending(record) == "it ended with signal 9"


def test_a_second_one_of_the_name_is_refused(make_driver: Callable[..., Driver], tmp_path: Path) -> None:
    driver = make_driver()
    start(driver, GOOD)
    record = driver.running()
    assert record is not None
    spec = launcher.LaunchSpec.read(driver.files.root / "spec.json")
    other = tmp_path / "second.json"
    replace(spec, token="second").write(other)
    second = subprocess.run(
        [sys.executable, "-m", "include.orchestration.supervised_spark.launcher", "run", str(other)],
        cwd=driver.root, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert second.returncode == launcher.ALREADY_RUNNING
    assert "another driver named test runs already" in second.stderr
    assert driver.running() == record


def test_without_its_launcher_it_is_still_found_and_stopped(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    start(driver, GOOD)
    await_heartbeat(driver)
    record = driver.running()
    assert record is not None
    os.kill(record.launcher.pid, signal.SIGKILL)
    assert await_condition(lambda: record.launcher.process() is None, within_s=10)
    assert driver.running() == record, "it holds the lock itself"
    driver.stop(record, dict(os.environ))
    assert driver.await_end()
    # written by the process that stops it, just after
    assert await_condition(lambda: driver.files.ending(record.token) is not None, within_s=10)
    assert driver.ending(record) is None
    assert "finished the micro-batch" in record.log.read_text()


def test_one_that_its_launcher_could_not_record_is_found_and_killed(
    make_driver: Callable[..., Driver],
) -> None:
    driver = make_driver()
    record = start(driver, DEAF)
    await_log(driver, "deaf")
    assert record.driver is not None
    orphan = psutil.Process(record.driver.pid)
    try:
        os.kill(record.launcher.pid, signal.SIGKILL)
        assert await_condition(lambda: record.launcher.process() is None, within_s=10)
        unrecorded = replace(record, driver=None)
        driver.files.write_record(unrecorded)
        assert driver.running() == unrecorded
        driver.stop(unrecorded, dict(os.environ))
        assert driver.await_end()
        assert await_condition(lambda: driver.ending(record) == "it ended with signal 9", within_s=10)
    finally:
        if orphan.is_running():
            orphan.kill()


def test_of_a_launcher_that_cannot_record_its_driver_nothing_is_left(
    make_driver: Callable[..., Driver], tmp_path: Path
) -> None:
    driver = make_driver()
    outcome = launch_with(FULL_DISK, driver, tmp_path, DEAF)
    assert outcome.returncode == 1
    assert "No space left on device" in outcome.stderr
    pid = int((driver.files.root / "pid").read_text())
    survived = psutil.pid_exists(pid)
    if survived:
        os.kill(pid, signal.SIGKILL)
    assert not survived
    assert not driver.files.is_running()


def test_a_session_whose_id_came_round_is_left_alone(make_driver: Callable[..., Driver]) -> None:
    files = make_driver().files
    with subprocess.Popen(
        [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '600'])"], start_new_session=True
    ) as leader:
        foreign = ProcessIdentity.of(leader.pid)
        assert await_condition(lambda: bool(psutil.Process(leader.pid).children()), within_s=20)
        [member] = psutil.Process(leader.pid).children()
        try:
            earlier = replace(foreign, started_at=foreign.started_at - 60, since_boot=None)
            record = DriverRecord("token", this_host(), earlier, None, (), files.root / "log")
            files.write_record(record)
            with files.held(2):
                launcher.stop_orphan(files, 1)
            assert member.is_running()
            launcher._kill_session(leader.pid, since=ProcessIdentity.of(member.pid))
            assert leader.poll() is None, "started before"
            assert await_condition(lambda: not is_alive(member), within_s=10)
        finally:
            leader.kill()
            if member.is_running():
                member.kill()


def test_its_log_starts_anew_when_it_is_too_large(make_driver: Callable[..., Driver], tmp_path: Path) -> None:
    driver = make_driver()
    assert launch_with(SMALL_LOG, driver, tmp_path, CHATTY).returncode == 0
    await_log(driver, "starts anew")
    record = driver.running()
    assert record is not None
    driver.stop(record, dict(os.environ))
    assert driver.await_end()
    assert record.log.read_text() == (
        "launcher: more than 1000 bytes of log: it starts anew, what it held is gone\nbye\n"
    )


def test_killed_as_a_whole_it_vanished(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    start(driver, DEAF)
    await_log(driver, "deaf")
    record = driver.running()
    assert record is not None
    assert record.driver is not None
    for pid in (record.launcher.pid, record.driver.pid):
        os.kill(pid, signal.SIGKILL)
    assert driver.await_end()
    assert "vanished" in (driver.ending(record) or "")
    start(driver, BROKEN)
    assert driver.await_end()


def test_what_it_said_is_in_the_failure(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    start(driver, BROKEN)
    assert driver.await_end()
    record = driver.files.record()
    assert record is not None
    wrong = driver.ending(record)
    assert wrong == "it ended with status 1"
    assert "stream_sessionize: no broker" in driver.failure(record, wrong)


def test_a_program_that_is_not_there_is_said(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    with pytest.raises(DriverError, match=r"status 127\): launcher: cannot start \./no-such-program"):
        driver.launch(["./no-such-program"], dict(os.environ))
    assert driver.running() is None


def test_silence_counts_from_the_start_then_from_the_heartbeat(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    start(driver, DEAF)
    record = driver.files.record()
    assert record is not None
    assert driver.silence(record, record.started_at + 4) is None
    assert "within 6 s of its start" in (driver.silence(record, record.started_at + 6) or "")
    driver.files.heartbeat.touch()
    beat = driver.files.heartbeat.stat().st_mtime
    assert driver.silence(record, beat + 4) is None
    assert driver.silence(record, beat + 6) == "no heartbeat for 6 s"
    os.utime(driver.files.heartbeat, (record.started_at - 60, record.started_at - 60))
    assert driver.silence(record, record.started_at + 4) is None, "of the driver before this one"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere epoch seconds are all there is")
def test_a_step_of_the_clock_does_not_hide_it(
    make_driver: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = make_driver()
    started = start(driver, GOOD)
    create_time = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: create_time(process) - 3600)
    assert driver.running() == started


def test_the_record_of_an_earlier_release_finds_its_driver(make_driver: Callable[..., Driver]) -> None:
    driver = make_driver()
    started = start(driver, GOOD)
    path = driver.files.root / "driver.json"
    content = json.loads(path.read_text())
    for name in ("launcher", "driver"):
        content[name] = {field: content[name][field] for field in ("pid", "started_at")}
    path.write_text(json.dumps(content))
    found = driver.running()
    assert found is not None
    assert found.token == started.token
    assert found.launcher.process() is not None


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_names_that_are_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DriverFilesError, match="no name for a driver"):
        DriverFiles(tmp_path, name)


def test_old_logs_are_deleted(make_driver: Callable[..., Driver]) -> None:
    files = make_driver().files
    for number in range(2 * KEPT_LOGS):
        (files.logs / f"20260101T0000{number:02d}-1.log").touch()
    new = files.new_log()
    new.touch()
    assert len(list(files.logs.glob("*.log"))) == KEPT_LOGS


def test_the_log_is_followed_by_whole_lines_without_passwords(tmp_path: Path) -> None:
    log = tmp_path / "driver.log"
    follower = LogFollower(log)
    assert follower.read() == []
    log.write_text("one\ntwo postgresql://u:secret@h/d\nhal")
    assert follower.read() == ["one", "two postgresql://u:***@h/d"]
    with log.open("a") as file:
        file.write("f\n")
    assert follower.read() == ["half"]
    assert LogFollower(log, from_end=True).read() == []


def test_a_log_that_starts_anew_is_followed_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "driver.log"
    log.write_text("one\ntwo\n")
    follower = LogFollower(log)
    assert follower.read() == ["one", "two"]
    log.write_text("new\n")
    assert follower.read() == ["new"]
    log.write_text("")
    assert follower.read() == []
    log.write_text("newer\n")
    assert follower.read() == ["newer"]


def test_error_lines_leave_out_the_frames(tmp_path: Path) -> None:
    log = tmp_path / "driver.log"
    log.write_text(
        "INFO fine\njava.io.IOException: disk full\n\tat a.b.C(D.java:1)\n\t... 3 more\nINFO bye\n"
    )
    assert error_lines(log) == ["java.io.IOException: disk full"]


def test_what_spark_says_at_every_micro_batch_is_shown_every_ten_minutes() -> None:
    now = 0.0
    worth_a_look = RepeatFilter(lambda: now)
    behind = (
        "05:10:{:02d} WARN ProcessingTimeExecutor: Current batch is falling behind, spent {} milliseconds"
    )
    assert worth_a_look([behind.format(1, 900), "", behind.format(2, 1100), "ERROR other"]) == [
        behind.format(1, 900),
        "ERROR other",
    ]
    now = 599.0
    assert worth_a_look([behind.format(3, 12)]) == []
    now = 600.0
    assert worth_a_look([behind.format(4, 34)]) == [
        f"{behind.format(4, 34)} (and 2 like it since the last one shown)"
    ]


def test_the_filter_forgets_what_is_long_ago() -> None:
    worth_a_look = RepeatFilter(lambda: 0.0)
    words = ["".join("abcdefghij"[int(digit)] for digit in str(number)) for number in range(KEPT_SHAPES + 1)]
    assert worth_a_look(words) == words
    assert worth_a_look([words[0], words[-1]]) == [words[0]], "bounded: the oldest is new again"
