"""Events for an open loop, made beforehand so that making them takes no processor time from what is measured.

A file holds one MessagePack array a second of the plan; a record in it is (due, key, head, event time, tail):
`due` in ms from the start, the event's time in ms from the start or None, and the value is head + time + tail.
"""

import random
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from include.contract.event import Device, EventType, Platform, ReadingEvent, encode
from include.contract.rules import SessionRules
from include.simulator.catalogue import build_catalogue
from include.simulator.plan import DEFAULT_SHARES, Plan
from include.simulator.traffic import EVENT, Record, records

SCROLL_EVERY_MS = 6_000
_RULES = SessionRules()
OPEN_SPAN_MS = _RULES.gap_ms + _RULES.lateness_ms - 30_000
"""The last events of preloaded sessions spread over this time: some close in every second that follows."""
_TIMESTAMP = re.compile(rb'"timestamp":(\d{13})')
_SIZE = struct.Struct("<I")


class Timed(NamedTuple):
    """A record of the file; times in ms from the start."""

    due_ms: int
    key: bytes | None
    head: bytes | None
    event_ms: int | None
    tail: bytes

    def value(self, start_ms: int) -> bytes | None:
        """The record's value when the loop starts at `start_ms` (epoch ms)."""
        if self.event_ms is None or self.head is None:
            return self.head
        return b"%b%d%b" % (self.head, start_ms + self.event_ms, self.tail)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Timed]).decode


def write_live(file: Path, rate: float, seconds: float, readers: int, seed: int) -> int:
    """Write what `readers` simulated readers do at `rate` events a second, with the usual trouble; returns how many."""
    plan = Plan(
        int(time.time() * 1000),
        int(seconds * 1000),
        events=None,
        rate=rate,
        readers=readers,
        seed=seed,
        shares=DEFAULT_SHARES,
    )
    count = 0
    chunk: list[Timed] = []
    with file.open("wb") as output:
        for record in records(plan):
            timed = _timed(record, plan.start_ms)
            if chunk and timed.due_ms // 1000 != chunk[0].due_ms // 1000:
                _write(output, chunk)
                chunk = []
            chunk.append(timed)
            count += 1
        _write(output, chunk)
    return count


def read_live(file: Path) -> Iterator[list[Timed]]:
    """The file's records, second by second."""
    with file.open("rb") as stored:
        while size := stored.read(_SIZE.size):
            yield _decode(stored.read(_SIZE.unpack(size)[0]))


def _write(output: BinaryIO, chunk: list[Timed]) -> None:
    encoded = _encode(chunk)
    output.write(_SIZE.pack(len(encoded)) + encoded)


def _timed(record: Record, start_ms: int) -> Timed:
    due_ms = record.due_ms - start_ms
    found = None if record.value is None else _TIMESTAMP.search(record.value)
    if record.value is None or found is None:
        return Timed(due_ms, record.key, record.value, None, b"")
    head, tail = record.value[: found.start(1)], record.value[found.end(1) :]
    return Timed(due_ms, record.key, head, int(found[1]) - start_ms, tail)


def open_sessions(count: int, events_each: int, now_ms: int) -> Iterator[Record]:
    """Events of `count` sessions that are open at `now_ms`, in order of time: an enter and scrolls."""
    rng = random.Random(now_ms)
    episodes = [episode.episode_id for title in build_catalogue() for episode in title.episodes]
    step_ms = OPEN_SPAN_MS / count
    lag = max(1, round(SCROLL_EVERY_MS / step_ms))
    first_ms = now_ms - OPEN_SPAN_MS - SCROLL_EVERY_MS * (events_each - 1)
    prefix = f"open{rng.getrandbits(32):08x}"
    chosen = [rng.choice(episodes) for _ in range(997)]
    for slot in range(count + lag * (events_each - 1)):
        time_ms = int(first_ms + slot * step_ms)
        for number in range(events_each):
            session = slot - lag * number
            if 0 <= session < count:
                event = _open_event(prefix, session, number, time_ms, chosen[session % len(chosen)])
                yield Record(time_ms, EVENT, event.session_id.encode(), encode(event))


def _open_event(prefix: str, session: int, number: int, time_ms: int, episode_id: str) -> ReadingEvent:
    return ReadingEvent(
        event_id=f"{prefix}-{session}-{number}",
        user_id=f"u{session % 100_000:06d}",
        session_id=f"{prefix}-{session}",
        episode_id=episode_id,
        event_type=EventType.SCROLL if number else EventType.ENTER,
        country="KR",
        device=Device.PHONE,
        platform=Platform.ANDROID,
        timestamp=time_ms,
        scroll_ratio=min(1.0, number / 20) if number else None,
        experiments={"continue_button": "control"},
        ui_version="7.1.0",
        utc_offset_minutes=540,
    )
