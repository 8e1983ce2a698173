"""What Spark and RocksDB pack is looked into; the real files are searched in tests/integration/test_stream_erasure.py."""

import io
import itertools
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from include.common.erasure.checkpoint_search import search_checkpoint, state_needle, unpacked
from include.common.packed import pack

NEEDLE = b"reader-that-leaves"
PLAIN = b"state " * 500 + NEEDLE + b" state" * 500


def varint(value: int) -> bytes:
    head = b""
    while value >= 0x80:
        head += bytes([value & 0x7F | 0x80])
        value >>= 7
    return head + bytes([value])


def lz4(content: bytes) -> bytes:
    packed: bytes = pa.Codec("lz4_raw").compress(content, asbytes=True)
    assert NEEDLE not in packed[:-1] or len(packed) < len(content)
    return packed


def lz4_stream(*pieces: bytes) -> bytes:
    blocks = [
        b"LZ4Block\x25"
        + len(packed).to_bytes(4, "little")
        + len(piece).to_bytes(4, "little")
        + b"\0\0\0\0"
        + packed
        for piece, packed in ((piece, lz4(piece)) for piece in pieces)
    ]
    return b"".join(blocks) + b"LZ4Block\x15" + bytes(12)


def table(*contents: bytes) -> bytes:
    """RocksDB's table of format 5, whose index has one restart point and then differences in size."""
    file, sizes = b"", []
    for content in contents:
        block = varint(len(content)) + lz4(content)
        file += block + b"\x04" + bytes(4)
        sizes.append(len(block))
    index = b"\0\1k" + varint(0) + varint(sizes[0])
    for before, size in itertools.pairwise(sizes):
        change = size - before
        index += b"\0\1k" + varint(change << 1 if change >= 0 else (-change << 1) - 1)
    index += bytes(4) + (1).to_bytes(4, "little")
    footer = (b"\4" + varint(0) + varint(0) + varint(len(file)) + varint(len(index))).ljust(41, b"\0")
    magic = 0x88E241B785F4CFF7.to_bytes(8, "little")
    return file + index + b"\0" + bytes(4) + footer + (5).to_bytes(4, "little") + magic


def zipped(**members: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.changelog", lz4_stream(b"before " * 90, PLAIN)),
        ("2.changelog", lz4_stream(PLAIN[: PLAIN.index(NEEDLE) + 5], PLAIN[PLAIN.index(NEEDLE) + 5 :])),
        (".3.changelog.tmp", lz4_stream(PLAIN)),
        ("4.zip", zipped(MANIFEST=b"other", log=PLAIN)),
        ("SSTs/5.sst", table(b"a" * 400, b"b" * 90, PLAIN, b"c" * 70_000)),
        ("6.zstd", pa.Codec("zstd").compress(PLAIN, asbytes=True)),
        ("commits/7", PLAIN),
        ("8.changelog", lz4_stream(b"key " + pack(PLAIN) + b" key " + pack(b"other"))),
        ("9.zip", zipped(log=b"key " + pack(b"other") + pack(PLAIN))),
        ("SSTs/10.sst", table(b"a" * 400, pack(b"other") + b"key" + pack(PLAIN))),
    ],
)
def test_it_is_found_in_whatever_it_is_packed_in(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    found = search_checkpoint(tmp_path, [b"nobody", NEEDLE])
    assert (found.places, found.unreadable, found.files) == ([name], [], 1)
    assert found.bytes >= len(PLAIN)
    assert search_checkpoint(tmp_path, [b"nobody"]).is_clean


@pytest.mark.parametrize(
    "content",
    [lz4_stream(PLAIN)[:-60], zipped(log=PLAIN)[:-30], table(PLAIN).replace(b"\4\0\0\0\0", b"\1\0\0\0\0", 1)],
)
def test_what_cannot_be_unpacked_is_no_proof(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    found = search_checkpoint(tmp_path, [b"nobody"])
    assert not found.is_clean
    assert [it.split(":")[0] for it in found.unreadable] == ["file"]


def test_all_blocks_of_a_table_are_read() -> None:
    contents = [bytes([number]) * (50 + 300 * (number % 3)) for number in range(40)]
    assert list(unpacked(table(*contents))) == contents


def test_an_id_is_not_found_in_a_longer_one() -> None:
    assert state_needle("u1") not in state_needle("u10")
    assert state_needle("독자") == b"\xa6" + "독자".encode()
