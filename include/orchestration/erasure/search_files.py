"""Every file of a folder, byte by byte: as it is, and unpacked where it is packed (gzip, bzip2, zstd, lz4, zip, Parquet)."""

import functools
import logging
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from include.common.erasure.needles import Needles
from include.orchestration.erasure.finding import Finding, NotSearchedError, Progress

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

BLOCK: Final = 4 << 20
_ROWS: Final = 65_536
_STREAMS: Final = {
    b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4",
}  # fmt: skip
_ZIP: Final = b"PK\x03\x04"
_PARQUET: Final = b"PAR1"
_CHECKSUMS: Final = ".crc"
"""Hadoop's, of the file beside: bytes by chance, of nothing else."""
_ATTEMPTS: Final = 4
_WAIT_S: Final = 3.0


def search_files(
    finding: Finding, root: Path, needles: Needles, *, skip: Callable[[Path], bool] = lambda _: False
) -> None:
    """Look through every file under `root` and every name; `skip` says which folders and files another search has.

    A file that goes while it is read is no find. Raises NotSearchedError for one that cannot be read, and for a `root`
    that is not there.
    """
    if not root.is_dir():
        raise NotSearchedError(
            f"{finding.store}: {root} is not there, or this task may not see it: mount it where tasks run"
        )
    progress = Progress(finding)
    for path in _files(root, skip, finding.store):
        shown = _shown(path, root, needles)
        finding.add(f"name of {shown}", int(needles.is_in(os.fsencode(path.relative_to(root)))))
        finding.add(shown, _read_patiently(path, shown, finding, needles))
        progress.say(shown)
    progress.say(str(root), at_once=True)


def files_with(root: Path, needles: Needles) -> list[Path]:
    """Files under `root` that hold the id, in their bytes or their names. Raises NotSearchedError."""
    found = []
    for path in _files(root, lambda _: False, str(root)):
        name = os.fsencode(path.relative_to(root))
        if needles.is_in(name) or _read_patiently(path, "a file", Finding(str(root)), needles):
            found.append(path)
    return found


def _files(root: Path, skip: Callable[[Path], bool], store: str) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder that was removed meanwhile
            raise NotSearchedError(
                f"{store}: a folder under {root} cannot be read ({error.strerror}): let this task's user read it"
            ) from None

    for folder, folders, names in os.walk(root, onerror=fail):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not skip(here / name))
        for name in sorted(names):
            path = here / name
            if not path.is_symlink() and path.is_file() and not skip(path):
                yield path


def _shown(path: Path, root: Path, needles: Needles) -> str:
    """The path, for logs: without the id where it stands in a name."""
    shown = str(path.relative_to(root))
    return "(a name with the id)" if needles.is_in(os.fsencode(shown)) else shown


def _read_patiently(path: Path, shown: str, finding: Finding, needles: Needles) -> int:
    """Finds in the file; waits a little for one that somebody is just writing."""
    for attempt in range(_ATTEMPTS):
        try:
            count, size = _search_file(path, needles)
        except FileNotFoundError:
            return 0
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
            if attempt + 1 < _ATTEMPTS and not isinstance(error, NotImplementedError):
                time.sleep(_WAIT_S)
                continue
            raise NotSearchedError(
                f"{finding.store}: {shown} cannot be read ({type(error).__name__}): mend its access, or remove it if it is "
                f"damaged or left over"
            ) from None
        finding.bytes += size
        return count
    raise AssertionError("the last attempt returns or raises")


def _search_file(path: Path, needles: Needles) -> tuple[int, int]:
    """Finds and bytes of one file."""
    if path.suffix == _CHECKSUMS and not needles.in_packed:
        return 0, 0
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        kind = _kind(head)
        if kind == "":
            return _search_stream(file, needles)
        packed = _search_stream(file, needles) if needles.in_packed else (0, path.stat().st_size)
        inner = _unpacked(path, kind, needles)
        # what was unpacked counts; beside it only what stands elsewhere in the file (statistics of a footer)
        return inner[0] or packed[0], packed[1] + inner[1]


def _kind(head: bytes) -> str:
    if head.startswith(_PARQUET):
        return "parquet"
    if head.startswith(_ZIP):
        return "zip"
    return next((name for magic, name in _STREAMS.items() if head.startswith(magic)), "")


def _unpacked(path: Path, kind: str, needles: Needles) -> tuple[int, int]:
    import pyarrow as pa

    if kind == "parquet":
        return _search_parquet(path, needles)
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            names = sum(needles.count(name.encode()) for name in archive.namelist())
            inside = _sum(
                [
                    _search_member(archive, member, needles)
                    for member in archive.infolist()
                    if not member.is_dir()
                ]
            )
        return names + inside[0], inside[1]
    with pa.input_stream(str(path), compression=kind) as stream:
        return _search_stream(stream, needles)


def _search_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, needles: Needles) -> tuple[int, int]:
    """A member of an archive; one that is packed itself is unpacked once more."""
    import pyarrow as pa

    with archive.open(member) as raw:
        head = raw.read(8)
        raw.seek(0)
        kind = _kind(head)
        if kind not in _STREAMS.values():
            return _search_stream(raw, needles)
        with pa.input_stream(raw, compression=kind) as stream:
            return _search_stream(stream, needles)


def _search_stream(stream: IO[bytes] | Any, needles: Needles) -> tuple[int, int]:
    """Finds and bytes of a stream; blocks overlap, and what stands on their border counts once."""
    count = size = counted_to = 0  # positions in the stream
    kept = b""
    while block := stream.read(BLOCK):
        begins = size - len(kept)
        data = kept + block
        size += len(block)
        # what begins within the overlap is looked at with the next block, when all that follows it is there
        edge = max(counted_to, size - needles.overlap)
        count += len({at for at in needles.places(data) if counted_to <= begins + at < edge})
        counted_to = edge
        kept = data[-2 * needles.overlap :]
    begins = size - len(kept)
    return count + len({at for at in needles.places(kept) if begins + at >= counted_to}), size


def _search_parquet(path: Path, needles: Needles) -> tuple[int, int]:
    """Every text or binary value of every row group, and the footer's own texts."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        footer = file.metadata.metadata or {}
        count = sum(needles.count(key + b'"' + value) for key, value in footer.items())
        size = sum(len(key) + len(value) for key, value in footer.items())
        count += sum(needles.count(name.encode()) for name in file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=_ROWS):
            for column in batch.columns:
                found, looked = _search_column(column, needles)
                count, size = count + found, size + looked
    return count, size


def _search_column(column: "pa.Array", needles: Needles) -> tuple[int, int]:
    """Finds in an array, however deep its texts lie."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _search_column(column.dictionary_decode(), needles)
    if pa.types.is_struct(kind):
        return _sum([_search_column(child, needles) for child in column.flatten()])
    if isinstance(column, pa.MapArray):
        first, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
        parts = (part.slice(first, end - first) for part in (column.keys, column.items))
        return _sum([_search_column(part, needles) for part in parts])
    if isinstance(column, (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray)):
        return _search_column(column.flatten(), needles)
    if not (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):  # fmt: skip
        return 0, 0
    raw = column.cast(pa.large_binary())
    hits = functools.reduce(pc.or_, (pc.match_substring(raw, spelling) for spelling in needles.spellings))
    found = sum(needles.is_in_cell(value) for value in raw.filter(hits).to_pylist())
    return found, int(pc.sum(pc.binary_length(raw)).as_py() or 0)


def _sum(parts: list[tuple[int, int]]) -> tuple[int, int]:
    return sum(part[0] for part in parts), sum(part[1] for part in parts)
