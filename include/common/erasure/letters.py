"""Dead letters and erased readers: events that become one, and letters whose bytes name a reader."""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from include.common.archive.compaction import SLICES_KEY
from include.common.erasure.records import ERASED, mentions
from include.common.hive.parquet_rows import Change
from include.common.hive.tables import DEAD_LETTERS

if TYPE_CHECKING:
    import pyarrow as pa

IsNamed = Callable[[str], bool]
Place = tuple[str, int, int]
"""Topic, Kafka partition, offset."""
PLACE: Final = ("topic", "kafka_partition", "kafka_offset", "kafka_timestamp", "slice_id")
"""Columns of an event that its dead letter keeps."""
_KEY: Final = list(PLACE[:3])


def letters_by_day(rows: "pa.Table", present: Set[Place] = frozenset()) -> "dict[str, pa.Table]":
    """`rows` (columns PLACE) as dead letters of reason ERASED, by dt; those `present` are left out."""
    import pyarrow as pa

    schema = DEAD_LETTERS.arrow_schema()
    days: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows.to_pylist():
        if tuple(row[name] for name in _KEY) in present:
            continue
        of_day = days[f"{row['kafka_timestamp']:%Y-%m-%d}"]
        for name in schema.names:
            of_day[name].append(ERASED if name == "reason" else row.get(name))
    order = [("kafka_partition", "ascending"), ("kafka_offset", "ascending")]
    return {dt: pa.table(dict(found), schema=schema).sort_by(order) for dt, found in days.items()}


def lacking(added: "pa.Table | None", files: Iterable[Path]) -> "pa.Table | None":
    """Letters of `added` whose places stand in none of the `files`; None where there is none."""
    if added is None:
        return None
    present = places(files)
    mask = [tuple(row[name] for name in _KEY) not in present for row in added.select(_KEY).to_pylist()]
    return added.filter(mask) if any(mask) else None


def places(files: Iterable[Path]) -> set[Place]:
    """Where the records in the files were."""
    return {
        (row["topic"], row["kafka_partition"], row["kafka_offset"])
        for path in files
        for row in columns_of(path, _KEY).to_pylist()
    }


def write_letters(rows: "pa.Table", path: Path) -> None:
    """Write letters of several slices, durably; the footer names them, as a compacted file's does."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    slices = json.dumps(sorted(set(rows["slice_id"].to_pylist()))).encode()
    hidden = path.with_name(f".{path.name}.tmp")
    with hidden.open("wb") as sink:
        pq.write_table(rows.replace_schema_metadata({SLICES_KEY: slices}), sink, compression="zstd")
        sink.flush()
        os.fsync(sink.fileno())
    hidden.replace(path)


def naming(path: Path, is_named: IsNamed) -> int:
    """Dead letters of the file whose bytes name a text that `is_named`."""
    return sum(_names(columns_of(path, ["key", "value"]), is_named))


def emptied(is_named: IsNamed) -> Change:
    """A change that takes key and value from letters that name such a text; reason and place stay."""
    return lambda rows: _without_bytes(rows, _names(rows, is_named))


def emptied_at(where: Set[Place]) -> Change:
    """The same for the letters at these places."""
    return lambda rows: _without_bytes(
        rows, [tuple(row.values()) in where for row in rows.select(_KEY).to_pylist()]
    )


def empty_places(files: Iterable[Path]) -> set[Place]:
    """Places of letters without key and value."""
    return {
        tuple(row[name] for name in _KEY)
        for path in files
        for row in columns_of(path, [*_KEY, "key", "value"]).to_pylist()
        if row["key"] is None and row["value"] is None
    }


def letters_emptied(before: "pa.Table", after: "pa.Table") -> int:
    """How many letters have lost key or value."""
    return sum(
        int(old != new)
        for old, new in zip(
            before.select(["key", "value"]).to_pylist(),
            after.select(["key", "value"]).to_pylist(),
            strict=True,
        )
    )


def _without_bytes(rows: "pa.Table", which: list[bool]) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = pa.array(which, pa.bool_())
    for name in ("key", "value"):
        field = rows.schema.field(name)
        column = pc.if_else(gone, pa.scalar(None, field.type), rows[name])
        rows = rows.set_column(rows.schema.get_field_index(name), field, column)
    return rows


def _names(rows: "pa.Table", is_named: IsNamed) -> list[bool]:
    pairs = zip(rows["key"].to_pylist(), rows["value"].to_pylist(), strict=True)
    return [mentions(key, is_named) or mentions(value, is_named) for key, value in pairs]


def columns_of(path: Path, names: Iterable[str]) -> "pa.Table":
    """Some columns of a file."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read(list(names))
