"""What the stream's tests share: a seeded topic with every kind of trouble, and the job as a process."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer

from include.contract.event import ContractError, accept_record
from tests.vectors import VectorRecord

PROJECT_ROOT = Path(__file__).resolve().parents[2]
JOB = PROJECT_ROOT / "include" / "spark_jobs" / "stream_sessionize" / "job.py"
BASE_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z, where the event times of `busy_topic` begin."""
MINUTE_MS = 60_000
_BAD = (
    b"", b"not json", b"[]", b"{}", b'{"event_id": 7}', b"\xff\xfe", b'{"a":' * 3000, None,
)  # fmt: skip


def busy_topic(seed: int, size: int, partitions: int) -> list[VectorRecord]:
    """`size` records: readers at all hours, disorder, repeats, ids used again, late and bad events, long sessions.

    Event time runs for about a day and a half, so most sessions become final on the way.
    """
    rng = random.Random(seed)
    offsets = [0] * partitions
    records: list[VectorRecord] = []
    sent: list[dict[str, Any]] = []
    step_ms = 36 * 60 * MINUTE_MS / size
    live = [_reader(rng, number) for number in range(120)]
    while len(records) < size:
        now_ms = BASE_MS + int(len(records) * step_ms)
        if rng.random() < 0.05:
            live[rng.randrange(len(live))] = _reader(rng, len(records))
        event = _event(rng, rng.choice(live), len(records), now_ms)
        if sent and rng.random() < 0.03:
            event = dict(rng.choice(sent[-400:]))  # a repeat
            if rng.random() < 0.2:
                event["timestamp"] = now_ms  # the id used again, for another event
        sent.append(event)
        key, value = event["session_id"].encode(), json.dumps(event).encode()
        if rng.random() < 0.02:
            key, value = _spoilt(rng, key, event, now_ms)
        partition = sum(event["session_id"].encode()) % partitions
        kafka_ms = now_ms + rng.randrange(3000)
        records.append(VectorRecord(partition, offsets[partition], kafka_ms, key, value))
        offsets[partition] += 1
    return records


def _reader(rng: random.Random, number: int) -> dict[str, Any]:
    return {
        "user_id": f"u{rng.randrange(150)}",
        "session_id": f"s{number}-{rng.choice(['a', 'é', '독자'])}",
        "country": rng.choice(["KR", "JP", "US", "FR"]),
        "device": rng.choice(["phone", "tablet", "desktop"]),
        "platform": rng.choice(["ios", "android", "web"]),
        "episodes": [f"ep{rng.randrange(60)}" for _ in range(rng.randint(1, 4))],
        "experiments": rng.choice([None, {}, {"cta": rng.choice("ab"), "rang": "x"}]),
        "ui_version": rng.choice([None, "3.1", "3.2"]),
    }


def _event(rng: random.Random, reader: dict[str, Any], number: int, now_ms: int) -> dict[str, Any]:
    kind = rng.choices(["enter", "scroll", "complete", "exit"], [2, 6, 1, 1])[0]
    # out of order within what is allowed, sometimes further back (late, or a bridge to an earlier session)
    delay_ms = rng.choices(
        [0, rng.randrange(110_000), 120_000, rng.randrange(120_000, 7_200_000)], [60, 34, 2, 4]
    )[0]
    event = {name: reader[name] for name in ("user_id", "session_id", "country", "device", "platform")}
    event |= {
        "event_id": f"e{number}",
        "episode_id": rng.choice(reader["episodes"]),
        "event_type": kind,
        "timestamp": now_ms - delay_ms,
    }
    if kind == "scroll" or rng.random() < 0.1:
        event["scroll_ratio"] = rng.choice([rng.random(), 0.0, 1.0, 0.0000005, 0.1234565])
    for name in ("experiments", "ui_version"):
        if reader[name] is not None:
            event[name] = reader[name]
    if rng.random() < 0.01:
        event["country"] = "DE"  # the reader's earliest event decides
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
        {"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}
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
        spark = [program, "--master", "local[2]", "--driver-memory", "1g", "--jars", self.jars]
        return [*spark, str(JOB), "--control-topic", self.control_topic, *arguments]

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
                self.command(*arguments), env=self.environment(), cwd=PROJECT_ROOT, stdout=log, stderr=log
            )
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


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of driver, JVM and Python workers at once."""
    import psutil

    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)
    process.wait(20)


def scalar(dsn: str, statement: str, *parameters: object) -> Any:
    """The first value of a query's first row."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(statement.encode(), parameters or None).fetchone()
        return None if row is None else row[0]
