"""One reader's id as bytes to search for: its spellings in files, and what around them makes it another id.

`u1` stands in `u12`, too, and in the middle of any compressed block. So:
- An id counts where neither a letter nor a digit of ASCII stands beside it; any other neighbour (`-`, `_`, `/`, a byte
  above 127) is taken for a boundary, because a find too many is looked at by a person, and one too few by nobody.
  From WHOLE_FROM bytes on it counts wherever its bytes stand: the length that packed strings have before them would be
  a digit or letter there.
- An id of digits only, less than NUMBER_BELOW of them, counts in quotes, as a part of a path, or after `user_id`: numbers
  of that kind stand everywhere.
- An id of less than PACKED_FROM bytes is not looked for in bytes that are still packed (`in_packed`): chance writes it
  there. What a search unpacks it looks through in full.
"""

import json
import re
from collections.abc import Iterator
from html import escape
from typing import Final
from urllib.parse import quote

WHOLE_FROM: Final = ord("0")
NUMBER_BELOW: Final = 16
PACKED_FROM: Final = 6
_AROUND: Final = 16
"""Bytes before a spelling that decide about it."""
_ESCAPED: Final = re.compile(rb"\\(?:[bfnrtv]|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2})\Z")
"""A control character as JSON and CSV write it: its last letter is none of a word."""
_AFTER_NAME: Final = re.compile(rb"user_id\W{1,6}\Z")


class Needles:
    """What to search for. Holds an id in plain: never log, print or pickle it."""

    def __init__(self, user_id: str) -> None:
        if not user_id:
            raise ValueError("an empty id stands everywhere")
        self.spellings = _spellings(user_id)
        self.overlap = max(map(len, self.spellings)) + 2 * _AROUND
        """Bytes that two blocks of a file must share, so that nothing is cut in two unseen."""
        self.in_packed = len(user_id.encode()) >= PACKED_FROM
        self._whole = len(user_id.encode()) >= WHOLE_FROM
        self._number = user_id.isascii() and user_id.isdigit() and len(user_id) < NUMBER_BELOW

    def __repr__(self) -> str:
        return f"Needles({len(self.spellings)} spellings)"

    def __reduce__(self) -> str:
        raise TypeError("an id that is searched for is not pickled")

    def places(self, data: bytes) -> Iterator[int]:
        """Where in `data` the id stands, by spelling."""
        for spelling in self.spellings:
            start = data.find(spelling)
            while start >= 0:
                if self._stands_alone(data, start, start + len(spelling)):
                    yield start
                start = data.find(spelling, start + 1)

    def count(self, data: bytes) -> int:
        """How often the id stands in `data`."""
        return len(set(self.places(data)))

    def is_in(self, data: bytes) -> bool:
        """Does it stand there at all?"""
        return next(self.places(data), None) is not None

    def is_in_cell(self, value: str | bytes) -> bool:
        """Does it stand in this value of a table, or is it the value?"""
        raw = value.encode(errors="surrogateescape") if isinstance(value, str) else value
        return self.is_in(b'"' + raw + b'"')

    def _stands_alone(self, data: bytes, start: int, end: int) -> bool:
        if self._whole:
            return True
        before, after = data[max(0, start - _AROUND) : start], data[end : end + 1]
        if self._number:
            last = before[-1:]
            quoted = last in (b'"', b"'") and data[end : end + 2].lstrip(b"\\")[:1] in (b'"', b"'")
            in_path = last == b"/" and after == b"/"
            return bool(quoted or in_path or (_AFTER_NAME.search(before) and not after.isalnum()))
        if before[-1:].isalnum() and not _ESCAPED.search(before):
            return False
        return not after.isalnum()


def _spellings(user_id: str) -> tuple[bytes, ...]:
    """UTF-8; as JSON writes it, with and without other alphabets, and once more inside of JSON; as CSV, HTML and
    addresses write it. For most ids these are one and the same.
    """
    once = json.dumps(user_id)[1:-1]
    own_alphabet = json.dumps(user_id, ensure_ascii=False)[1:-1]
    texts = (
        user_id,
        once,
        json.dumps(once)[1:-1],
        own_alphabet,
        json.dumps(own_alphabet, ensure_ascii=False)[1:-1],
        user_id.replace('"', '""'),
        once.replace('"', '""'),
        escape(user_id),
        escape(user_id, quote=False),
        quote(user_id),
        quote(user_id, safe=""),
    )
    return tuple(dict.fromkeys(text.encode() for text in texts))
