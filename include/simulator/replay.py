"""Replays a JSON Lines file: each line byte for byte, in file order, invalid ones included."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from include.simulator.traffic import Record

LINE: Final = "line"


class ReplayError(ValueError):
    """The file cannot be read; the message names it, says why and the mend."""


class _Keyed(msgspec.Struct):
    session_id: str


_decoder = msgspec.json.Decoder(_Keyed)


def file_size(path: Path) -> int:
    """Bytes of the file; raises ReplayError where it cannot be read."""
    try:
        with path.open("rb"):
            return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def lines(path: Path, rate: float | None = None) -> Iterator[Record]:
    """One record a line, the line without its line feed as value; with `rate`, so many a second from now on.

    The key is the line's session_id where it is JSON that has one, else there is none. Raises ReplayError.
    """
    start_ms = time.time() * 1000
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                value = line.removesuffix(b"\n")
                due_ms = int(start_ms + number * 1000 / rate) if rate else 0
                yield Record(due_ms, LINE, key_of(value), value)
    except OSError as error:
        raise _unreadable(path, error) from error


def key_of(value: bytes) -> bytes | None:
    """The session_id of a JSON object as UTF-8; None for anything else."""
    try:
        return _decoder.decode(value).session_id.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _unreadable(path: Path, error: OSError) -> ReplayError:
    return ReplayError(
        f"cannot read {path}: {error.strerror}. Give the path of a JSON Lines file: one event a line"
    )
