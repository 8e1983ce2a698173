"""Which bytes name a reader: JSON in all its spellings, broken JSON, plain text."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.common.erasure.records import mentions

ID = "u000042"


def named(raw: bytes | None) -> bool:
    return mentions(raw, ID.__eq__)


@pytest.mark.parametrize(
    "raw",
    [
        ID.encode(),
        json.dumps({"user_id": ID}).encode(),
        b'{"user_id": "\\u0075000042"}',
        b'{"user_id": "u000042',
        b'{"user_id": "u000042\\',
        b'{user_id":"u000042"}',
        json.dumps({"a": [{"b": ID}]}).encode(),
        json.dumps({"body": json.dumps({"user_id": ID})}).encode(),
        json.dumps({"body": json.dumps({"body": json.dumps({"user_id": ID})})}).encode(),
        b"reader=u000042&x=1",
        b"\xff\xfe u000042 \x00",
    ],
)
def test_bytes_that_name_the_reader(raw: bytes) -> None:
    assert named(raw)


@pytest.mark.parametrize(
    "raw", [None, b"", b"{}", b'{"user_id": "u0000421"}', b'{"user_id": "xu000042"}', b"\xff" * 300]
)
def test_bytes_that_do_not(raw: bytes | None) -> None:
    assert not named(raw)


def test_a_number_is_found_as_text() -> None:
    assert mentions(b'{"user_id": 12345}', "12345".__eq__)


@given(user=st.text(min_size=1, max_size=128), ascii_only=st.booleans())
def test_any_id_is_found_as_a_value_of_json(user: str, ascii_only: bool) -> None:
    try:
        raw = json.dumps({"user_id": user, "n": 1}, ensure_ascii=ascii_only).encode()
        user.encode()
    except UnicodeEncodeError:
        return  # half a surrogate pair is no text
    assert mentions(raw, user.__eq__), quote(user)
