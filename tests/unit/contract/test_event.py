"""The event contract: what is accepted, what is refused and why, and that nothing else is ever raised."""

import json
import math
from typing import Any, get_args

import msgspec
import pycountry
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contract.countries import Country
from include.contract.event import (
    MAX_EVENT_BYTES,
    ContractError,
    DeadLetterReason,
    ReadingEvent,
    accept_record,
    decode,
    encode,
)
from tests.hypothesis_profiles import examples

NOW_MS = 1_709_251_200_000
GOOD: dict[str, Any] = {
    "event_id": "e-1",
    "user_id": "u-1",
    "session_id": "s-1",
    "episode_id": "title-1-ep-2",
    "event_type": "scroll",
    "country": "KR",
    "device": "phone",
    "platform": "android",
    "timestamp": NOW_MS,
    "scroll_ratio": 0.25,
    "experiments": {"cta": "b"},
    "ui_version": "7.1.0",
    "utc_offset_minutes": 540,
}


def raw(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def without(*names: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key not in names}).encode()


def spliced(old: bytes, new: bytes) -> bytes:
    assert old in raw()
    return raw().replace(old, new)


def reason_of(
    value: bytes | None, key: bytes | None = b"s-1", kafka_ms: int = NOW_MS
) -> DeadLetterReason | None:
    try:
        accept_record(key, value, kafka_ms)
    except ContractError as error:
        return error.reason
    return None


NOT_JSON, WRONG_TYPE, BAD_TEXT = (
    DeadLetterReason.NOT_JSON,
    DeadLetterReason.WRONG_TYPE,
    DeadLetterReason.BAD_TEXT,
)
MISSING, RANGE = DeadLetterReason.MISSING_FIELD, DeadLetterReason.OUT_OF_RANGE

REFUSED: dict[str, tuple[bytes | None, DeadLetterReason]] = {
    "null value": (None, DeadLetterReason.EMPTY_VALUE),
    "empty value": (b"", DeadLetterReason.EMPTY_VALUE),
    "5 MB of JSON": (raw(padding="x" * 5_000_000), DeadLetterReason.TOO_LARGE),
    "5 MB of noise": (b"\x00" * 5_000_000, DeadLetterReason.TOO_LARGE),
    "binary": (b"\x80\x81\xff", NOT_JSON),
    "NUL bytes": (b"\x00" * 10, NOT_JSON),
    "blank": (b"  ", NOT_JSON),
    "UTF-16": (raw().decode().encode("utf-16"), NOT_JSON),
    "byte order mark": (b"\xef\xbb\xbf" + raw(), NOT_JSON),
    "cut short": (raw()[:-9], NOT_JSON),
    "two documents": (raw() + raw(), NOT_JSON),
    "trailing comma": (raw()[:-1] + b",}", NOT_JSON),
    "deep arrays in an unknown field": (
        raw()[:-1] + b',"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        NOT_JSON,
    ),
    "deep objects": (b'{"x":' * 100_000, NOT_JSON),
    "NaN": (raw(scroll_ratio=math.nan), NOT_JSON),
    "Infinity": (raw(scroll_ratio=math.inf), NOT_JSON),
    "a list": (b"[]", WRONG_TYPE),
    "null": (b"null", WRONG_TYPE),
    "text timestamp": (raw(timestamp=str(NOW_MS)), WRONG_TYPE),
    "boolean timestamp": (raw(timestamp=True), WRONG_TYPE),
    "float timestamp": (raw(timestamp=NOW_MS + 0.5), WRONG_TYPE),
    "boolean ratio": (raw(scroll_ratio=True), WRONG_TYPE),
    "text ratio": (raw(scroll_ratio="0.5"), WRONG_TYPE),
    "number as id": (raw(user_id=7), WRONG_TYPE),
    "null id": (raw(user_id=None), WRONG_TYPE),
    "list as id": (raw(episode_id=["e"]), WRONG_TYPE),
    "number as group": (raw(experiments={"cta": 1}), WRONG_TYPE),
    "list of experiments": (raw(experiments=["cta"]), WRONG_TYPE),
    "ratio missing on scroll": (without("scroll_ratio"), MISSING),
    "ratio null on scroll": (raw(scroll_ratio=None), MISSING),
    "ratio above 1": (raw(scroll_ratio=1.0000001), RANGE),
    "ratio below 0": (raw(scroll_ratio=-0.001), RANGE),
    "ratio of 1e999": (spliced(b"0.25", b"1e999"), RANGE),
    "negative timestamp": (raw(timestamp=-1), RANGE),
    "timestamp of 400 digits": (raw(timestamp=10**400), RANGE),
    "timestamp above int64": (raw(timestamp=2**63), RANGE),
    "timestamp after the year 9999": (raw(timestamp=253_402_300_800_000), RANGE),
    "unassigned country": (raw(country="XK"), RANGE),
    "lower-case country": (raw(country="kr"), RANGE),
    "unknown device": (raw(device="fridge"), RANGE),
    "upper-case platform": (raw(platform="IOS"), RANGE),
    "unknown event type": (raw(event_type="like"), RANGE),
    "offset of more than 14 h": (raw(utc_offset_minutes=841), RANGE),
    "33 experiments": (raw(experiments={f"x{n}": "a" for n in range(33)}), RANGE),
    "empty id": (raw(event_id=""), BAD_TEXT),
    "129 characters": (raw(user_id="x" * 129), BAD_TEXT),
    "NUL in an id": (raw(user_id="a\0"), BAD_TEXT),
    "new line in an id": (raw(episode_id="a\n"), BAD_TEXT),
    "C1 control in an id": (raw(session_id="a\x85"), BAD_TEXT),
    "control in ui_version": (raw(ui_version="1\x7f"), BAD_TEXT),
    "control in an experiment": (raw(experiments={"a\t": "b"}), BAD_TEXT),
    "control in a group": (raw(experiments={"a": "b\x1b"}), BAD_TEXT),
    "empty group": (raw(experiments={"a": ""}), BAD_TEXT),
    "lone surrogate": (raw(user_id="\ud800"), BAD_TEXT),
    "lone low surrogate": (raw(user_id="\udc00"), BAD_TEXT),
    "surrogates the wrong way round": (raw(user_id="\udc00\ud800"), BAD_TEXT),
    "surrogate as raw bytes": (spliced(b"u-1", b"\xed\xa0\x80"), BAD_TEXT),
    "latin-1 in an id": (spliced(b"u-1", b"\xe9"), BAD_TEXT),
    "latin-1 in an unknown field": (raw()[:-1] + b',"x":"\xe9"}', BAD_TEXT),
    **{
        f"{name} missing": (without(name), MISSING)
        for name in ("event_id", "user_id", "session_id", "episode_id", "event_type", "country", "timestamp")
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_reason(case: str) -> None:
    value, expected = REFUSED[case]
    with pytest.raises(ContractError) as caught:
        accept_record(b"s-1", value, NOW_MS)
    assert caught.value.reason == expected
    assert caught.value.detail
    assert str(caught.value).startswith(expected.value)


ACCEPTED: dict[str, bytes] = {
    "everything": raw(),
    "required only": without("experiments", "ui_version", "utc_offset_minutes"),
    "null for optional": raw(experiments=None, ui_version=None, utc_offset_minutes=None),
    "no ratio on enter": json.dumps({**json.loads(without("scroll_ratio")), "event_type": "enter"}).encode(),
    "ratio 0": raw(scroll_ratio=0),
    "ratio 1 as an integer": raw(scroll_ratio=1),
    "128 characters beyond the basic plane": raw(user_id="😀" * 128),
    "zero-width space": raw(user_id="a\u200bb"),
    "unknown fields": raw(clicks=[{"x": None}], huge=10**30),
    "32 experiments": raw(experiments={f"x{n}": "a" for n in range(32)}),
    "offset of -14 h": raw(utc_offset_minutes=-840),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted(case: str) -> None:
    assert reason_of(ACCEPTED[case]) is None


def test_key_must_be_the_session_id() -> None:
    assert reason_of(raw(), key=None) == DeadLetterReason.NULL_KEY
    assert reason_of(raw(), key=b"s-2") == DeadLetterReason.KEY_MISMATCH
    assert reason_of(raw(), key=b"\xff") == DeadLetterReason.KEY_MISMATCH
    assert reason_of(raw(session_id="한글"), key="한글".encode()) is None


def test_time_ahead_of_the_record() -> None:
    assert reason_of(raw(timestamp=NOW_MS + 300_000)) is None
    assert reason_of(raw(timestamp=NOW_MS + 300_001)) == DeadLetterReason.FUTURE_TIMESTAMP
    assert reason_of(raw(timestamp=0)) is None


def test_the_size_limit_includes_its_end() -> None:
    room = MAX_EVENT_BYTES - len(raw(padding=""))
    assert reason_of(raw(padding="x" * room)) is None
    assert reason_of(raw(padding="x" * (room + 1))) == DeadLetterReason.TOO_LARGE


def test_the_detail_names_the_field_and_never_quotes_the_value() -> None:
    secret = "someone's name"
    for bad in (
        {"country": secret},
        {"user_id": f"{secret}\n"},
        {"experiments": {secret: 1}},
        {"device": secret},
    ):
        with pytest.raises(ContractError) as caught:
            decode(raw(**bad))
        (field,) = bad
        assert secret not in caught.value.detail
        assert field in caught.value.detail


def test_countries_are_the_assigned_ones() -> None:
    assert set(get_args(Country)) == {country.alpha_2 for country in pycountry.countries}


def test_encode_and_decode_are_inverse() -> None:
    event = decode(raw())
    assert decode(encode(event)) == event
    sparse = decode(ACCEPTED["required only"])
    assert b"ui_version" not in encode(sparse)
    assert decode(encode(sparse)) == sparse


texts = st.text(max_size=140)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
mutated = st.dictionaries(st.sampled_from([*GOOD, "unknown"]), anything, max_size=4).map(
    lambda new: {**GOOD, **new}
)


def accepted(key: bytes | None, value: bytes | None) -> ReadingEvent | None:
    try:
        return accept_record(key, value, NOW_MS)
    except ContractError:
        return None


@given(st.none() | st.binary(max_size=60), st.none() | st.binary(max_size=200))
def test_bytes_raise_contract_errors_only(key: bytes | None, value: bytes | None) -> None:
    assert accepted(key, value) is None


@given(mutated, st.booleans())
@settings(max_examples=examples(500))
def test_mutated_events_raise_contract_errors_only(event: dict[str, Any], escaped: bool) -> None:
    value = json.dumps(event, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    got = accepted(str(event["session_id"]).encode("utf-8", "surrogatepass"), value)
    if got is not None:
        kept = {name: value for name, value in msgspec.structs.asdict(got).items() if value is not None}
        sent = {name: value for name, value in event.items() if name in kept and value is not None}
        assert kept == sent


@given(st.integers(0, len(raw()) - 1), st.binary(max_size=3), st.integers(0, 3))
@settings(max_examples=examples(500))
def test_damaged_bytes_raise_contract_errors_only(position: int, noise: bytes, removed: int) -> None:
    value = raw()[:position] + noise + raw()[position + removed :]
    got = accepted(b"s-1", value)
    assert got is None or got.session_id == "s-1"
