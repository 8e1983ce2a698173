"""Rows of Parquet files found, taken out or changed: a new file beside the old one, row group by row group.

Footers are written anew, because their statistics quote values; what else a footer says (which slices a compacted file
holds) is kept.
"""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.common.hive.files import data_files, link_or_copy

if TYPE_CHECKING:
    import pyarrow as pa

Change = Callable[["pa.Table"], "pa.Table"]
_ARROW_SCHEMA = b"ARROW:schema"


def holds(path: Path, column: str, value: str) -> bool:
    """Has the file a row with this text in `column`? Reads the column only where statistics allow for one."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if column not in file.schema_arrow.names:
            return False
        return any(
            pc.any(pc.equal(file.read_row_group(number, [column])[column], value)).as_py()
            for number in range(file.num_row_groups)
            if _may_hold(file.metadata.row_group(number), column, value)
        )


def may_hold_user(folder: Path, user_id: str) -> bool:
    """Has a folder that no partition points at a row of the reader, or anything of which nothing is known: a file that was
    not written to its end, or a hidden one?"""
    import pyarrow as pa

    if any(path.name.startswith(".") and path.suffix != ".crc" for path in folder.iterdir()):
        return True
    try:
        return any(holds(path, "user_id", user_id) for path in data_files(folder))
    except (pa.ArrowInvalid, OSError):
        return True


def is_user(user_id: str) -> Callable[[str], bool]:
    """Is a text this reader's id?"""
    return user_id.__eq__


def _may_hold(group: Any, column: str, value: str) -> bool:
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema == column:
            statistics = chunk.statistics
            if statistics is None or not statistics.has_min_max:
                return True
            least, most = (_text(bound) for bound in (statistics.min, statistics.max))
            return least <= value <= most
    return True


def _text(bound: Any) -> str:
    return bound.decode() if isinstance(bound, bytes) else str(bound)


def rows_where(paths: Iterable[Path], column: str, value: str, columns: Iterable[str]) -> "list[pa.Table]":
    """Some `columns` of the rows with this text in `column`, a table a file."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found = []
    for path in paths:
        table = pq.ParquetFile(path).read([*columns, column])
        found.append(table.filter(pc.equal(table[column], value)).select(list(columns)))
    return found


def rewrite(source: Path, target: Path, change: Change) -> int:
    """Write `source` with each row group changed to `target`, durably and whole; returns rows written.

    The schema stays. A row group of which no row is left is left out.
    """
    import pyarrow.parquet as pq

    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{target.name}.tmp")
    written = 0
    with pq.ParquetFile(source) as file, hidden.open("wb") as sink:
        schema = file.schema_arrow.remove_metadata()
        about = {key: value for key, value in (file.metadata.metadata or {}).items() if key != _ARROW_SCHEMA}
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for number in range(file.num_row_groups):
                rows = change(file.read_row_group(number).replace_schema_metadata(None))
                if rows.num_rows:
                    writer.write_table(rows, row_group_size=rows.num_rows)
                    written += rows.num_rows
            writer.add_key_value_metadata(about)
        sink.flush()
        os.fsync(sink.fileno())
    hidden.replace(target)
    return written


def copy_changed(files: Iterable[Path], changed: Collection[Path], target: Path, change: Change) -> None:
    """Show `files` in folder `target`: `changed` ones rewritten, unless no row is left, the others as they are."""
    target.mkdir(parents=True, exist_ok=True)
    for path in files:
        if path not in changed:
            link_or_copy(path, target / path.name)
        elif not rewrite(path, target / path.name, change):
            (target / path.name).unlink()


def without(column: str, is_wanted: Callable[[str], bool]) -> Change:
    """A change that takes out the rows whose text in `column` is wanted; null is never."""

    def change(rows: "pa.Table") -> "pa.Table":
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = rows[column]
        wanted = [text for text in pc.unique(texts).to_pylist() if text is not None and is_wanted(text)]
        if not wanted:
            return rows
        return rows.filter(pc.invert(pc.is_in(texts, value_set=pa.array(wanted, texts.type))))

    return change
