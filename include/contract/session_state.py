"""The open sessions of one session_id: their events and the rows last emitted, compactly kept and encoded.

Who read and which episodes are stored once and referred to by index. The encoded form starts with a fixed
header that can be read without decoding the events, so that idle sessions cost nothing until they are
touched or due.
"""

import struct
from bisect import insort
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from include.contract.event import ReadingEvent
from include.contract.flat_rows import (
    COMPLETED,
    EXIT_TAGS,
    NEVER_MS,
    STATUSES,
    TYPE_CODES,
    FlatEvent,
    FlatRow,
    rows_of_flat,
    split_flat,
)
from include.contract.rules import SessionRules
from include.contract.sessions import Attributes, Reading, ReadingKey

STATE_VERSION: Final = 2

_HEADER = struct.Struct("<Bqqi")


class StateVersionError(RuntimeError):
    """State was written by another version of the project; the message says what to do."""


class _Body(msgspec.Struct, array_like=True, gc=False):
    whos: list[Attributes]
    episodes: list[str]
    emitted: list[FlatRow]
    events: list[FlatEvent]


_T = TypeVar("_T")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Body)


@dataclass(slots=True)
class SessionState:
    """Events of the sessions of one session_id that are not final yet, and the rows last emitted for them."""

    session_id: str
    partition: int
    due_ms: int = NEVER_MS
    """No session here can be final while (bucket clock - lateness) is not above this (a lower bound)."""
    changed: bool = False
    event_ids: set[str] = field(default_factory=set)
    _whos: list[Attributes] = field(default_factory=list)
    _episodes: list[str] = field(default_factory=list)
    _events: list[FlatEvent] = field(default_factory=list)
    """In session order."""
    _emitted: dict[tuple[int, int], FlatRow] = field(default_factory=dict)
    """Rows as last emitted, by (session start, episode)."""
    _final: list[FlatRow] = field(default_factory=list)
    """Rows that became final since the state was opened."""

    @property
    def is_empty(self) -> bool:
        """Whether every session here is final."""
        return not self._events

    def add(self, event: ReadingEvent, kafka_ms: int, offset: int, rules: SessionRules) -> None:
        """Take an accepted event that is not a repeat."""
        # ._value_ is what .value returns, without a descriptor's call
        who = Attributes(
            event.user_id,
            event.country,
            event.device._value_,
            event.platform._value_,
            event.experiments or None,
            event.ui_version,
        )
        ratio = event.scroll_ratio
        kept = FlatEvent(
            event.timestamp,
            event.event_id,
            _index(self._episodes, event.episode_id),
            TYPE_CODES[event.event_type._value_],
            None if ratio is None else ratio + 0.0,  # -0.0 becomes 0.0
            kafka_ms,
            offset,
            _index(self._whos, who),
        )
        if self._events and kept < self._events[-1]:
            insort(self._events, kept)
        else:
            self._events.append(kept)
        self.event_ids.add(kept.event_id)
        self.due_ms = min(self.due_ms, kept.timestamp_ms + rules.gap_ms)
        self.changed = True

    def finalise(self, horizon_ms: int, rules: SessionRules) -> None:
        """Move sessions whose last event is more than the gap before `horizon_ms` out of the open ones.

        `horizon_ms` is the earliest time an event may still have, so nothing can join them. Those are always
        the earliest ones, so what stays is a suffix of the events in session order.
        """
        self.due_ms = NEVER_MS
        self.changed = True  # even if nothing is final: the due time is exact now
        for session in split_flat(self._events, rules):
            due_ms = session[-1].timestamp_ms + rules.gap_ms
            if due_ms >= horizon_ms:
                self.due_ms = due_ms
                break
            self._final += rows_of_flat(session, rules, wall_ms=NEVER_MS)[0]
            self.event_ids.difference_update(event.event_id for event in session)
            self._events = self._events[len(session) :]

    def emit(self, rules: SessionRules, wall_ms: int) -> tuple[list[Reading], list[ReadingKey], int]:
        """Return rows that differ from those emitted before, keys that are gone, and the next idle time.

        `wall_ms` is the newest tick of the wall clock; the idle time (epoch ms by the same clock) is when a
        session kept here closes provisionally if nothing arrives.
        """
        upserts = [self._reading(row, is_final=True) for row in self._final]
        keys = {(row.session_start_ms, row.episode) for row in self._final}
        emitted: dict[tuple[int, int], FlatRow] = {}
        next_idle_ms = NEVER_MS
        for session in split_flat(self._events, rules):
            rows, idle_ms = rows_of_flat(session, rules, wall_ms)
            if idle_ms >= wall_ms:
                next_idle_ms = min(next_idle_ms, idle_ms)
            for row in rows:
                key = row.session_start_ms, row.episode
                emitted[key] = row
                if self._emitted.get(key) != row:
                    upserts.append(self._reading(row, is_final=False))
        deletes = [
            ReadingKey(self.session_id, start_ms, self._episodes[episode])
            for start_ms, episode in self._emitted
            if (start_ms, episode) not in emitted and (start_ms, episode) not in keys
        ]
        self._emitted = emitted
        return upserts, deletes, next_idle_ms

    def encode(self, idle_ms: int) -> bytes:
        """Return header, rows and events as bytes, after `emit`, which gave `idle_ms`."""
        if self._final:
            self._forget_unused()
        header = _HEADER.pack(STATE_VERSION, self.due_ms, idle_ms, self.partition)
        body = _Body(self._whos, self._episodes, list(self._emitted.values()), self._events)
        return header + _encoder.encode(body)

    @classmethod
    def decode(cls, session_id: str, encoded: bytes) -> "SessionState":
        """Restore from `encode`'s bytes; raises StateVersionError on another version's."""
        version, due_ms, _, partition = _HEADER.unpack_from(encoded)
        if version != STATE_VERSION:
            raise StateVersionError(
                f"session state has version {version}, this code reads {STATE_VERSION}: start a new stream "
                f"generation instead of resuming this checkpoint (docs/runbooks/stream.md)"
            )
        body = _decoder.decode(memoryview(encoded)[_HEADER.size :])
        return cls(
            session_id,
            partition,
            due_ms,
            event_ids={event[1] for event in body.events},
            _whos=body.whos,
            _episodes=body.episodes,
            _events=body.events,
            _emitted={row[:2]: row for row in body.emitted},
        )

    def _reading(self, row: FlatRow, *, is_final: bool) -> Reading:
        (
            start_ms,
            episode,
            who,
            status,
            ratio,
            events,
            scrolls,
            dwell_ms,
            first_ms,
            last_ms,
            offset,
            kafka_ms,
        ) = row
        return Reading(
            self.session_id,
            start_ms,
            self._episodes[episode],
            *self._whos[who],
            STATUSES[status],
            EXIT_TAGS[status],
            1.0 if status == COMPLETED else ratio or 0.0,
            ratio,
            events,
            scrolls,
            dwell_ms,
            first_ms,
            last_ms,
            is_final,
            self.partition,
            offset,
            kafka_ms,
        )

    def _forget_unused(self) -> None:
        """Drop attributes and episodes that only final sessions had."""
        whos, episodes = self._whos, self._episodes
        self._whos, self._episodes = [], []
        self._events = [
            event._replace(
                who=_index(self._whos, whos[event.who]),
                episode=_index(self._episodes, episodes[event.episode]),
            )
            for event in self._events
        ]
        rows = [
            row._replace(
                who=_index(self._whos, whos[row.who]), episode=_index(self._episodes, episodes[row.episode])
            )
            for row in self._emitted.values()
        ]
        self._emitted = {(row.session_start_ms, row.episode): row for row in rows}


def due_times(encoded: bytes) -> tuple[int, int]:
    """Return (due_ms, idle_ms) from the header of an encoded session state, without decoding its events."""
    _, due_ms, idle_ms, _ = _HEADER.unpack_from(encoded)
    return due_ms, idle_ms


def _index(values: list[_T], value: _T) -> int:
    """Position of `value`, which is appended where it is new."""
    try:
        return values.index(value)
    except ValueError:
        values.append(value)
        return len(values) - 1
