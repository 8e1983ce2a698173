"""A broker and a database of a benchmark's own, as durable as in production, on free ports; gone afterwards."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from include.common.kafka.topics import TopicSpec, create_missing_topics
from include.common.migrate import migrate
from include.common.postgres import create_database, with_database
from include.common.spark_conf import STREAM_DRIVER_MEMORY, stream_driver_conf
from local_stack import stack
from local_stack.context import Context
from local_stack.paths import PROJECT_ROOT, SPARK_JARS_DIR, jars, scripts_dir
from local_stack.signals import end_in_good_order_on_sigterm

MASTER = "local[2]"
STREAM_JOB = PROJECT_ROOT / "include" / "spark_jobs" / "stream_sessionize" / "job.py"
_PREFIX = ".stack-bench-"
_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")


class BenchmarkError(RuntimeError):
    """A part of the benchmark failed; the message has the last lines of its log."""


def say(line: str) -> None:
    """Progress goes to stderr: stdout holds tables and, last, the JSON object."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Stores:
    """A topic, a migrated database and a data folder that nobody used before."""

    topic: str
    control_topic: str
    dsn: str
    data_dir: Path

    @property
    def checkpoint(self) -> Path:
        """Checkpoint of the stream's first generation."""
        return self.data_dir / "checkpoints" / "generation=1"


@dataclass
class BenchStack:
    """The running parts."""

    context: Context

    @property
    def bootstrap(self) -> str:
        """Kafka's address."""
        return self.context.ports.address("kafka")

    def topic(self, name: str, partitions: int) -> str:
        """A fresh topic that keeps everything."""
        from confluent_kafka.admin import AdminClient

        fresh = f"{name}_{uuid.uuid4().hex[:8]}"
        create_missing_topics(
            AdminClient({"bootstrap.servers": self.bootstrap}),
            [TopicSpec(fresh, partitions, retention_ms=-1)],
        )
        return fresh

    def database(self, name: str) -> str:
        """DSN of a fresh, migrated database."""
        fresh = f"{name}_{uuid.uuid4().hex[:8]}"
        create_database(self.context.admin_dsn, fresh, owner="webtoon")
        dsn = with_database(self.context.features_dsn, fresh)
        migrate(dsn)
        return dsn

    def data_dir(self) -> Path:
        """A fresh data folder."""
        folder = self.context.paths.root / "runs" / uuid.uuid4().hex[:8]
        for name in ("landing", "checkpoints", "staging", "warehouse"):
            (folder / name).mkdir(parents=True)
        return folder

    def stores(self, topic: str) -> Stores:
        """Everything fresh that a run of the stream over `topic` needs."""
        return Stores(topic, self.topic("control", 1), self.database("ours"), self.data_dir())

    def environment(self, **more: str) -> dict[str, str]:
        """Environment of a process that joins the stack."""
        return self.context.process_env(more)

    def stream_environment(self, stores: Stores) -> dict[str, str]:
        """What Airflow's operator would give the stream's driver."""
        return self.environment(
            WEBTOON_POSTGRES_DSN=stores.dsn,
            WEBTOON_DATA_DIR=str(stores.data_dir),
            WEBTOON_EVENTS_TOPIC=stores.topic,
        )

    def spark_submit(self, application: Path, *arguments: str) -> list[str]:
        """Command line, with master and memory as in production; the stream also with its operator's settings."""
        folder = jars(SPARK_JARS_DIR, "spark-sql-kafka")
        listed = ",".join(str(jar) for jar in sorted(folder.glob("*.jar")))
        settings = stream_driver_conf() if application == STREAM_JOB else {}
        conf = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
        submit = str(scripts_dir() / "spark-submit")
        return [
            submit, "--master", MASTER, "--driver-memory", STREAM_DRIVER_MEMORY, *conf, "--jars", listed,
            str(application), *arguments,
        ]  # fmt: skip

    def durability(self) -> str:
        """What a power cut would leave, as the server says itself."""
        with psycopg.connect(self.context.features_dsn) as connection:
            values = []
            for name in _SETTINGS:
                row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
                values.append(f"{name}={row[0] if row else '?'}")
        return f"PostgreSQL {', '.join(values)}; Kafka one broker, acks=all, idempotent producer, flushed by the system"


@contextmanager
def running_stack(*components: str, keep: bool = False) -> Iterator[BenchStack]:
    """Kafka, PostgreSQL and what else is asked for; stopped and, unless `keep`, removed at the end."""
    end_in_good_order_on_sigterm()
    _remove_dead()
    folder = PROJECT_ROOT / f"{_PREFIX}{os.getpid()}"
    options = stack.Options(folder, {"kafka", "postgres", *components}, ephemeral_ports=True, durable=True)
    try:
        yield BenchStack(stack.up(options, say))
    finally:
        (stack.down if keep else stack.clean)(folder, lambda line: None)
        if keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_dead() -> None:
    for folder in PROJECT_ROOT.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX)
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            stack.clean(folder, lambda line: None)


def run_to_end(
    what: str, argv: list[str], environment: Mapping[str, str], log: Path, *, limit_s: float
) -> None:
    """Run a process with its output in `log`; raises BenchmarkError where it fails or takes too long."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv, env=dict(environment), cwd=PROJECT_ROOT, stdout=output, stderr=output
        )
    try:
        await_success(what, process, log, limit_s)
    finally:
        end_family(process)


def await_success(what: str, process: "subprocess.Popen[bytes]", log: Path, limit_s: float) -> None:
    """Wait for a process of ours; raises BenchmarkError where it fails or takes too long."""
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{what} is not done after {limit_s:.0f} s. {last_lines(log)}") from None
    if code != 0:
        raise BenchmarkError(f"{what} failed with exit status {code}. {last_lines(log)}")


def end_family(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process of ours and its children, if it still runs."""
    if process.poll() is not None:
        return
    parent = psutil.Process(process.pid)
    family = [*parent.children(recursive=True), parent]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=20)
    process.wait(20)


def last_lines(log: Path, count: int = 25) -> str:
    """The end of a log, for an error message."""
    lines = log.read_text(errors="replace").splitlines()[-count:] if log.exists() else []
    return f"Last lines of {log}:\n" + "\n".join(lines)


def cores() -> int:
    """Cores that this machine lets us use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine() -> str:
    """Processor, cores and memory, for the head of a table."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    return f"{model}, {cores()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def print_json(result: Mapping[str, Any]) -> None:
    """The last line of a benchmark."""
    print(json.dumps(result), flush=True)
