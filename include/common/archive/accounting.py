"""produced = archived + quarantined + dead letters, by (partition, offset)."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.archive.slice_files import read_slice
from include.common.archive.slices import Slice, SliceError

if TYPE_CHECKING:
    import numpy as np

_SHOWN = 5


class SliceAccountingError(SliceError):
    """Offsets of a slice are missing from its files, stand in them twice, or don't belong to it."""


def check_slice_accounting(piece: Slice, files: Iterable[Path]) -> int:
    """Check that `files` hold each offset of the slice exactly once and no other; return its rows in them.

    Rows of a compacted file that are another slice's do not count.

    Raises SliceAccountingError that names partitions and offsets.
    """
    import numpy as np

    found = _offsets_by_partition(piece, files)
    faults = [f"partition {number} is not of the slice" for number in sorted(set(found) - set(piece.end))]
    rows = 0
    for number, end in piece.end.items():
        wanted = np.arange(piece.start[number], end, dtype=np.int64)
        offsets = found.get(number, np.empty(0, np.int64))
        rows += len(offsets)
        unique, counts = np.unique(offsets, return_counts=True)
        for what, which in (
            ("missing", np.setdiff1d(wanted, unique)),
            ("twice or more", unique[counts > 1]),
            ("outside the slice", np.setdiff1d(unique, wanted)),
        ):
            if len(which):
                faults.append(f"partition {number}: {len(which)} {what} ({_some(which)})")
    if faults:
        raise SliceAccountingError(
            f"slice {piece.slice_id} does not add up: {'; '.join(faults)}. Nothing of it counts as archived; "
            f"clear task archive_slice of run {piece.run_id}, and see docs/runbooks/events_archive.md if it stays"
        )
    return rows


def rows_of_slice(piece: Slice, files: Iterable[Path]) -> int:
    """Rows of the slice in `files`; those of other slices in a compacted file do not count."""
    return sum(len(offsets) for offsets in _offsets_by_partition(piece, files).values())


def _offsets_by_partition(piece: Slice, files: Iterable[Path]) -> "dict[int, np.ndarray]":
    import numpy as np
    import pyarrow as pa

    columns = ["kafka_partition", "kafka_offset"]
    tables = [read_slice(path, piece.slice_id, columns) for path in files]
    if not tables:
        return {}
    whole = pa.concat_tables(tables)
    partitions = whole["kafka_partition"].to_numpy()
    offsets = whole["kafka_offset"].to_numpy()
    return {int(number): offsets[partitions == number] for number in np.unique(partitions)}


def _some(offsets: "np.ndarray") -> str:
    shown = ", ".join(str(offset) for offset in offsets[:_SHOWN])
    return shown + (", ..." if len(offsets) > _SHOWN else "")
