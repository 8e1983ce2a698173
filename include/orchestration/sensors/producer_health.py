"""What producer health means, as pure functions: what was found -> None, or what is wrong with figures.

No Airflow and no Kafka import. The texts become the `Why` line of an alert, so each says what was seen, what is
allowed and which variable sets that.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from include.common.kafka.offsets import Watermarks
from include.common.names import Var
from include.contract.event import Platform
from include.orchestration.alert_text import duration, moment

MAX_AHEAD = timedelta(minutes=5)
"""A record's time may be this far ahead of ours. Beyond, it would hide for as long that no event comes."""


@dataclass(frozen=True)
class TopicFound:
    """A topic as the broker describes it."""

    partitions: int
    without_leader: tuple[int, ...] = ()


@dataclass(frozen=True)
class PlatformScan:
    """What reading recent records gave: `held` were in the time asked for, `read` of them were looked at."""

    seen: frozenset[Platform]
    held: int
    read: int
    dead_letters: int


@dataclass(frozen=True)
class StreamPosition:
    """Where the current generation of the stream stands: the next offset by partition, by its last commit."""

    generation: int
    offsets: Mapping[int, int] = field(default_factory=dict)
    committed_at: datetime | None = None


def topic_fault(topic: str, found: TopicFound | None, expected_partitions: int, servers: str) -> str | None:
    """The topic is missing, has another number of partitions, or cannot be written everywhere."""
    if found is None:
        return f"topic {topic} is not on {servers}: it was deleted, or never made (DAG ops__migrate_store)"
    if found.partitions != expected_partitions:
        return (
            f"topic {topic} has {found.partitions} partitions, expected {expected_partitions}: where they were "
            f"changed, sessions have moved to other partitions; where they are right, set variable "
            f"{Var.EVENTS_PARTITIONS}"
        )
    if found.without_leader:
        numbers = ", ".join(map(str, found.without_leader))
        return f"topic {topic}: no broker leads partition {numbers}; events with its keys cannot be written"
    return None


def newest_event_fault(topic: str, newest: datetime | None, now: datetime, allowed: timedelta) -> str | None:
    """The newest event, by Kafka's time, is older than `allowed` (or there is none)."""
    limit = f"allowed {duration(allowed)}, variable {Var.NEWEST_EVENT_LIMIT_S}"
    if newest is None:
        return f"there is no event on {topic} ({limit})"
    if newest - now > MAX_AHEAD:
        return (
            f"the newest event on {topic} has Kafka time {moment(newest)}, {duration(newest - now)} ahead of now: "
            f"a producer's clock is wrong, and hides for as long whether events come"
        )
    if now - newest > allowed:
        return f"no event on {topic} since {moment(newest)}, {duration(now - newest)} ago ({limit})"
    return None


def platform_fault(
    topic: str, scan: PlatformScan, expected: Collection[Platform], since: datetime, allowed: timedelta
) -> str | None:
    """A platform of `expected` sent nothing in the `allowed` time, that is `since` then."""
    silent = [platform for platform in expected if platform not in scan.seen]
    if not silent:
        return None
    how = "all" if scan.read >= scan.held else f"{scan.read}, evenly spread,"
    seen = ", ".join(platform for platform in expected if platform in scan.seen) or "none"
    return (
        f"no event of platform {', '.join(silent)} on {topic} since {moment(since)}: {how} of {scan.held} records "
        f"were read, {scan.dead_letters} dead letters among them; platforms seen: {seen} "
        f"(allowed {duration(allowed)}, variable {Var.PLATFORM_SILENCE_LIMIT_S})"
    )


def stream_lag_fault(
    topic: str, held: Mapping[int, Watermarks], position: StreamPosition | None, allowed: int, now: datetime
) -> str | None:
    """The stream is more than `allowed` records behind the topic's end, or stands beyond it."""
    offsets = position.offsets if position else {}
    beyond = [
        f"{number} at {offsets[number]}, its end is {marks.high}"
        for number, marks in sorted(held.items())
        if offsets.get(number, 0) > marks.high
    ]
    if beyond:
        return (
            f"the stream stands beyond the end of {topic} (partition {'; '.join(beyond)}): the topic was deleted "
            f"and made anew; the stream needs a new generation"
        )
    lag = {number: marks.high - offsets.get(number, marks.low) for number, marks in held.items()}
    total = sum(lag.values())
    if total <= allowed:
        return None
    worst = max(lag, key=lag.__getitem__)
    return (
        f"the stream is {total} records behind the end of {topic}, {lag[worst]} of them on partition {worst} "
        f"(allowed {allowed}, variable {Var.STREAM_LAG_LIMIT}); {_last_commit(position, now)}"
    )


def _last_commit(position: StreamPosition | None, now: datetime) -> str:
    if position is None:
        return "it has never run"
    if position.committed_at is None:
        return f"generation {position.generation} has committed nothing yet"
    at = position.committed_at
    return f"generation {position.generation} committed last at {moment(at)}, {duration(now - at)} ago"
