"""Where a new generation begins to read, and from which moment on its readings count.

A session is right only if the reader saw it from its start, and the silence before it. So reading starts a
warm-up before the point: greatest length, gap, lateness, and the most that a producer's clock may be ahead of
Kafka's. Readings of sessions that began before the point are copied from the current generation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from include.contract.event import MAX_FUTURE_MS
from include.contract.rules import SessionRules
from include.orchestration.roll_out.form import EARLIEST, TIMESTAMP, FormError, Wish

Offsets = dict[str, int]


@dataclass(frozen=True)
class Held:
    """What Kafka holds by partition: the first offset, the next one, and when (epoch ms) the first record
    came."""

    low: Offsets
    high: Offsets
    first_ms: Mapping[str, int]
    offsets_at: Callable[[int], Offsets]
    """Kafka time (epoch ms) -> the first offsets of that time or later."""
    times_at: Callable[[Offsets], Mapping[str, int]]
    """Offsets -> Kafka time of the record there, without those that are at the end."""

    @property
    def everything(self) -> bool:
        """Was no record ever deleted?"""
        return not any(self.low.values())


@dataclass(frozen=True)
class Start:
    """`publish_from_ms`: the point (epoch ms of event time), None where every reading is computed anew."""

    offsets: Offsets
    publish_from_ms: int | None
    notes: tuple[str, ...] = ()


def warm_up_ms(rules: SessionRules) -> int:
    """How long before the point reading starts."""
    return rules.max_length_ms + rules.gap_ms + rules.lateness_ms + MAX_FUTURE_MS


def choose_start(
    wish: Wish, rules: SessionRules, held: Held, oldest_open_ms: int | None, now_ms: int
) -> Start:
    """The start that `wish` asks for, moved earlier where sessions that began before it are still open.

    `oldest_open_ms`: start of the oldest session that the current generation may still change. Raises
    FormError.
    """
    before_open_ms = now_ms if oldest_open_ms is None else min(now_ms, oldest_open_ms - rules.lateness_ms)
    if wish.start == EARLIEST:
        return _earliest(rules, held, before_open_ms, now_ms)
    if wish.start == TIMESTAMP:
        assert wish.timestamp_ms is not None
        return _from_time(wish.timestamp_ms, rules, held, before_open_ms, now_ms)
    assert wish.offsets is not None
    return _from_offsets(wish.offsets, rules, held, before_open_ms)


def _earliest(rules: SessionRules, held: Held, before_open_ms: int, now_ms: int) -> Start:
    if held.everything:
        return Start(held.low, None)
    reach_ms = _reach_ms(rules, held)
    if reach_ms > now_ms:
        raise FormError(
            f"Kafka holds events since {_text(min(held.first_ms.values(), default=now_ms))}; with these rules the first "
            f"session that can be computed from them begins at {_text(reach_ms)}: wait until then, or keep events longer"
        )
    note = "sessions that began before that and are still open are copied as they are and never become final"
    return Start(held.low, reach_ms, (note,) if before_open_ms < reach_ms else ())


def _from_time(wanted_ms: int, rules: SessionRules, held: Held, before_open_ms: int, now_ms: int) -> Start:
    if wanted_ms > now_ms:
        raise FormError(f"from_timestamp {_text(wanted_ms)} is in the future")
    if not held.everything and wanted_ms < (reach_ms := _reach_ms(rules, held)):
        raise FormError(
            f"Kafka no longer holds what it takes to compute readings from {_text(wanted_ms)} on; the earliest "
            f"timestamp is {_text(reach_ms)} (start=earliest takes it)"
        )
    point_ms = min(wanted_ms, before_open_ms)
    if not held.everything and point_ms < _reach_ms(rules, held):
        return _earliest(rules, held, before_open_ms, now_ms)
    found = held.offsets_at(point_ms - warm_up_ms(rules))
    offsets = {partition: max(found.get(partition, 0), low) for partition, low in held.low.items()}
    if held.everything and not any(offsets.values()):
        return Start(offsets, None)
    if point_ms == wanted_ms:
        return Start(offsets, point_ms)
    note = f"sessions that began before {_text(wanted_ms)} are still open: computed anew from {_text(point_ms)} on"
    return Start(offsets, point_ms, (note,))


def _from_offsets(offsets: Offsets, rules: SessionRules, held: Held, before_open_ms: int) -> Start:
    if offsets.keys() != held.low.keys():
        raise FormError(
            f"from_offsets names partitions {', '.join(sorted(offsets))}; the topic has {', '.join(sorted(held.low))}"
        )
    for partition, offset in offsets.items():
        low, high = held.low[partition], held.high[partition]
        if not low <= offset <= high:
            raise FormError(f"from_offsets: partition {partition} holds {low} to {high}, not {offset}")
    if held.everything and not any(offsets.values()):
        return Start(offsets, None)
    times = held.times_at(offsets)
    # at its end a partition has nothing to read: all of it that comes is new
    late = [partition for partition in offsets if partition not in times and held.high[partition] > 0]
    point_ms = max(times.values(), default=before_open_ms + 1) + warm_up_ms(rules)
    if late or point_ms > before_open_ms:
        latest = held.offsets_at(before_open_ms - warm_up_ms(rules))
        raise FormError(
            f"from_offsets is too late: sessions that began after {_text(before_open_ms)} are open or still to come, and "
            f"must be read from before their start. These would do: {latest}"
        )
    return Start(offsets, point_ms)


def _reach_ms(rules: SessionRules, held: Held) -> int:
    """From when on Kafka's records are enough; a partition that is empty holds nothing back."""
    return max(held.first_ms.values(), default=0) + warm_up_ms(rules)


def _text(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
