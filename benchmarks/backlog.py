"""Events on a topic, produced once for every engine of a run: a busy service's last hours, all sessions over.

Simulated readers with the usual repeats, records out of order and bad records, but none beyond the lateness (each
engine measures that against another clock). Behind them come closing events for every bucket, late enough that
the sessions before them are final.
"""

import time
import zlib
from dataclasses import dataclass

from benchmarks.stack import BenchmarkError
from include.common.kafka.offsets import watermarks
from include.contract.event import Device, EventType, Platform, ReadingEvent, encode
from include.contract.rules import SessionRules
from include.simulator.plan import DEFAULT_SHARES, Plan
from include.simulator.producer import send
from include.simulator.traffic import records

CLOSER = "closer"
"""What the session ids of the closing events begin with."""
MAX_BUCKETS = 64
"""Closing events fall into every bucket of a partition that has this many buckets, or a divisor of it."""
_RULES = SessionRules()
_AFTER_MS = _RULES.gap_ms + _RULES.lateness_ms + 60_000


@dataclass(frozen=True)
class Backlog:
    """What is on the topic."""

    records: int
    value_bytes: int
    ends: dict[int, int]
    """Partition -> next offset."""


def produce_backlog(bootstrap: str, topic: str, *, events: int, hours: float, readers: int) -> Backlog:
    """Send `events` good events of `hours` hours of event time, and what belongs to them."""
    now_ms = int(time.time() * 1000)
    duration_ms = int(hours * 3_600_000)
    start_ms = now_ms - _AFTER_MS - duration_ms
    plan = Plan(start_ms, duration_ms, events=events, readers=readers, shares={**DEFAULT_SHARES, "late": 0.0})
    client = {"bootstrap.servers": bootstrap}
    report = send(records(plan), client, topic)
    _close_sessions(client, topic, start_ms + duration_ms + _AFTER_MS)
    marks = watermarks(client, topic)
    total = sum(mark.high for mark in marks.values())
    return Backlog(total, report.value_bytes, {partition: mark.high for partition, mark in marks.items()})


def _close_sessions(client: dict[str, str], topic: str, time_ms: int) -> None:
    from confluent_kafka import Producer

    producer = Producer({**client, "acks": "all"})
    for partition in watermarks(client, topic):
        for key in _a_key_for_each_bucket(f"{CLOSER}-{partition}"):
            event = ReadingEvent(
                event_id=key,
                user_id=CLOSER,
                session_id=key,
                episode_id=CLOSER,
                event_type=EventType.ENTER,
                country="KR",
                device=Device.PHONE,
                platform=Platform.ANDROID,
                timestamp=time_ms,
            )
            producer.produce(topic, encode(event), key.encode(), partition)
    if producer.flush(30) != 0:
        raise BenchmarkError("the closing events did not get to the topic")


def _a_key_for_each_bucket(prefix: str) -> list[str]:
    """Session ids that spread over all buckets (see include.contract.bucket.bucket_of)."""
    keys: dict[int, str] = {}
    number = 0
    while len(keys) < MAX_BUCKETS:
        key = f"{prefix}-{number}"
        keys.setdefault(zlib.crc32(key.encode()) % MAX_BUCKETS, key)
        number += 1
    return list(keys.values())
