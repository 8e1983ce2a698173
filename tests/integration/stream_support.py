"""What the stream's tests share: a seeded topic with every kind of trouble, and the job as a process."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import psycopg
from confluent_kafka import Producer

from include.common.spark_conf import STREAM_DRIVER_MEMORY, stream_driver_conf
from include.contract.bucket import bucket_of
from include.contract.event import ContractError, accept_record
from include.spark_jobs.stream_sessionize.generations import Plan
from tests.vectors import VectorRecord

PROJECT_ROOT = Path(__file__).resolve().parents[2]
JOB = PROJECT_ROOT / "include" / "spark_jobs" / "stream_sessionize" / "job.py"
BASE_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z, where the event times of `busy_topic` begin."""
MINUTE_MS = 60_000
DURATION_MS = 36 * 60 * MINUTE_MS
RUSH_MS = 2 * 60 * MINUTE_MS
_BAD = (
    b"", b"not json", b"[]", b"{}", b'{"event_id": 7}', b"\xff\xfe", b'{"a":' * 3000, None,
)  # fmt: skip


def busy_topic(seed: int, size: int, partitions: int) -> list[VectorRecord]:
    """`size` records in order of arrival: readers at all hours, disorder (earlier starts and bridges among it),
    repeats, ids used again, late and bad events, sessions longer than a day.

    Event time runs for a day and a half, so most sessions become final on the way; most begin in the first two
    hours, so that what belongs together often falls into different micro-batches.
    """
    rng = random.Random(seed)
    arrivals: list[tuple[int, dict[str, Any]]] = []
    for number in range(3):
        times = range(BASE_MS, BASE_MS + DURATION_MS, rng.randrange(15, 25) * MINUTE_MS)
        arrivals += _visit(rng, _reader(rng, f"long{number}"), times)
    number = 0
    while len(arrivals) < size * 0.96:
        number += 1
        reader = _reader(rng, f"s{number}")
        for _ in range(rng.choice([1, 1, 2, 3])):
            start_ms = BASE_MS + rng.randrange(rng.choices([RUSH_MS, DURATION_MS], [9, 1])[0])
            arrivals += _visit(rng, reader, _times(rng, start_ms))
        if number % 5 == 0:
            arrivals += _bridge(rng, reader, start_ms + 90 * MINUTE_MS)
    for arrival_ms, event in rng.choices(arrivals, k=size - len(arrivals)):
        later_ms = arrival_ms + rng.choice([0, 500, 90_000, 40 * MINUTE_MS])
        again = {**event, "timestamp": later_ms, "country": "SE"} if rng.random() < 0.1 else event
        arrivals.append((later_ms, again))
    arrivals.sort(key=lambda it: it[0])
    return _as_records(rng, arrivals[:size], partitions)


def _as_records(
    rng: random.Random, arrivals: list[tuple[int, dict[str, Any]]], partitions: int
) -> list[VectorRecord]:
    offsets = [0] * partitions
    records = []
    for arrival_ms, event in arrivals:
        key: bytes | None = event["session_id"].encode()
        value: bytes | None = json.dumps(event).encode()
        partition = zlib.adler32(event["session_id"].encode()) % partitions
        if rng.random() < 0.02:
            key, value = _spoilt(rng, event["session_id"].encode(), event, arrival_ms)
        records.append(VectorRecord(partition, offsets[partition], arrival_ms, key, value))
        offsets[partition] += 1
    return records


def _reader(rng: random.Random, name: str) -> dict[str, Any]:
    return {
        "user_id": f"u{rng.randrange(150)}",
        "session_id": f"{name}-{rng.choice(['a', 'é', '독자'])}",
        "country": rng.choice(["KR", "JP", "US", "FR"]),
        "device": rng.choice(["phone", "tablet", "desktop"]),
        "platform": rng.choice(["ios", "android", "web"]),
        "episodes": [f"ep{rng.randrange(60)}" for _ in range(rng.randint(1, 4))],
        "experiments": rng.choice([None, {}, {"cta": rng.choice("ab"), "rang": "x"}]),
        "ui_version": rng.choice([None, "3.1", "3.2"]),
    }


def _times(rng: random.Random, start_ms: int) -> list[int]:
    times = [start_ms]
    for _ in range(rng.randrange(3, 40)):
        times.append(times[-1] + rng.choice([rng.randrange(60_000), rng.randrange(60_000), 20 * MINUTE_MS]))
    return times


def _visit(
    rng: random.Random, reader: dict[str, Any], times: Iterable[int]
) -> list[tuple[int, dict[str, Any]]]:
    arrivals = [(time_ms + _delay_ms(rng), _event(rng, reader, time_ms)) for time_ms in times]
    if rng.random() < 0.5:  # its first event comes after others: an earlier start
        first_ms = arrivals[0][1]["timestamp"]
        arrivals[0] = (first_ms + rng.randrange(90_000, 118_000), arrivals[0][1])
    return arrivals


def _bridge(rng: random.Random, reader: dict[str, Any], start_ms: int) -> list[tuple[int, dict[str, Any]]]:
    """Two sessions 31 minutes apart, then the event between them that makes them one."""
    offsets_and_delays = ((0, 0), (31 * MINUTE_MS, 0), (30 * MINUTE_MS - 10_000, 80_000))
    return [(start_ms + at + delay, _event(rng, reader, start_ms + at)) for at, delay in offsets_and_delays]


def _delay_ms(rng: random.Random) -> int:
    """Out of order within what is allowed, sometimes further behind."""
    return rng.choices([rng.randrange(3000), rng.randrange(110_000), rng.randrange(7_200_000)], [60, 36, 4])[
        0
    ]


def _event(rng: random.Random, reader: dict[str, Any], time_ms: int) -> dict[str, Any]:
    kind = rng.choices(["enter", "scroll", "complete", "exit"], [2, 6, 1, 1])[0]
    event = {name: reader[name] for name in ("user_id", "session_id", "country", "device", "platform")}
    event |= {
        "event_id": f"e{rng.randrange(2**40)}",
        "episode_id": rng.choice(reader["episodes"]),
        "event_type": kind,
        "timestamp": time_ms,
    }
    if kind == "scroll" or rng.random() < 0.1:
        event["scroll_ratio"] = rng.choice([rng.random(), 0.0, 1.0, 0.0000005, 0.1234565])
    for name in ("experiments", "ui_version"):
        if reader[name] is not None:
            event[name] = reader[name]
    if rng.random() < 0.02:  # the reading's earliest event decides, whichever arrives first
        event |= {"country": "DE", "user_id": f"u{rng.randrange(150)}"}
    return event


def _spoilt(
    rng: random.Random, key: bytes, event: dict[str, Any], now_ms: int
) -> tuple[bytes | None, bytes | None]:
    choice = rng.randrange(6)
    if choice == 0:
        return key, rng.choice(_BAD)
    if choice == 1:
        return None, json.dumps(event).encode()
    if choice == 2:
        return b"another", json.dumps(event).encode()
    if choice == 3:
        return key, json.dumps({**event, "country": "XX"}).encode()
    if choice == 4:
        return key, json.dumps({**event, "user_id": "a\u0000b"}).encode()
    return key, json.dumps({**event, "timestamp": now_ms + 10 * MINUTE_MS}).encode()


def is_spoilt(record: VectorRecord) -> bool:
    """Whether `busy_topic` spoilt it, by what it does to a record and not by the contract."""
    if record.key is None or record.value is None or record.value in _BAD:
        return True
    event = json.loads(record.value)
    return (
        record.key != event["session_id"].encode()
        or event["country"] == "XX"
        or "\0" in event["user_id"]
        or event["timestamp"] > record.kafka_ms + 5 * MINUTE_MS
    )


def good(records: Iterable[VectorRecord]) -> Iterator[tuple[int, int, int, bytes]]:
    """(partition, offset, kafka_ms, value) of the records that the contract accepts."""
    for record in records:
        try:
            accept_record(record.key, record.value, record.kafka_ms)
        except ContractError:
            continue
        assert record.value is not None
        yield record.partition, record.offset, record.kafka_ms, record.value


def produce(bootstrap: str, topic: str, records: Iterable[VectorRecord]) -> int:
    """Send `records` with the partitions, offsets and times they say; returns how many."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "enable.idempotence": True,  # a message that is sent again keeps its place
            "queue.buffering.max.messages": 1_000_000,
            "message.max.bytes": 8_000_000,
        }
    )
    wrong: list[str] = []
    count = 0

    def check(record: VectorRecord) -> Callable[[Any, Any], None]:
        def delivered(error: Any, message: Any) -> None:
            if error is not None or message.offset() != record.offset:
                wrong.append(f"{record[:3]}: {error or message.offset()}")

        return delivered

    for record in records:
        producer.produce(
            topic, value=record.value, key=record.key, partition=record.partition, timestamp=record.kafka_ms,
            on_delivery=check(record),
        )  # fmt: skip
        producer.poll(0)
        count += 1
    assert producer.flush(30) == 0
    assert not wrong, wrong[:5]
    return count


def first_bucket_session(name: str) -> str:
    """A session id of a topic's first bucket: all such share a clock."""
    candidates = (f"{name}-{number}" for number in count())
    return next(it for it in candidates if bucket_of(it, 0, Plan().buckets_per_partition) == 0)


def send_tick(bootstrap: str, topic: str, wall_ms: int) -> None:
    """What the supervisor sends every minute."""
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value=b"tick", timestamp=wall_ms)
    assert producer.flush(30) == 0


@dataclass
class StreamJob:
    """The stream's command line with stores of one test."""

    env: Mapping[str, str]
    jars: str
    dsn: str
    data_dir: Path
    topic: str
    control_topic: str
    overrides: dict[str, str] = field(default_factory=dict)
    script: Path = JOB
    prefix: tuple[str, ...] = ()
    """What stands before spark-submit."""
    folder: Path = PROJECT_ROOT
    """Where it is started: Spark's Python workers take `include` from there."""

    @property
    def log(self) -> Path:
        """Everything the job said."""
        return self.data_dir / "stream.log"

    @property
    def checkpoint(self) -> Path:
        """Checkpoint of the first generation."""
        return self.data_dir / "checkpoints" / "generation=1"

    def command(self, *arguments: str) -> list[str]:
        """The spark-submit command line."""
        program = shutil.which("spark-submit", path=self.environment()["PATH"])
        assert program is not None
        conf = [
            word for name, value in stream_driver_conf().items() for word in ("--conf", f"{name}={value}")
        ]
        memory = ("--driver-memory", STREAM_DRIVER_MEMORY)
        spark = [program, "--master", "local[2]", *memory, *conf, "--jars", self.jars]
        return [*self.prefix, *spark, str(self.script), "--control-topic", self.control_topic, *arguments]

    def environment(self) -> dict[str, str]:
        """What Airflow's operator would give."""
        return {
            **self.env,
            "WEBTOON_POSTGRES_DSN": self.dsn,
            "WEBTOON_DATA_DIR": str(self.data_dir),
            "WEBTOON_EVENTS_TOPIC": self.topic,
            **self.overrides,
        }

    def catch_up(self, *arguments: str, timeout_s: float = 150) -> None:
        """Run until everything on the topic is done."""
        with self.running("--stop-when-caught-up", *arguments) as process:
            assert process.wait(timeout_s) == 0, self.log.read_text()[-6000:]

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """The job as a process, killed with its children if it is still there at the end."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                self.command(*arguments), env=self.environment(), cwd=self.folder, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                kill_tree(process)

    def await_that(
        self, what: str, condition: Callable[[], bool], process: subprocess.Popen[bytes], limit_s: float = 60
    ) -> None:
        """Wait until `condition` holds; fails if the job ends before, or after the limit."""
        deadline = time.monotonic() + limit_s
        while not condition():
            ended = process.poll() is not None and not condition()
            assert not ended, f"ended before {what}: {self.log.read_text()[-6000:]}"
            assert time.monotonic() < deadline, f"not in {limit_s} s: {what}; {self.log.read_text()[-6000:]}"
            time.sleep(0.05)


def python_workers(session: int) -> list[psutil.Process]:
    """Those of the driver that leads `session`: Spark forks them from a daemon of the same command line."""
    daemons = [
        process
        for process in psutil.process_iter(["cmdline", "ppid"])
        if "pyspark.daemon" in (process.info["cmdline"] or []) and os.getsid(process.pid) == session
    ]
    pids = {process.pid for process in daemons}
    return [process for process in daemons if process.info["ppid"] in pids]


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of driver, JVM and Python workers at once."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        with suppress(psutil.NoSuchProcess):  # a worker may end while its parent is being killed
            member.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)
    process.wait(20)


def scalar(dsn: str, statement: str, *parameters: object) -> Any:
    """The first value of a query's first row."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(statement.encode(), parameters or None).fetchone()
        return None if row is None else row[0]
