"""Bad records: one maker for every reason that makes a dead letter, and what the contract accepts but is wrong.

A maker spoils a *copy* of a good event, so the good events of a run stay whole whichever faults are on. Each
draws among several ways that real clients and gateways get it wrong.
"""

import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from include.contract.event import MAX_EVENT_BYTES, MAX_TIMESTAMP_MS, DeadLetterReason, ReadingEvent

UNKNOWN_EPISODE: Final = "unknown_episode"
"""Accepted by the contract, but the catalogue has no such episode: what the raw gate is there for."""

_FUTURE_MS: Final = (4_070_908_800_000, 7_258_118_400_000)
"""2099 to 2200: far ahead of any record's timestamp, so that a run's bytes need not depend on the present."""

Fields = dict[str, Any]
Maker = Callable[[random.Random, Fields], "Spoilt"]


class Spoilt(NamedTuple):
    """Key and value of a bad record."""

    key: bytes | None
    value: bytes | None


def spoil(kind: str, rng: random.Random, event: ReadingEvent, serial: int) -> Spoilt:
    """A bad record of `kind` (a key of MAKERS), made of a copy of `event` with an event_id of its own."""
    fields = {name: value for name, value in msgspec.structs.asdict(event).items() if value is not None}
    fields["event_id"] = f"{event.session_id}-x{serial}"
    return MAKERS[kind](rng, fields)


def _json(fields: Fields) -> bytes:
    return msgspec.json.encode(fields)


def _keyed(fields: Fields, value: bytes | None) -> Spoilt:
    return Spoilt(fields["session_id"].encode(), value)


def _null_key(rng: random.Random, fields: Fields) -> Spoilt:
    return Spoilt(None, _json(fields))


def _empty_value(rng: random.Random, fields: Fields) -> Spoilt:
    return _keyed(fields, rng.choice((None, b"")))


def _too_large(rng: random.Random, fields: Fields) -> Spoilt:
    """A crash report that somebody attached; it compresses well."""
    return _keyed(fields, _json({**fields, "attachment": "stack frame; " * (MAX_EVENT_BYTES // 13 + 1)}))


def _not_json(rng: random.Random, fields: Fields) -> Spoilt:
    value = _json(fields)
    return _keyed(
        fields,
        rng.choice(
            (
                value[: rng.randrange(1, len(value) - 1)],
                b"<html><body>502 Bad Gateway</body></html>",
                b"\x00\x00\x00\x00\x2a" + value,
                value.replace(b'"timestamp":', b'"scroll_ratio":NaN,"timestamp":'),
                str(fields).encode(),
            )
        ),
    )


def _wrong_type(rng: random.Random, fields: Fields) -> Spoilt:
    changed: Any = rng.choice(
        (
            [fields],
            {**fields, "timestamp": str(fields["timestamp"])},
            {**fields, "timestamp": fields["timestamp"] + 0.5},
            {**fields, "user_id": rng.randrange(10**6)},
            {**fields, "scroll_ratio": "0.5"},
            {**fields, "experiments": ["reader_layout"]},
        )
    )
    return _keyed(fields, msgspec.json.encode(changed))


def _missing_field(rng: random.Random, fields: Fields) -> Spoilt:
    name = rng.choice(("event_id", "user_id", "episode_id", "event_type", "country", "device", "timestamp"))
    return _keyed(fields, _json({key: value for key, value in fields.items() if key != name}))


def _out_of_range(rng: random.Random, fields: Fields) -> Spoilt:
    changes: Fields = rng.choice(
        (
            {"event_type": "scroll", "scroll_ratio": rng.choice((1.0001, 37.5, -0.25))},
            {"timestamp": -1},
            {"timestamp": MAX_TIMESTAMP_MS + fields["timestamp"] * 1000},  # microseconds, say
            {"country": "XX"},
            {"device": "fridge"},
            {"platform": "Android"},
            {"event_type": "like"},
            {"utc_offset_minutes": 9 * 3600},  # seconds
        )
    )
    return _keyed(fields, _json({**fields, **changes}))


def _bad_text(rng: random.Random, fields: Fields) -> Spoilt:
    changes: Fields = rng.choice(
        ({"user_id": ""}, {"episode_id": "e" * 129}, {"user_id": "u\x00"}, {"ui_version": "7.1\n"}, {})
    )
    value = _json({**fields, **changes})
    if not changes:
        value = value.replace(b'"user_id":"', b'"user_id":"\xe9')  # Latin-1
    return _keyed(fields, value)


def _key_mismatch(rng: random.Random, fields: Fields) -> Spoilt:
    return Spoilt(rng.choice((fields["user_id"].encode(), b"", b"null")), _json(fields))


def _future_timestamp(rng: random.Random, fields: Fields) -> Spoilt:
    return _keyed(fields, _json({**fields, "timestamp": rng.randrange(*_FUTURE_MS)}))


def _unknown_episode(rng: random.Random, fields: Fields) -> Spoilt:
    """In a session of its own, so that no true session gets a reading that nobody made."""
    session_id = f"s{rng.getrandbits(64):016x}"
    fields |= {"session_id": session_id, "event_id": f"{session_id}-x0"}
    return _keyed(fields, _json({**fields, "episode_id": f"t999-e{rng.randint(1, 999):03d}"}))


MAKERS: Final[dict[str, Maker]] = {
    DeadLetterReason.NULL_KEY.value: _null_key,
    DeadLetterReason.EMPTY_VALUE.value: _empty_value,
    DeadLetterReason.TOO_LARGE.value: _too_large,
    DeadLetterReason.NOT_JSON.value: _not_json,
    DeadLetterReason.WRONG_TYPE.value: _wrong_type,
    DeadLetterReason.MISSING_FIELD.value: _missing_field,
    DeadLetterReason.OUT_OF_RANGE.value: _out_of_range,
    DeadLetterReason.BAD_TEXT.value: _bad_text,
    DeadLetterReason.KEY_MISMATCH.value: _key_mismatch,
    DeadLetterReason.FUTURE_TIMESTAMP.value: _future_timestamp,
    UNKNOWN_EPISODE: _unknown_episode,
}
"""Kind -> maker; every DeadLetterReason is a kind (a test holds it), named by its value."""
