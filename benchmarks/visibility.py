"""When each micro-batch could be read, by asking; and from that the freshness of every single event."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg

from benchmarks.stack import BenchmarkError
from include.common.kafka.offsets import watermarks

POLL_S = 0.02
"""The most by which a micro-batch may be seen too late; counted as freshness."""
PERCENTILES = (50, 95, 99, 100)


@dataclass(frozen=True)
class Seen:
    """A micro-batch: when (epoch s) it was seen, and when the ledger says that it was committed."""

    batch_id: int
    end: dict[int, int]
    seen_at: float
    committed_at: float


class VisibilityPoller:
    """Reads the ledger as any reader would, every POLL_S, on a thread of its own. Use as a context."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visibility")
        self._error: BaseException | None = None
        self.seen: list[Seen] = []

    def __enter__(self) -> "VisibilityPoller":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and error[0] is None:
            raise self._error

    def _run(self) -> None:
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                position = 0
                while not self._stop.wait(POLL_S):
                    rows = connection.execute(
                        "SELECT position, batch_id, end_offsets, extract(epoch FROM committed_at)"
                        " FROM ops.stream_batches WHERE position > %s ORDER BY position",
                        (position,),
                        prepare=True,
                    ).fetchall()
                    now = time.time()
                    for position, batch_id, end, committed_at in rows:  # noqa: B007  the newest is kept
                        ends = {int(partition): int(offset) for partition, offset in end.items()}
                        self.seen.append(Seen(batch_id, ends, now, float(committed_at)))
        except psycopg.Error as error:
            self._error = error

    def has_seen(self, ends: dict[int, int]) -> bool:
        """Whether everything before the offsets `ends` can be read."""
        if self._error is not None:
            raise BenchmarkError(f"the ledger cannot be read: {self._error}") from self._error
        reached = self.seen[-1].end if self.seen else {}
        return all(reached.get(partition, 0) >= end for partition, end in ends.items())


def await_visible(poller: VisibilityPoller, ends: dict[int, int], limit_s: float) -> None:
    """Wait until everything before the offsets `ends` can be read."""
    deadline = time.monotonic() + limit_s
    while not poller.has_seen(ends):
        if time.monotonic() > deadline:
            reached = poller.seen[-1].end if poller.seen else {}
            raise BenchmarkError(f"the stream is not done after {limit_s:.0f} s: at {reached} of {ends}")
        time.sleep(0.1)


def ends_of(bootstrap: str, topic: str) -> dict[int, int]:
    """Partition -> next offset."""
    marks = watermarks({"bootstrap.servers": bootstrap}, topic)
    return {partition: mark.high for partition, mark in marks.items()}


def kafka_times(
    bootstrap: str, topic: str, start: dict[int, int], end: dict[int, int]
) -> dict[int, "np.ndarray[Any, np.dtype[np.int64]]"]:
    """Partition -> Kafka timestamps (epoch ms) of the records from `start` to before `end`, by offset."""
    from confluent_kafka import Consumer, TopicPartition

    times = {partition: np.zeros(end[partition] - start[partition], np.int64) for partition in start}
    missing = sum(map(len, times.values()))
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "benchmark-times", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in start.items()])
    deadline = time.monotonic() + 300
    while missing > 0 and time.monotonic() < deadline:
        for message in consumer.consume(10_000, 1.0):
            if message.error() is None and message.offset() < end[message.partition()]:
                place = message.offset() - start[message.partition()]
                times[message.partition()][place] = message.timestamp()[1]
                missing -= 1
    consumer.close()
    if missing:
        raise BenchmarkError(f"{missing} records of {topic} were not read back")
    return times


def freshness_ms(
    times: dict[int, "np.ndarray[Any, np.dtype[np.int64]]"],
    start: dict[int, int],
    seen: list[Seen],
    first_ms: float,
    last_ms: float,
) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Of every event produced in [first_ms, last_ms): its commit, as seen by a reader, less its Kafka time; ms."""
    seen_ms = np.array([each.seen_at * 1000 for each in seen])
    found = []
    for partition, produced in times.items():
        ends = np.array([each.end.get(partition, 0) for each in seen])
        offsets = start[partition] + np.arange(len(produced))
        batch = np.searchsorted(ends, offsets, side="right")
        if len(batch) and batch.max() >= len(seen):
            raise BenchmarkError(f"records of partition {partition} are in no micro-batch")
        fresh = seen_ms[batch] - produced
        found.append(fresh[(produced >= first_ms) & (produced < last_ms)])
    return np.concatenate(found)


def percentiles(values: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, int]:
    """p50, p95, p99 and the greatest, in ms."""
    points = np.percentile(values, PERCENTILES)
    return {
        ("max_ms" if percent == 100 else f"p{percent}_ms"): round(float(point))
        for percent, point in zip(PERCENTILES, points, strict=True)
    }
