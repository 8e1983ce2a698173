"""What the archive's and the publisher's tests share: spark-submit as the operator runs it, and events."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Producer

from include.contract.event import Device, EventType, Platform, ReadingEvent, encode

PROJECT_ROOT = Path(__file__).resolve().parents[2]
NOW_MS = int(time.time() * 1000)
DAY_MS = 24 * 3600 * 1000


@dataclass
class SparkSubmit:
    """Runs a job of ours with one stack's environment."""

    env: Mapping[str, str]
    jars: str
    overrides: dict[str, str] = field(default_factory=dict)

    def __call__(self, job: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `include/spark_jobs/<job>/job.py` and return what it said; the caller checks the status."""
        spark = ["spark-submit", "--master", "local[2]", "--driver-memory", "1g", "--jars", self.jars]
        return self._run(spark, job, arguments, env)

    def plain(self, job: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """The same by Python alone: enough for what is refused before Spark starts."""
        return self._run([sys.executable], job, arguments, env)

    def _run(
        self, command: list[str], job: str, arguments: Sequence[str], env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        script = str(PROJECT_ROOT / "include" / "spark_jobs" / job / "job.py")
        environment = {**self.env, **self.overrides, **env}
        program = shutil.which(command[0], path=environment["PATH"])
        assert program is not None
        return subprocess.run(
            [program, *command[1:], script, *arguments],
            env=environment, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=150,
        )  # fmt: skip


def event(number: int, *, at_ms: int = NOW_MS, **changes: object) -> ReadingEvent:
    """A valid event; `number` makes its id, session and user."""
    fields: dict[str, object] = {
        "event_id": f"e{number}",
        "user_id": f"u{number % 7}",
        "session_id": f"s{number % 11}",
        "episode_id": f"ep{number % 5}",
        "event_type": EventType.ENTER,
        "country": "KR",
        "device": Device.PHONE,
        "platform": Platform.IOS,
        "timestamp": at_ms,
    }
    return ReadingEvent(**{**fields, **changes})  # type: ignore[arg-type]  # a test's own changes


def produce(bootstrap: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]) -> int:
    """Send records (key, value), the partition by the key's hash; return how many."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    count = 0
    for key, value in records:
        producer.produce(topic, value=value, key=key)
        count += 1
    assert producer.flush(30) == 0
    return count


def as_records(events: Sequence[ReadingEvent]) -> list[tuple[bytes, bytes]]:
    """Key and value of good events."""
    return [(item.session_id.encode(), encode(item)) for item in events]
