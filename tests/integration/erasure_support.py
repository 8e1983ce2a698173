"""A search that shares nothing with the project's own: pg_dump, files, unpacked Parquet and gzip; and what a reader has."""

import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pyarrow.parquet as pq

from local_stack.paths import postgres_bin

NOT_READ = ("postgres", "kafka", "secrets")
"""Folders of servers: the one is dumped, the other is what the test leaves to retention."""
SCRATCH = "spark"
"""In tmp/: what Spark shuffles. A driver that has run since the erasure has read him from Kafka, and thrown him away."""


def dump_of(dsn: str) -> str:
    """pg_dump of a database, as text."""
    parts = urlsplit(dsn)
    environment = {
        **os.environ, "PGHOST": str(parts.hostname), "PGPORT": str(parts.port), "PGUSER": str(parts.username),
        "PGPASSWORD": unquote(str(parts.password)), "PGDATABASE": parts.path.lstrip("/"),
    }  # fmt: skip
    done = subprocess.run(
        [postgres_bin() / "pg_dump", "--no-owner"],
        env=environment,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return done.stdout.decode(errors="replace")


def tables_with(dump: str, user_id: str) -> set[str]:
    """Tables of a dump in whose rows the id stands."""
    found, table = set(), ""
    for line in dump.splitlines():
        if line.startswith("COPY "):
            table = line.split()[1]
        elif user_id in line:
            found.add(table)
    return found


def files_with(root: Path, user_id: str) -> list[str]:
    """Files below `root` that hold the id, as they are or unpacked."""
    return sorted(str(path.relative_to(root)) for path in _files(root) if _holds(path, user_id.encode()))


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if name not in NOT_READ]
        if Path(folder) == root / "tmp":
            folders[:] = [name for name in folders if name != SCRATCH]
        yield from (Path(folder) / name for name in names)


def _holds(path: Path, needle: bytes) -> bool:
    try:
        data = path.read_bytes()
        if data.startswith(b"PAR1"):
            return needle in data or needle.decode() in str(pq.ParquetFile(path).read().to_pylist())
    except FileNotFoundError:
        return False
    if data.startswith(b"\x1f\x8b"):
        return needle in gzip.decompress(data)
    return needle in data or quote(needle.decode(), safe="").encode() in data or needle.decode() in path.name
