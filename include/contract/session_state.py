"""The open sessions of one session_id: their events, compactly encoded, and when something is due.

The encoded form starts with a fixed header (version, two due times, wall clock, partition) that can be
read without decoding the events, so that idle sessions cost nothing until they are touched or due.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

import msgspec

from include.contract.rules import SessionRules
from include.contract.sessions import (
    Attributes,
    Reading,
    ReadingKey,
    StoredEvent,
    readings_of,
    split_sessions,
)

STATE_VERSION: Final = 1
NEVER_MS: Final = 2**62
"""A due time that never comes."""

_HEADER = struct.Struct("<Bqqqi")
_TYPE_CODES: Final = ("enter", "scroll", "complete", "exit")
_CODE_OF_TYPE: Final = {name: code for code, name in enumerate(_TYPE_CODES)}


class StateVersionError(RuntimeError):
    """State was written by another version of the project; the message says what to do."""


class _Body(msgspec.Struct, array_like=True, gc=False):
    """Encoded events; attributes and episodes are stored once and referred to by index."""

    attributes: list[Attributes]
    episodes: list[str]
    # timestamp_ms, event_id, episode, type, scroll_ratio, kafka_ms, offset, attributes
    events: list[tuple[int, str, int, int, float | None, int, int, int]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


@dataclass(slots=True)
class SessionState:
    """Events of the sessions of one session_id that are not final yet, and the rows last emitted for them."""

    session_id: str
    partition: int
    wall_ms: int = -1
    """Wall clock (epoch ms of the newest tick) that the last emitted rows were made with; -1: none."""
    events: dict[str, StoredEvent] = field(default_factory=dict)
    emitted: dict[ReadingKey, Reading] = field(default_factory=dict)
    final: list[Reading] = field(default_factory=list)
    """Rows that became final since the state was opened."""
    due_ms: int = NEVER_MS
    """No session here can be final while (bucket clock - lateness) is not above this (a lower bound)."""
    changed: bool = False

    def add(self, event: StoredEvent, rules: SessionRules) -> None:
        """Take an accepted event that is not a repeat."""
        self.events[event.event_id] = event
        self.due_ms = min(self.due_ms, event.timestamp_ms + rules.gap_ms)
        self.changed = True

    def finalise(self, horizon_ms: int, rules: SessionRules) -> None:
        """Move sessions whose last event is more than the gap before `horizon_ms` into `final`.

        `horizon_ms` is the earliest time an event may still have, so nothing can join them. Those are always
        the earliest ones, so what stays is a suffix of the events in session order.
        """
        self.due_ms = NEVER_MS
        self.changed = True  # even if nothing is final: the due time is exact now
        for session in split_sessions(self.events.values(), rules):
            due_ms = session[-1].timestamp_ms + rules.gap_ms
            if due_ms >= horizon_ms:
                self.due_ms = min(self.due_ms, due_ms)
                continue
            self.final += readings_of(
                self.session_id, self.partition, session, rules, is_over=True, is_final=True
            )
            for event in session:
                del self.events[event.event_id]

    def open_readings(self, rules: SessionRules) -> tuple[dict[ReadingKey, Reading], int]:
        """Return the rows of the sessions kept here, and when (wall clock, ms) the next falls idle."""
        rows: dict[ReadingKey, Reading] = {}
        idle_ms = NEVER_MS
        for session in split_sessions(self.events.values(), rules):
            session_idle_ms = max(event.kafka_ms for event in session) + rules.gap_ms + rules.lateness_ms
            is_over = session_idle_ms < self.wall_ms
            if not is_over:
                idle_ms = min(idle_ms, session_idle_ms)
            for row in readings_of(
                self.session_id, self.partition, session, rules, is_over=is_over, is_final=False
            ):
                rows[row.key] = row
        return rows, idle_ms

    def encode(self, idle_ms: int) -> bytes:
        """Return header and events as bytes; `idle_ms` as `open_readings` gave it."""
        attributes: dict[tuple[object, ...], int] = {}
        attribute_list: list[Attributes] = []
        episodes: dict[str, int] = {}
        events = []
        for event in self.events.values():
            who = event.attributes
            key = (
                *who[:4],
                who.ui_version,
                None if who.experiments is None else tuple(who.experiments.items()),
            )
            index = attributes.setdefault(key, len(attributes))
            if index == len(attribute_list):
                attribute_list.append(who)
            events.append(
                (
                    event.timestamp_ms,
                    event.event_id,
                    episodes.setdefault(event.episode_id, len(episodes)),
                    _CODE_OF_TYPE[event.event_type],
                    event.scroll_ratio,
                    event.kafka_ms,
                    event.offset,
                    index,
                )
            )
        header = _HEADER.pack(STATE_VERSION, self.due_ms, idle_ms, self.wall_ms, self.partition)
        return header + _encoder.encode(_Body(attribute_list, list(episodes), events))

    @classmethod
    def decode(cls, session_id: str, encoded: bytes, rules: SessionRules) -> "SessionState":
        """Restore from `encode`'s bytes; raises StateVersionError on another version's."""
        version, due_ms, _, wall_ms, partition = _HEADER.unpack_from(encoded)
        if version != STATE_VERSION:
            raise StateVersionError(
                f"session state has version {version}, this code reads {STATE_VERSION}: start a new stream "
                f"generation instead of resuming this checkpoint (docs/runbooks/stream.md)"
            )
        body = _decoder.decode(memoryview(encoded)[_HEADER.size :])
        state = cls(session_id, partition, wall_ms, due_ms=due_ms)
        state.events = {
            event_id: StoredEvent(
                time_ms,
                event_id,
                body.episodes[episode],
                _TYPE_CODES[code],
                ratio,
                kafka_ms,
                offset,
                body.attributes[who],
            )
            for time_ms, event_id, episode, code, ratio, kafka_ms, offset, who in body.events
        }
        state.emitted, _ = state.open_readings(rules)
        return state


def due_times(encoded: bytes) -> tuple[int, int]:
    """Return (due_ms, idle_ms) from the header of an encoded session state, without decoding its events."""
    _, due_ms, idle_ms, _, _ = _HEADER.unpack_from(encoded)
    return due_ms, idle_ms
