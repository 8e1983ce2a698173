"""What is kept of an erased reader's records: where they were, and nothing else.

An event of his becomes a dead letter of reason `erased_reader` without key and value, so that every offset is still
found somewhere. A dead letter of another reason whose bytes name him loses them and keeps its reason.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

ERASED: Final = "erased_reader"
"""Reason of a dead letter that was an event of an erased reader. No reason of the event contract: it broke nothing."""
LONGEST_ID: Final = 128
"""Code points; the contract allows no longer user_id."""
_DEPTH: Final = 3
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)("|\\?$)', re.DOTALL)
_WORD = re.compile(r"""[^\s"'\\,:;{}\[\]()<>=&?/|]+""")


def mentions(raw: bytes | None, is_wanted: Callable[[str], bool]) -> bool:
    """Is a text for which `is_wanted` among what the bytes hold: the strings of JSON (escaped, cut off, JSON in a
    string, too), numbers, or words of any other text?"""
    return raw is not None and any(map(is_wanted, set(_texts(raw.decode("utf-8", "replace"), _DEPTH))))


def _texts(text: str, depth: int) -> Iterator[str]:
    if len(text) <= LONGEST_ID:
        yield text
    for found in _WORD.finditer(text):
        if len(found[0]) <= LONGEST_ID:
            yield found[0]
    if depth == 0:
        return
    for found in _STRING.finditer(text):
        inner = _unescaped(found[1])
        if len(inner) <= LONGEST_ID:
            yield inner
        if inner != found[1] or not inner.isalnum():
            yield from _texts(inner, depth - 1)


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return msgspec.json.decode(f'"{text}"'.encode(), type=str)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return text
