"""What Spark and RocksDB pack is looked into; the real files are searched in tests/integration/test_stream_erasure.py."""

import io
import itertools
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from include.common.erasure.checkpoint_search import (
    search_checkpoint,
    session_needles,
    state_needle,
    unpacked,
)
from include.common.packed import pack
from include.contract.bucket import BucketState
from include.contract.event import Device, EventType, Platform, ReadingEvent
from include.contract.rules import SessionRules
from include.spark_jobs.stream_sessionize.bucket_log import encode_entry

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


def event(user_id: str, session_id: str, number: int, episode_id: str = "1001") -> ReadingEvent:
    """The `number`th event of a topic, one of every four with all that is optional."""
    return ReadingEvent(
        event_id=f"event-{number}",
        user_id=user_id,
        session_id=session_id,
        episode_id=episode_id,
        event_type=EventType.ENTER,
        country="KR",
        device=Device.PHONE,
        platform=Platform.IOS,
        timestamp=number * 1_000,
        experiments={"cover": "large", "order": "new"} if number % 4 == 3 else None,
        ui_version="2026.11" if number % 4 == 3 else None,
    )


def entries(*events: ReadingEvent, calls: int = 1) -> list[bytes]:
    """What a bucket's log holds of events after as many `calls`, all touched sessions and then a base."""
    bucket, found = BucketState(SessionRules(gap_ms=100_000, lateness_ms=1_000)), []
    for call in range(calls):
        records = ((0, offset, 0, it) for offset, it in enumerate(events) if offset % calls == call)
        found.append(encode_entry(bucket.apply(records).touched))
    return [*found, encode_entry(bucket.sessions())]


def places(folder: Path, entry: bytes, needles: list[bytes]) -> list[str]:
    (folder / "1.changelog").write_bytes(lz4_stream(b"key " + entry))
    return search_checkpoint(folder, needles).places


READERS = ["u", "독자", "r" * 31, "r" * 32, "r" * 128, "독" * 128, "1001", "phone", "KR"]


@pytest.mark.parametrize("user_id", READERS)
@pytest.mark.parametrize("number", [0, 3])
@pytest.mark.parametrize("others", [0, 1, 20])
def test_a_reader_is_found_in_the_state_wherever_he_stands(
    tmp_path: Path, user_id: str, number: int, others: int
) -> None:
    theirs = [event(f"other-{n}", "shared", 4 * n + number) for n in range(others)]
    his = [event(user_id, "shared", 4 * others + number), event(user_id, "his", 4 * others + number + 4)]
    for calls in (1, 2):
        *touched, base = entries(*theirs, *his, calls=calls)
        assert places(tmp_path, base, [state_needle(user_id)])
        assert any(places(tmp_path, entry, [state_needle(user_id)]) for entry in touched)
        assert not places(tmp_path, base, [state_needle(f"{user_id}0"), state_needle(user_id[:-1])])


@pytest.mark.parametrize("session_id", READERS)
@pytest.mark.parametrize("events", [1, 10, 3_000])
def test_a_session_is_found_in_the_state_however_long_it_is(
    tmp_path: Path, session_id: str, events: int
) -> None:
    *_, base = entries(*(event("u7", session_id, n) for n in range(events)))
    assert places(tmp_path, base, session_needles(session_id))
    assert not places(tmp_path, base, session_needles(f"{session_id}0") + session_needles(session_id[:-1]))


def test_a_session_that_left_the_state_is_found_in_the_entry_that_says_so(tmp_path: Path) -> None:
    touched = entries(event("u7", "s-1", 0), event("u7", "s-2", 500), calls=2)[1]
    assert places(tmp_path, touched, session_needles("s-1"))
    assert not places(tmp_path, touched, [state_needle("s-1")])


@pytest.mark.parametrize("episodes", [1, 5, 6, 7, 20])
def test_other_text_of_the_state_is_no_reader_and_no_session(tmp_path: Path, episodes: int) -> None:
    """The list of six episodes begins as a reader's six attributes do."""
    events = [event("u7", "s-7", 4 * n + 3, episode_id=str(1001 + n)) for n in range(episodes)]
    *_, base = entries(*events)
    for text in ("1001", "phone", "ios", "KR", "cover", "large", "2026.11", "s-7", "event-3"):
        assert not places(tmp_path, base, [state_needle(text)]), text
    for text in ("1001", "phone", "KR", "cover", "large", "u7", "event-3"):
        assert not places(tmp_path, base, session_needles(text)), text
