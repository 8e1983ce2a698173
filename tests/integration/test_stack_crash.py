"""The native stack killed half-way, with kill -9, at the points that hurt: a second `up` works, `down` leaves nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from local_stack import stack, sweep
from local_stack.paths import PROJECT_ROOT

_UP = [sys.executable, "-m", "local_stack", "up", "--ephemeral-ports", "--not-durable"]


@pytest.fixture
def state_dir() -> Iterator[Path]:
    folder = PROJECT_ROOT / f".stack-test-{os.getpid()}-crash"
    yield folder
    stack.clean(folder, lambda line: None)
    shutil.rmtree(folder, ignore_errors=True)


def _await(condition: Callable[[], bool], *, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def _up(state_dir: Path, only: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_UP, "--state-dir", str(state_dir), "--only", only],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )


def _kill_up_when(state_dir: Path, only: str, condition: Callable[[], bool]) -> None:
    """Start `up`, and kill it together with its supervisord as soon as `condition` holds."""
    process = subprocess.Popen(
        [*_UP, "--state-dir", str(state_dir), "--only", only],
        cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _await(lambda: condition() or process.poll() is not None, within_s=60, what="the point to kill at")
        assert process.poll() is None, "up ended before the point to kill at"
    finally:
        process.kill()
        process.wait()
    pid_file = state_dir / "supervisord.pid"
    if pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_killed_while_making_the_database_cluster(state_dir: Path) -> None:
    partial = state_dir / "postgres" / "data.partial"
    _kill_up_when(state_dir, "postgres", (partial / "base").exists)
    assert not (state_dir / "postgres" / "data").exists()
    second = _up(state_dir, "postgres")
    assert second.returncode == 0, second.stderr
    assert not partial.exists()
    assert [state.reason for state in stack.status(state_dir) if state.name == "postgres"] == [None]


def test_killed_while_formatting_kafka(state_dir: Path) -> None:
    _kill_up_when(state_dir, "kafka", (state_dir / "conf" / "kafka-format.properties").exists)
    assert not (state_dir / "kafka" / "data").exists()
    second = _up(state_dir, "kafka")
    assert second.returncode == 0, second.stderr


@pytest.mark.long
def test_killed_while_making_the_metastores_tables(state_dir: Path) -> None:
    log = state_dir / "logs" / "metastore-schema.log"
    _kill_up_when(state_dir, "metastore", log.exists)
    assert not (state_dir / "metastore-schema.done").exists()
    second = _up(state_dir, "metastore")
    assert second.returncode == 0, second.stderr
    assert "left over from before" in second.stdout  # the orphaned server and schema tool
    context = stack.open_stack(state_dir)
    with psycopg.connect(context.dsn("hive", "metastore")) as connection:
        row = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert row is not None
    assert row[0] >= 44


def test_a_dead_supervisor_is_replaced_and_data_stays(state_dir: Path) -> None:
    assert _up(state_dir, "postgres").returncode == 0
    context = stack.open_stack(state_dir)
    with psycopg.connect(context.features_dsn) as connection:
        connection.execute("INSERT INTO ops.stream_generations VALUES (7, 'current', 'c', '{}')")
    os.kill(int((state_dir / "supervisord.pid").read_text()), signal.SIGKILL)
    second = _up(state_dir, "postgres")
    assert second.returncode == 0, second.stderr
    with psycopg.connect(context.features_dsn) as connection:
        assert connection.execute("SELECT generation FROM ops.stream_generations").fetchall() == [(7,)]


def test_a_killed_server_is_restarted_by_its_supervisor(state_dir: Path) -> None:
    assert _up(state_dir, "postgres").returncode == 0
    (before,) = (state for state in stack.status(state_dir) if state.name == "postgres")
    os.kill(before.pid, signal.SIGKILL)

    def healthy_again() -> bool:
        (now,) = (state for state in stack.status(state_dir) if state.name == "postgres")
        return now.pid not in (0, before.pid) and now.reason is None

    _await(healthy_again, within_s=30, what="a new, healthy server")


def test_down_ends_detached_processes_too(state_dir: Path) -> None:
    assert _up(state_dir, "slack").returncode == 0
    context = stack.open_stack(state_dir)
    detached = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env=context.process_env(),
        start_new_session=True,
    )
    stack.down(state_dir, lambda line: None)
    detached.wait(timeout=10)
    assert sweep.leftovers(state_dir) == []


def test_down_lets_a_spark_jobs_python_stop_in_good_order(state_dir: Path) -> None:
    """The JVM above it and the worker below it must not be signalled before it has ended."""
    assert _up(state_dir, "slack").returncode == 0
    folder = state_dir / "include" / "spark_jobs" / "probe"
    folder.mkdir(parents=True)
    (folder / "job.py").write_text(
        "import pathlib, signal, subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "stop = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: stop.append(1))\n"
        "pathlib.Path(sys.argv[1] + '.ready').touch()\n"
        "while not stop: time.sleep(0.02)\n"
        "time.sleep(1)  # the micro-batch at hand\n"
        "pathlib.Path(sys.argv[1]).write_text(f'worker {worker.poll()}')\n"
    )
    proof = state_dir / "stopped-in-good-order"
    parent = subprocess.Popen(  # in the place of the JVM
        ["sh", "-c", f"'{sys.executable}' '{folder / 'job.py'}' '{proof}'; wait"],
        env=stack.open_stack(state_dir).process_env(), start_new_session=True,
    )  # fmt: skip
    ready = proof.with_name(proof.name + ".ready")
    _await(ready.exists, within_s=20, what="the job's start")
    stack.down(state_dir, lambda line: None)
    parent.wait(timeout=10)
    assert proof.read_text() == "worker None"
    assert sweep.leftovers(state_dir) == []


def test_a_taken_port_is_one_message_and_nothing_runs(state_dir: Path) -> None:
    import socket

    assert _up(state_dir, "slack").returncode == 0
    port = stack.open_stack(state_dir).ports["postgres"]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        outcome = _up(state_dir, "postgres")
    assert outcome.returncode == 1
    assert f"port {port} (postgres) is taken by another program" in outcome.stderr
    assert f"export WEBTOON_PORT_POSTGRES={port + 100}" in outcome.stderr
    assert "Traceback" not in outcome.stderr
