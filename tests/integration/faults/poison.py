"""Poison: records that no event can be made of, of every kind that clients and middlemen have been seen to send.

Each comes with the reason that its dead letter must state. They carry keys of sessions that are being read, so they
reach buckets with open sessions.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from include.contract.event import ContractError, accept_record
from include.contract.event import DeadLetterReason as Reason
from tests.vectors import VectorRecord

FIVE_MB = 5_000_000


class Poison(NamedTuple):
    """A record's key and value, made from those of a good one, and the reason for its dead letter."""

    kind: str
    reason: Reason
    spoil: Callable[[bytes, bytes], tuple[bytes | None, bytes | None]]


def _value(kind: str, reason: Reason, value: bytes | None) -> Poison:
    return Poison(kind, reason, lambda key, good: (key, value))


def _fields(kind: str, reason: Reason, **changes: object) -> Poison:
    return Poison(kind, reason, lambda key, good: (key, json.dumps(json.loads(good) | changes).encode()))


def _raw(kind: str, reason: Reason, name: str, token: bytes) -> Poison:
    """Field `name` with a token that json.dumps would not write."""

    def spoil(key: bytes, good: bytes) -> tuple[bytes | None, bytes | None]:
        fields = json.loads(good)
        fields[name] = "@"
        return key, json.dumps(fields).encode().replace(b'"@"', token)

    return Poison(kind, reason, spoil)


POISONS = (
    _value("not JSON: text", Reason.NOT_JSON, b"GET / HTTP/1.1"),
    _value("not JSON: cut off", Reason.NOT_JSON, b'{"event_id": "e1", "user_id": "u'),
    _value("not JSON: binary", Reason.NOT_JSON, bytes(range(256))),
    _value("wrong types: a list", Reason.WRONG_TYPE, b"[1, 2, 3]"),
    _value("wrong types: a number", Reason.WRONG_TYPE, b"7"),
    _fields("wrong types: time as text", Reason.WRONG_TYPE, timestamp="2026-01-01T00:00:00Z"),
    _fields("wrong types: id as number", Reason.WRONG_TYPE, user_id=17),
    _fields("wrong types: id null", Reason.WRONG_TYPE, episode_id=None),
    _fields("5 MB: an event with padding", Reason.TOO_LARGE, padding="x" * FIVE_MB),
    _value("5 MB: no JSON", Reason.TOO_LARGE, b"\xff" * FIVE_MB),
    _value("NUL bytes: nothing else", Reason.NOT_JSON, b"\0" * 64),
    _raw("NUL bytes: raw in an id", Reason.NOT_JSON, "user_id", b'"u\0\0"'),
    _fields("NUL bytes: escaped in an id", Reason.BAD_TEXT, user_id="u\0x"),
    _fields("NUL bytes: escaped in an experiment", Reason.BAD_TEXT, experiments={"cta": "a\0"}),
    _raw("lone surrogate: high, escaped", Reason.BAD_TEXT, "user_id", rb'"u\ud83d"'),
    _raw("lone surrogate: low, escaped", Reason.BAD_TEXT, "episode_id", rb'"\ude00e"'),
    _raw("lone surrogate: in UTF-8's form", Reason.BAD_TEXT, "user_id", b'"u\xed\xa0\xbd"'),
    _fields("out of range: ratio above 1", Reason.OUT_OF_RANGE, event_type="scroll", scroll_ratio=1.5),
    _fields("out of range: time below 0", Reason.OUT_OF_RANGE, timestamp=-1),
    _fields("out of range: time of 70 bits", Reason.OUT_OF_RANGE, timestamp=2**69),
    _raw("out of range: ratio 1e999", Reason.OUT_OF_RANGE, "scroll_ratio", b"1e999"),
    _raw("out of range: not a number", Reason.NOT_JSON, "scroll_ratio", b"NaN"),
    _value("deep nesting: 200,000 objects", Reason.NOT_JSON, b'{"a":' * 200_000),
    _raw("deep nesting: in a field to ignore", Reason.NOT_JSON, "more", b"[" * 100_000 + b"]" * 100_000),
    _value("empty value: no byte", Reason.EMPTY_VALUE, b""),
    _value("empty value: null", Reason.EMPTY_VALUE, None),
    Poison("null key", Reason.NULL_KEY, lambda key, good: (None, good)),
)  # fmt: skip


def poisoned(
    rng: random.Random, records: Iterable[VectorRecord]
) -> tuple[list[VectorRecord], dict[tuple[int, int], Poison]]:
    """`records` with every poison at a random place of every partition; the poisons by (partition, offset)."""
    by_partition: dict[int, list[tuple[VectorRecord, Poison | None]]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append((record, None))
    result: list[VectorRecord] = []
    poisons: dict[tuple[int, int], Poison] = {}
    for partition, held in sorted(by_partition.items()):
        for offset, (record, poison) in enumerate(_mixed(rng, held)):
            result.append(record._replace(offset=offset))
            if poison is not None:
                poisons[partition, offset] = poison
    return result, poisons


def _mixed(
    rng: random.Random, held: list[tuple[VectorRecord, Poison | None]]
) -> Iterator[tuple[VectorRecord, Poison | None]]:
    """What a partition holds, each poison after a record whose key and value it is made from."""
    good = [index for index, (record, _) in enumerate(held) if _is_event(record)]
    places = dict(zip(rng.sample(good, len(POISONS)), POISONS, strict=True))
    for index, item in enumerate(held):
        yield item
        if poison := places.get(index):
            record = item[0]
            assert record.key is not None
            assert record.value is not None
            key, value = poison.spoil(record.key, record.value)
            yield record._replace(key=key, value=value), poison


def _is_event(record: VectorRecord) -> bool:
    try:
        accept_record(record.key, record.value, record.kafka_ms)
    except ContractError:
        return False
    return True
