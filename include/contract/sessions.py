"""Sessions and readings as a pure function of a set of events: the meaning, with no state and no clock.

`split_sessions` and `readings_of` are what every other implementation (the bucket engine, the SQL
recomputation) must agree with. Events come in as `StoredEvent`s that are already accepted and unique
by event_id.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from include.contract.event import EventType, ReadingEvent
from include.contract.rules import SessionRules


class Status(StrEnum):
    """Where a reading stands."""

    ACTIVE = "active"
    COMPLETED = "completed"
    EXITED = "exited"
    TIMED_OUT = "timed_out"


class Attributes(NamedTuple):
    """Who read, where and with what: a reading takes those of its earliest event."""

    user_id: str
    country: str
    device: str
    platform: str
    experiments: dict[str, str] | None
    ui_version: str | None


class StoredEvent(NamedTuple):
    """What an open session keeps of an event. Tuples sort by (timestamp_ms, event_id): the session's order."""

    timestamp_ms: int
    event_id: str
    episode_id: str
    event_type: str
    scroll_ratio: float | None
    kafka_ms: int
    offset: int
    attributes: Attributes

    @classmethod
    def of(cls, event: ReadingEvent, kafka_ms: int, offset: int) -> "StoredEvent":
        """Keep `event`, which arrived as the record at `offset` with Kafka timestamp `kafka_ms`."""
        return cls(
            event.timestamp,
            event.event_id,
            event.episode_id,
            event.event_type.value,
            None if event.scroll_ratio is None else event.scroll_ratio + 0.0,  # -0.0 becomes 0.0
            kafka_ms,
            offset,
            Attributes(
                event.user_id,
                event.country,
                event.device.value,
                event.platform.value,
                event.experiments or None,
                event.ui_version,
            ),
        )


class ReadingKey(NamedTuple):
    """Identity of a reading."""

    session_id: str
    session_start_ms: int
    episode_id: str


class Reading(NamedTuple):
    """One episode read inside one session: a row of realtime.session_features. Times in epoch ms."""

    session_id: str
    session_start_ms: int
    episode_id: str
    user_id: str
    country: str
    device: str
    platform: str
    experiments: dict[str, str] | None
    ui_version: str | None
    status: str
    is_exit_tag: bool | None
    completion_rate: float
    max_scroll_ratio: float | None
    event_count: int
    scroll_event_count: int
    dwell_time_ms: int
    started_at_ms: int
    ended_at_ms: int
    is_final: bool
    source_partition: int
    last_offset: int
    last_event_kafka_ms: int

    @property
    def key(self) -> ReadingKey:
        """The row's identity."""
        return ReadingKey(self.session_id, self.session_start_ms, self.episode_id)


def split_sessions(events: Iterable[StoredEvent], rules: SessionRules) -> list[list[StoredEvent]]:
    """Cut unique events of one session_id into sessions, each in (timestamp, event_id) order.

    A session is a maximal run with no gap above `gap_ms`, no longer than `max_length_ms` from its start.
    """
    sessions: list[list[StoredEvent]] = []
    start_ms = last_ms = 0
    for event in sorted(events, key=_in_session_order):
        time_ms = event.timestamp_ms
        if sessions and time_ms - last_ms <= rules.gap_ms and time_ms - start_ms <= rules.max_length_ms:
            sessions[-1].append(event)
        else:
            sessions.append([event])
            start_ms = time_ms
        last_ms = time_ms
    return sessions


def readings_of(
    session_id: str,
    partition: int,
    session: list[StoredEvent],
    rules: SessionRules,
    *,
    is_over: bool,
    is_final: bool,
) -> list[Reading]:
    """Return the readings of one session (as `split_sessions` gives it), in order of their first event.

    `is_over`: no event is expected any more, so what is still active timed out. `is_final`: none can come.
    """
    start_ms = session[0].timestamp_ms
    by_episode: dict[str, list[StoredEvent]] = {}
    dwell_ms: dict[str, int] = {}
    previous: StoredEvent | None = None
    for event in session:
        by_episode.setdefault(event.episode_id, []).append(event)
        if previous is not None and previous.event_type != EventType.EXIT:
            pause_ms = min(event.timestamp_ms - previous.timestamp_ms, rules.dwell_cap_ms)
            dwell_ms[previous.episode_id] = dwell_ms.get(previous.episode_id, 0) + pause_ms
        previous = event
    return [
        _reading(session_id, partition, start_ms, events, dwell_ms.get(episode_id, 0), is_over, is_final)
        for episode_id, events in by_episode.items()
    ]


def _in_session_order(event: StoredEvent) -> tuple[int, str]:
    return event[0], event[1]


def _reading(
    session_id: str,
    partition: int,
    start_ms: int,
    events: list[StoredEvent],
    dwell_time_ms: int,
    is_over: bool,
    is_final: bool,
) -> Reading:
    first, last = events[0], events[-1]
    types = [event.event_type for event in events]
    ratios = [event.scroll_ratio for event in events if event.scroll_ratio is not None]
    max_ratio = max(ratios, default=None)
    if EventType.COMPLETE in types:
        status, is_exit_tag, completion_rate = Status.COMPLETED, False, 1.0
    else:
        completion_rate = 0.0 if max_ratio is None else max_ratio
        if last.event_type == EventType.EXIT:
            status, is_exit_tag = Status.EXITED, True
        elif is_over:
            status, is_exit_tag = Status.TIMED_OUT, True
        else:
            status, is_exit_tag = Status.ACTIVE, None
    return Reading(
        session_id=session_id,
        session_start_ms=start_ms,
        episode_id=first.episode_id,
        **first.attributes._asdict(),
        status=status.value,
        is_exit_tag=is_exit_tag,
        completion_rate=completion_rate,
        max_scroll_ratio=max_ratio,
        event_count=len(events),
        scroll_event_count=types.count(EventType.SCROLL.value),
        dwell_time_ms=dwell_time_ms,
        started_at_ms=first.timestamp_ms,
        ended_at_ms=last.timestamp_ms,
        is_final=is_final,
        source_partition=partition,
        last_offset=max(event.offset for event in events),
        last_event_kafka_ms=max(event.kafka_ms for event in events),
    )
