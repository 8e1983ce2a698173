"""Bytes packed so that they are found again: a mark, two lengths, one LZ4 block.

The stream's state entries are kept so: Spark copies an entry four times on its way into the state and pickles it byte by
byte on its way out. The mark is there for the search after an erasure, which must look into each entry that stands
somewhere in a file (`erasure.checkpoint_search`); no text of an event can hold it, as it has control characters.
"""

from collections.abc import Iterator
from typing import Final

_MARK: Final = b"\x00wt-lz4\x01"
_HEAD: Final = len(_MARK) + 8


class NotPackedError(ValueError):
    """What stands behind a mark cannot be unpacked, or there is no mark."""


def pack(raw: bytes) -> bytes:
    """`raw` with its mark; what does not get smaller is a little longer than it was."""
    import pyarrow as pa

    block: bytes = pa.Codec("lz4_raw").compress(raw, asbytes=True)
    return b"".join((_MARK, len(raw).to_bytes(4, "little"), len(block).to_bytes(4, "little"), block))


def unpack(packed: bytes) -> bytes:
    """Inverse of `pack`. Raises NotPackedError."""
    if not packed.startswith(_MARK):
        raise NotPackedError("no mark")
    return _unpack_at(packed, 0)[0]


def packed_in(content: bytes) -> Iterator[bytes]:
    """What was packed and stands somewhere in `content`, unpacked. Raises NotPackedError."""
    at = content.find(_MARK)
    while at >= 0:
        raw, end = _unpack_at(content, at)
        yield raw
        at = content.find(_MARK, end)


def _unpack_at(content: bytes, at: int) -> tuple[bytes, int]:
    """What was packed, and where it ends."""
    import pyarrow as pa

    start = at + _HEAD
    size, length = (int.from_bytes(content[start - n : start - n + 4], "little") for n in (8, 4))
    if len(content) < start + length:
        raise NotPackedError("it ends in the middle of a block")
    try:
        block = memoryview(content)[start : start + length]
        raw: bytes = pa.Codec("lz4_raw").decompress(block, size, asbytes=True)
    except (OSError, pa.ArrowException) as error:
        raise NotPackedError(f"{type(error).__name__}: {error}") from error
    return raw, start + length
