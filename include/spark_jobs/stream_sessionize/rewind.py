"""Takes a checkpoint back to where the ledger stands, before its query begins.

Spark lists a micro-batch as done before PostgreSQL has committed it (`sink.py`), so a driver that was killed may leave a
checkpoint that is ahead: Spark would go on behind a micro-batch that nobody has written. What Spark logged beyond it is
removed, and Spark repeats it from the same offsets and the same state, as it does by itself after a crash between its
sink and its commit log.
"""

import re
from collections.abc import Iterable
from pathlib import Path

_VERSION = re.compile(r"\.?(\d+)[._]")


def rewind(checkpoint: Path, listed: int) -> bool:
    """Have Spark continue with the micro-batch after `listed`, the newest in the ledger (-1: none). Only for who holds the
    checkpoint; whether Spark was ahead.

    What is kept is that micro-batch's entry in the offset log, if there is one, and the state it begins with (version
    `listed` + 1). State goes first and the commit log last, so that a crash in here is mended by the next call.
    """
    was_ahead = bool(_beyond(checkpoint / "commits", listed))
    for store in sorted((checkpoint / "state").glob("*/[0-9]*")):
        _remove(path for path in store.iterdir() if path.is_file() and _version(path) > listed + 1)
    _remove(_beyond(checkpoint / "offsets", listed + 1))
    _remove(_beyond(checkpoint / "commits", listed))
    return was_ahead


def _version(path: Path) -> int:
    """Of a state store's file: `7.changelog`, `7.zip` or one of their checksums; -1 for other files."""
    found = _VERSION.match(path.name)
    return -1 if found is None else int(found[1])


def _beyond(log: Path, last: int) -> list[Path]:
    """Entries of one of Spark's logs after `last`, newest first, each behind its checksum."""
    entries = [int(path.name) for path in log.glob("[0-9]*") if path.name.isdigit()]
    return [
        path
        for number in sorted(entries, reverse=True)
        if number > last
        for path in (log / f".{number}.crc", log / str(number))
    ]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
