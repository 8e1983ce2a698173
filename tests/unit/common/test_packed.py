"""What is packed comes back, is found wherever it stands, and is refused where it is damaged."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from include.common.packed import NotPackedError, pack, packed_in, unpack

MARK = pack(b"")[:8]
STATE = b'{"session": "s1", "events": ["enter", "scroll"]}' * 50


@given(st.binary(max_size=2000))
def test_it_comes_back(raw: bytes) -> None:
    assert unpack(pack(raw)) == raw


def test_what_repeats_itself_gets_smaller() -> None:
    assert len(pack(STATE)) < len(STATE) / 5


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=200)), max_size=5))
def test_it_is_found_between_other_bytes(parts: list[tuple[bytes, bytes]]) -> None:
    assume(not any(MARK in other for other, _ in parts))
    content = b"".join(other + pack(raw) for other, raw in parts) + b"end"
    assert list(packed_in(content)) == [raw for _, raw in parts]


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(pack(STATE)[:-1], id="cut in the block"),
        pytest.param(pack(STATE)[:12], id="cut in the lengths"),
        pytest.param(
            pack(STATE)[:8] + (10).to_bytes(4, "little") + pack(STATE)[12:], id="longer than it says"
        ),
        pytest.param(pack(STATE)[:16] + b"\xff" * (len(pack(STATE)) - 16), id="another block"),
    ],
)
def test_what_is_damaged_is_refused(damaged: bytes) -> None:
    with pytest.raises(NotPackedError):
        unpack(damaged)
    with pytest.raises(NotPackedError):
        list(packed_in(b"before" + damaged))


def test_what_was_never_packed_is_refused() -> None:
    with pytest.raises(NotPackedError, match="no mark"):
        unpack(STATE)
    assert list(packed_in(STATE)) == []
