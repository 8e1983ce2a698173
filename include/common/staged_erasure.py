"""Erased readers and staged slices: what was staged before anybody knew is brought in line before it is placed."""

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.erased_letters import (
    PLACE,
    IsNamed,
    columns_of,
    emptied,
    letters_by_day,
    naming,
    places,
    write_letters,
)
from include.common.hive_tables import DEAD_LETTERS
from include.common.parquet_rows import Change, rewrite, without
from include.common.slice_files import StagedSlice, data_files

if TYPE_CHECKING:
    import pyarrow as pa


def erase_staged(staged: StagedSlice, is_erased: IsNamed) -> int:
    """Turn staged events of erased readers into dead letters, and empty dead letters that name one; returns records.

    Safe to repeat, also after a kill: letters are written first, and none twice.
    """
    erased = 0
    for path in data_files(staged.dead_letters):
        if count := naming(path, is_erased):
            _replace(path, emptied(is_erased))
            erased += count
    present = places(data_files(staged.dead_letters))
    for path in data_files(staged.events):
        rows = _rows_of_erased(path, is_erased)
        if not rows.num_rows:
            continue
        for dt, letters in letters_by_day(rows, present).items():
            folder = staged.dead_letters / DEAD_LETTERS.partition_name((dt,))
            write_letters(letters, folder / f"part-erased-{uuid.uuid4().hex}.parquet")
        _replace(path, without("user_id", is_erased))
        erased += rows.num_rows
    if erased:
        shutil.rmtree(staged.quarantined, ignore_errors=True)  # made anew from the events
    return erased


def _rows_of_erased(path: Path, is_erased: IsNamed) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = columns_of(path, [*PLACE, "user_id"])
    erased = [text for text in pc.unique(rows["user_id"]).to_pylist() if text is not None and is_erased(text)]
    return rows.filter(pc.is_in(rows["user_id"], value_set=pa.array(erased, pa.string()))).select(list(PLACE))


def _replace(path: Path, change: Change) -> None:
    if not rewrite(path, path, change):
        path.unlink()
    path.with_name(f".{path.name}.crc").unlink(missing_ok=True)  # Spark's checksum of the file as it was
