"""Does a checkpoint of the stream hold these bytes? Looks into everything that Spark and RocksDB pack.

Compressed state shows nothing to a plain search. So what a file is, is told by its first or last bytes (a half-written
file that a killed driver left has another name): Spark's changelogs are LZ4 or Zstandard streams, snapshots are zip
files, RocksDB's tables (.sst) hold blocks that are packed one by one, and in all of them stand the stream's entries, packed
for themselves (`packed`). A file of these kinds that cannot be unpacked is
named as unreadable: nothing was proven of it.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from include.common.packed import NotPackedError, packed_in

_LZ4_STREAM: Final = b"LZ4Block"
_ZSTD_STREAM: Final = b"\x28\xb5\x2f\xfd"
_ZIP: Final = b"PK\x03\x04"
_SST: Final = 0x88E241B785F4CFF7.to_bytes(8, "little")
_SST_FOOTER = 53
_BLOCK_TRAILER = 5
_SST_FORMATS: Final = range(4, 6)
"""Tables of RocksDB whose layout this module knows; Spark 4.2 writes 5."""
_ARRAY_OF_6: Final = b"\x96"
_TEXT_OF_2: Final = b"\xa2"
_NIL_OR_BYTES: Final = (b"\xc0", b"\xc4", b"\xc5", b"\xc6")
"""MessagePack's marks: of nil, and of bytes with a length of 8, 16 and 32 bits."""


class UnreadableError(ValueError):
    """Packed in a way that this module cannot undo."""


@dataclass(frozen=True)
class CheckpointSearch:
    """What a search looked through (`bytes` unpacked) and where it found something, by path and without the needle."""

    files: int
    bytes: int
    places: list[str]
    unreadable: list[str]

    @property
    def is_clean(self) -> bool:
        """Everything was looked through and nothing found."""
        return not self.places and not self.unreadable


def state_needle(user_id: str) -> bytes:
    """How the stream's state holds a user_id: the first of an event's six `Attributes`, with its length before it and a
    country of two letters behind it. So `u1` is not found in `u10`, and `phone` or `1001` not where a device or an episode
    is called so."""
    return _ARRAY_OF_6 + msgspec.msgpack.encode(user_id) + _TEXT_OF_2


def session_needles(session_id: str) -> list[bytes]:
    """How an entry of the state holds a session_id: a key, before the session's bytes, or nil where it left the state."""
    key = msgspec.msgpack.encode(session_id)
    return [key + behind for behind in _NIL_OR_BYTES]


def search_checkpoint(folder: Path, needles: Sequence[bytes]) -> CheckpointSearch:
    """Look for `needles` in all files below `folder`, unpacked and as they are. Files that vanish meanwhile are skipped."""
    files = looked_through = 0
    places, unreadable = [], []
    for path in sorted(folder.rglob("*")):
        try:
            raw = path.read_bytes() if path.is_file() else None
        except FileNotFoundError:  # Spark removes old versions meanwhile
            continue
        if raw is None:
            continue
        files += 1
        name = path.relative_to(folder).as_posix()
        is_found = _holds(raw, needles)
        try:
            for piece in unpacked(raw):
                looked_through += len(piece)
                is_found = is_found or _holds(piece, needles)
        except UnreadableError as error:
            unreadable.append(f"{name}: {error}")
        if is_found:
            places.append(name)
    return CheckpointSearch(files, looked_through, places, unreadable)


def unpacked(raw: bytes) -> Iterator[bytes]:
    """The contents of a file of a checkpoint, in pieces that cut no value, and after each the state's entries in it, which
    are packed once more. Raises UnreadableError."""
    try:
        for piece in _pieces(raw):
            yield piece
            yield from packed_in(piece)
    except (IndexError, OSError, zipfile.BadZipFile, NotPackedError) as error:
        raise UnreadableError(f"{type(error).__name__}: {error}") from error


def _pieces(raw: bytes) -> Iterator[bytes]:
    if raw.startswith(_LZ4_STREAM):
        yield b"".join(_lz4_stream(raw))
    elif raw.startswith(_ZSTD_STREAM):
        yield _zstd(raw)
    elif raw.startswith(_ZIP):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            for member in archive.namelist():
                yield from _pieces(archive.read(member))
    elif raw.endswith(_SST) and len(raw) >= _SST_FOOTER:
        yield from _sst_blocks(raw)
    else:
        yield raw


def _holds(content: bytes, needles: Sequence[bytes]) -> bool:
    return any(needle in content for needle in needles)


def _lz4_stream(raw: bytes) -> Iterator[bytes]:
    """lz4-java's LZ4BlockOutputStream: magic, method and level, packed and unpacked size, checksum, block; repeated."""
    at = 0
    while at < len(raw):
        if raw[at : at + 8] != _LZ4_STREAM:
            raise UnreadableError(f"no LZ4 block at byte {at}")
        method = raw[at + 8] & 0xF0
        packed, size = (int.from_bytes(raw[at + 9 + n : at + 13 + n], "little") for n in (0, 4))
        at += 21
        block = raw[at : at + packed]
        if len(block) != packed:
            raise UnreadableError("it ends in the middle of a block")
        yield block if method == 0x10 else _lz4(block, size)
        at += packed


def _sst_blocks(raw: bytes) -> Iterator[bytes]:
    """Data blocks of RocksDB's block-based table; they must fill the file from its first byte without a hole."""
    footer = raw[-_SST_FOOTER:]
    version = int.from_bytes(footer[41:45], "little")
    if version not in _SST_FORMATS:
        raise UnreadableError(f"a RocksDB table of format {version}")
    at = 1
    _, at = _varint(footer, at)
    _, at = _varint(footer, at)
    index_offset, at = _varint(footer, at)
    index_size, _ = _varint(footer, at)
    expected = 0
    for offset, size in _block_handles(_block(raw, index_offset, index_size)):
        if offset != expected:
            raise UnreadableError(f"its index leaves a hole at byte {expected}")
        yield _block(raw, offset, size)
        expected = offset + size + _BLOCK_TRAILER


def _block_handles(index: bytes) -> Iterator[tuple[int, int]]:
    """(offset, size) of each data block: whole at a restart point of the index, else by the difference in size."""
    restarts = int.from_bytes(index[-4:], "little")
    end = len(index) - 4 - 4 * restarts
    points = {int.from_bytes(index[end + 4 * n : end + 4 * n + 4], "little") for n in range(restarts)}
    at = offset = size = 0
    while at < end:
        is_whole = at in points
        _, at = _varint(index, at)
        length, at = _varint(index, at)
        at += length
        if is_whole:
            offset, at = _varint(index, at)
            size, at = _varint(index, at)
        else:
            offset += size + _BLOCK_TRAILER
            difference, at = _varint(index, at)
            size += (difference >> 1) ^ -(difference & 1)
        yield offset, size


def _block(raw: bytes, offset: int, size: int) -> bytes:
    block, kind = raw[offset : offset + size], raw[offset + size]
    if kind == 0:
        return block
    unpacked_size, start = _varint(block, 0)
    if kind in (4, 5):
        return _lz4(block[start:], unpacked_size)
    if kind == 7:
        return _zstd(block[start:])
    raise UnreadableError(f"RocksDB's compression {kind}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _lz4(block: bytes, size: int) -> bytes:
    import pyarrow as pa

    content: bytes = pa.Codec("lz4_raw").decompress(block, size, asbytes=True)
    return content


def _zstd(raw: bytes) -> bytes:
    import pyarrow as pa

    with pa.input_stream(io.BytesIO(raw), compression="zstd") as stream:
        content: bytes = stream.read()
    return content
