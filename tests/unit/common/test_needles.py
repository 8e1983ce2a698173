"""An id is found in every spelling, and not in another id."""

import json
import pickle
from html import escape
from urllib.parse import quote

import pytest

from include.common.erasure.needles import PACKED_FROM, WHOLE_FROM, Needles


@pytest.mark.parametrize(
    "data",
    [
        b"u1", b'{"user_id":"u1"}', b"u1,KR", b"\x02\x00\x00\x00u1\x02\x00\x00\x00u2", b"\x8c\x02u1\x94", b"/u1/",
        rb'"line\nu1\nnext"', rb"\tu1", rb"\u003cu1\u003e", b"u1-s3", b"page_u1_x", "가u1가".encode(), b"marts/u1?x",
        b"{u1,u12}",
    ],
)  # fmt: skip
def test_found(data: bytes) -> None:
    assert Needles("u1").count(data) == 1


@pytest.mark.parametrize("data", [b"u12", b"xu1", b"u1x", b"U1", b"0u1", b"u", b"", b"nu1", b"u 1"])
def test_another_id_is_not_found(data: bytes) -> None:
    assert Needles("u1").count(data) == 0
    assert not Needles("u1").is_in(data)


@pytest.mark.parametrize(
    "user_id", ['a"b', "a\\b", "독자 1", "x<y>&'z", "a/b?c=d", "reader-with-a-long-id-7"]
)
def test_every_spelling(user_id: str) -> None:
    needles = Needles(user_id)
    as_json = json.dumps(user_id)
    for text in (
        user_id, as_json, json.dumps(user_id, ensure_ascii=False), json.dumps(as_json), escape(user_id),
        quote(user_id), quote(user_id, safe=""), user_id.replace('"', '""'),
    ):  # fmt: skip
        assert needles.is_in(b" " + text.encode() + b" "), text


def test_a_long_id_counts_wherever_it_stands() -> None:
    long_id = "7" * WHOLE_FROM
    assert Needles(long_id).count(b"a" + long_id.encode() + b"b") == 1


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"took 42 s", 0), (b"1,42,3", 0), (b"142", 0), (b'"42"', 1), (b"'42'", 1), (rb"\"42\"", 1), (b"user_id=42", 1),
        (b"user_id = 42,", 1), (b'{"user_id": 42}', 1), (b"user_id=421", 0), (b"user_features/42/x", 1), (b"1/42", 0),
    ],
)  # fmt: skip
def test_a_number_needs_a_sign_that_it_is_an_id(data: bytes, found: int) -> None:
    assert Needles("42").count(data) == found


def test_cells() -> None:
    assert Needles("42").is_in_cell("42")
    assert not Needles("42").is_in_cell("142")
    assert Needles("u1").is_in_cell(b'{"user_id":"u1"}')
    assert not Needles("u1").is_in_cell("u12")


def test_a_short_id_is_not_looked_for_in_packed_bytes() -> None:
    assert not Needles("u" * (PACKED_FROM - 1)).in_packed
    assert Needles("u" * PACKED_FROM).in_packed


def test_the_id_does_not_get_out() -> None:
    needles = Needles("secret-reader")
    assert "secret-reader" not in repr(needles)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(needles)
    with pytest.raises(ValueError, match="empty"):
        Needles("")
