"""How the open sessions of one session_id stand as bytes, so that what is idle costs nothing until it is touched or due.

A fixed header that can be read alone; then rows and tables of text (the front); then the events, each encoded for itself,
in session order, so that new ones are added without decoding those before. What is in it means: `session_state`.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

import msgspec

from include.contract.flat_rows import FlatEvent, FlatRow, LastEvent
from include.contract.sessions import Attributes

STATE_VERSION: Final = 3

_HEADER = struct.Struct("<BqqiII")
"""Version, due time, idle time, partition, events, bytes of the front."""
_ARRAY = struct.Struct(">BI")
_ARRAY_32: Final = 0xDD
"""MessagePack's mark of an array with a 32-bit length."""


class Readers(Protocol):
    """Some user_ids."""

    def __contains__(self, user_id: str, /) -> bool:
        """Is this one of them?"""


class StateVersionError(RuntimeError):
    """State was written by another version of the project; the message says what to do."""


class Front(msgspec.Struct, array_like=True, gc=False):
    """What stands before the events. `last` is None unless there is exactly one open session."""

    whos: list[Attributes]
    episodes: list[str]
    emitted: list[FlatRow]
    last: LastEvent | None


class Parts(NamedTuple):
    """An encoded session taken apart; `events` are `event_count` of them, still encoded."""

    due_ms: int
    partition: int
    front: Front
    event_count: int
    events: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode_front = msgspec.msgpack.Decoder(Front).decode
_decode_events = msgspec.msgpack.Decoder(list[FlatEvent]).decode


def join(due_ms: int, idle_ms: int, partition: int, front: Front, count: int, events: bytes) -> bytes:
    """The bytes of a session; `idle_ms` (epoch ms, wall clock) is when it falls idle."""
    before = _encode(front)
    return _HEADER.pack(STATE_VERSION, due_ms, idle_ms, partition, count, len(before)) + before + events


def take_apart(encoded: bytes) -> Parts:
    """Inverse of `join`, for bytes whose version `due_times` has looked at."""
    _, due_ms, _, partition, count, size = _HEADER.unpack_from(encoded)
    end = _HEADER.size + size
    return Parts(due_ms, partition, _decode_front(encoded[_HEADER.size : end]), count, encoded[end:])


def encode_events(events: Iterable[FlatEvent]) -> bytes:
    """Events as they stand behind those before them."""
    return b"".join(map(_encode, events))


def decode_events(count: int, encoded: bytes) -> list[FlatEvent]:
    """Inverse of `encode_events`."""
    return _decode_events(_ARRAY.pack(_ARRAY_32, count) + encoded)


def may_hold(encoded_events: bytes, event_id: str) -> bool:
    """Whether the bytes of an id stand somewhere in encoded events: if not, none of them has it."""
    return _encode(event_id) in encoded_events


def has_reader(encoded: bytes, readers: Readers) -> bool:
    """Whether an event of one of `readers` (user_ids) is in an encoded session."""
    return any(who.user_id in readers for who in take_apart(encoded).front.whos)


def due_times(encoded: bytes) -> tuple[int, int]:
    """Return (due_ms, idle_ms) from an encoded session's header. Raises StateVersionError on another version's."""
    if encoded[0] != STATE_VERSION:
        raise StateVersionError(
            f"session state has version {encoded[0]}, this code reads {STATE_VERSION}: roll out a new generation "
            f"instead of resuming this checkpoint (docs/runbooks/stream_sessionize.md)"
        )
    _, due_ms, idle_ms, _, _, _ = _HEADER.unpack_from(encoded)
    return due_ms, idle_ms
