"""Erased readers and staged slices: what was staged before anybody knew is brought in line before it is placed."""

import shutil
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.archive.slice_files import StagedSlice
from include.common.erasure.letters import (
    PLACE,
    IsNamed,
    columns_of,
    emptied,
    emptied_at,
    empty_places,
    letters_by_day,
    letters_emptied,
    places,
    write_letters,
)
from include.common.hive.files import data_files
from include.common.hive.parquet_rows import Change, rewrite, without
from include.common.hive.tables import DEAD_LETTERS

if TYPE_CHECKING:
    import pyarrow as pa


def erase_staged(staged: StagedSlice, is_erased: IsNamed, sessions: Collection[str] = ()) -> int:
    """Turn staged events of erased readers into dead letters, and empty dead letters that name one; returns records.

    A letter that names one of `sessions`, or of the sessions of those events, names a reader, too. Safe to repeat, also
    after a kill: letters are written first, and none twice.
    """
    gone = {path: _rows_of_erased(path, is_erased) for path in data_files(staged.events)}
    gone = {path: rows for path, rows in gone.items() if rows.num_rows}
    theirs = {
        *sessions,
        *(it for rows in gone.values() for it in rows["session_id"].unique().to_pylist() if it),
    }
    erased = _empty(staged, emptied(lambda text: text in theirs or is_erased(text)))
    present = places(data_files(staged.dead_letters))
    for path, rows in gone.items():
        for dt, letters in letters_by_day(rows.select(list(PLACE)), present).items():
            folder = staged.dead_letters / DEAD_LETTERS.partition_name((dt,))
            write_letters(letters, folder / f"part-erased-{uuid.uuid4().hex}.parquet")
        _replace(path, without("user_id", is_erased))
        erased += rows.num_rows
    if erased:
        shutil.rmtree(staged.quarantined, ignore_errors=True)  # made anew from the events
    return erased


def keep_empty(staged: StagedSlice, placed: Iterable[Path]) -> int:
    """Empty staged dead letters whose places are empty in files that were `placed`; returns how many.

    An erasure knew the reader's sessions; whoever stages the slice again does not.
    """
    return _empty(staged, emptied_at(empty_places(placed)))


def _empty(staged: StagedSlice, change: Change) -> int:
    count = 0
    for path in data_files(staged.dead_letters):
        before = columns_of(path, ["key", "value"])
        emptied_rows = letters_emptied(before, change(columns_of(path, DEAD_LETTERS.column_names())))
        if emptied_rows:
            _replace(path, change)
            count += emptied_rows
    return count


def _rows_of_erased(path: Path, is_erased: IsNamed) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = columns_of(path, [*PLACE, "user_id", "session_id"])
    erased = [text for text in pc.unique(rows["user_id"]).to_pylist() if text is not None and is_erased(text)]
    return rows.filter(pc.is_in(rows["user_id"], value_set=pa.array(erased, pa.string())))


def _replace(path: Path, change: Change) -> None:
    if not rewrite(path, path, change):
        path.unlink()
    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)  # Spark's checksum of the file as it was
