"""The search of files finds an id in every kind of file that the stores write, and says so when it cannot look."""

import bz2
import gzip
import json
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.erasure.needles import Needles
from include.orchestration.erasure import search_files as module
from include.orchestration.erasure.finding import Finding, NotSearchedError
from include.orchestration.erasure.search_files import files_with, search_files

READER, OTHER = "reader-7", "reader-77"


def search(root: Path, user_id: str = READER) -> Finding:
    finding = Finding("files")
    search_files(finding, root, Needles(user_id))
    return finding


def table(user_id: str) -> pa.Table:
    return pa.table({"user_id": [OTHER, user_id, OTHER], "n": [7, 8, 9]})


def arrow_stream(codec: str) -> Callable[[Path, bytes], None]:
    def write(path: Path, data: bytes) -> None:
        with pa.output_stream(str(path), compression=codec) as out:
            out.write(data)

    return write


def zipped(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner/page.html", data)
        archive.writestr("inner/page.gz", gzip.compress(b"nobody"))


def gzipped_in_zip(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.gz", gzip.compress(data))


KINDS: dict[str, Callable[[Path, bytes], object]] = {
    "plain": Path.write_bytes,
    "gzip": lambda path, data: path.write_bytes(gzip.compress(data)),
    "bzip2": lambda path, data: path.write_bytes(bz2.compress(data)),
    "zstd": arrow_stream("zstd"),
    "lz4": arrow_stream("lz4"),
    "zip": zipped,
    "gzip in zip": gzipped_in_zip,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("user_id", "found"), [(READER, 1), (OTHER, 0)])
def test_bytes_of_every_kind(kind: str, user_id: str, found: int, tmp_path: Path) -> None:
    line = json.dumps({"filler": "x" * 500, "user_id": user_id, "more": "y" * 500})
    KINDS[kind](tmp_path / "file", line.encode())
    finding = search(tmp_path)
    assert (finding.found, finding.bytes >= 1000) == (found, True)
    assert finding.places == (["file"] if found else [])


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "lz4"])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([READER, OTHER]),
        pa.array([READER.encode(), b"\xff"]),
        pa.array([READER, OTHER]).dictionary_encode(),
        pa.array([[OTHER, READER], None]),
        pa.array([{"a": {"b": READER}}, None]),
        pa.array([[("k", READER)], [("k", OTHER)]], pa.map_(pa.string(), pa.string())),
        pa.array([[(READER, 1)], None], pa.map_(pa.string(), pa.int64())),
        pa.array([json.dumps({"user_id": READER}), None]),
    ],
    ids=["text", "binary", "dictionary", "list", "struct", "map value", "map key", "JSON"],
)
def test_parquet(codec: str, values: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"c": values}), tmp_path / "f.parquet", compression=codec)
    assert search(tmp_path).found == 1
    assert search(tmp_path, "reader-8").found == 0


def test_parquet_of_many_row_groups_and_encodings(tmp_path: Path) -> None:
    ids = [f"reader-{number}" for number in range(50_000)]
    pq.write_table(
        pa.table({"user_id": ids}), tmp_path / "f.parquet", row_group_size=10_000, use_dictionary=False,
        column_encoding={"user_id": "DELTA_BYTE_ARRAY"},
    )  # fmt: skip
    assert search(tmp_path, "reader-49999").found == 1
    assert search(tmp_path, "reader-50000").found == 0


def test_short_ids_in_packed_files_are_told_from_chance(tmp_path: Path) -> None:
    """Two bytes stand in any block of compressed bytes; what is unpacked says whether it is an id."""
    noise = b"".join(number.to_bytes(4, "big") for number in range(0, 2**32, 65_521))
    pq.write_table(pa.table({"c": [noise], "user_id": ["u1"]}), tmp_path / "f.parquet", compression="zstd")
    assert search(tmp_path, "u1").found >= 1
    pq.write_table(pa.table({"user_id": ["u12"]}), tmp_path / "f.parquet", compression="zstd")
    assert search(tmp_path, "u1").found == 0


def test_blocks_that_cut_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = b" ".join([READER.encode(), b"reader-70"] * 200)
    (tmp_path / "f").write_bytes(text)
    for block in (1, 7, 8, 9, 64, 1000, 10_000):
        monkeypatch.setattr(module, "BLOCK", block)
        assert search(tmp_path).found == 200, block


def test_names_and_what_the_search_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / READER).mkdir()
    (tmp_path / READER / f"{READER}.html").write_text("nobody")
    (tmp_path / "page.html").write_text(f"<b>{READER}</b>")
    with caplog.at_level(logging.INFO):
        finding = search(tmp_path)
    assert sorted(finding.places) == ["name of (a name with the id)", "page.html"]
    assert READER not in caplog.text + repr(finding)
    assert files_with(tmp_path, Needles(READER)) == [
        tmp_path / "page.html", tmp_path / READER / f"{READER}.html",
    ]  # fmt: skip


def test_what_is_skipped(tmp_path: Path) -> None:
    for folder in ("kafka", "logs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f").write_text(READER)
    finding = Finding("files")
    search_files(finding, tmp_path, Needles(READER), skip=lambda path: path.name == "kafka")
    assert finding.places == ["logs/f"]


def test_what_cannot_be_read_is_no_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_S", 0.0)
    (tmp_path / f"{READER}.parquet").write_bytes(b"PAR1 and no footer")
    with pytest.raises(NotSearchedError, match="cannot be read") as raised:
        search(tmp_path)
    assert READER not in str(raised.value)
    with pytest.raises(NotSearchedError, match="is not there"):
        search(tmp_path / "nowhere")
