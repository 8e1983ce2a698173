"""How late the producer of the freshness benchmark was is told by its worst record, not by the last of a second."""

from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import open_loop
from benchmarks.live_events import Timed
from benchmarks.open_loop import OpenLoop

START_MS = 1_800_000_000_000


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now_s = START_MS / 1000

    def time(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class FullProducer:
    """A client whose queue is full for the first `full_s` of the waiting."""

    def __init__(self, clock: Clock, full_s: float) -> None:
        self._clock = clock
        self._full_until_s = clock.time() + full_s
        self.sent: list[int] = []

    def produce(self, topic: str, value: bytes, key: bytes, *, timestamp: int) -> None:
        if self._clock.time() < self._full_until_s:
            raise BufferError
        self.sent.append(timestamp - START_MS)

    def poll(self, timeout: float) -> None:
        self._clock.sleep(timeout)


def record(due_ms: int) -> Timed:
    return Timed(due_ms, b"k", b"v", None, b"")


def test_the_worst_record_of_a_second_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    producer = FullProducer(clock, full_s=0.5)

    def make(config: dict[str, Any]) -> FullProducer:
        return producer

    monkeypatch.setattr("confluent_kafka.Producer", make)
    monkeypatch.setattr(open_loop, "time", SimpleNamespace(time=clock.time, sleep=clock.sleep))
    loop = OpenLoop("nowhere:1", "t", START_MS)
    loop.send([record(0), record(100), record(900)])
    loop.send([record(1000)])
    assert producer.sent == [0, 100, 900, 1000]
    assert loop.behind_ms[0] == pytest.approx(500, abs=11), "the first one waited"
    assert loop.behind_ms[1] == pytest.approx(0, abs=1)
