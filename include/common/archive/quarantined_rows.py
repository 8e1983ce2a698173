"""Rows of quarantine: with the names of the expectations that each one broke, and the way back to raw_events.

A row is found by (Kafka partition, offset): no personal ids are needed to say which one failed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from include.common.archive.slice_files import read_slice
from include.common.hive.files import data_files
from include.common.hive.tables import DT, HOUR, QUARANTINED_EVENTS, RAW_EVENTS

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_COLUMN = "failed_expectations"
_COMPRESSION = "zstd"  # as the Spark jobs write
_KEY = ["kafka_partition", "kafka_offset"]


def write_failed_rows(path: Path, rows: "Mapping[str, pa.Table]") -> None:
    """Keep which rows broke which expectation: `rows` has a table (kafka_partition, kafka_offset) by its name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    named = [
        table.select(_KEY).append_column("expectation", pa.array([name] * len(table), pa.string()))
        for name, table in rows.items()
    ]
    schema = pa.schema([(_KEY[0], pa.int32()), (_KEY[1], pa.int64()), ("expectation", pa.string())])
    whole = pa.concat_tables([table.cast(schema) for table in named]) if named else schema.empty_table()
    pq.write_table(whole, path, compression=_COMPRESSION)


def read_failed_rows(path: Path, expectations: Collection[str]) -> "dict[str, np.ndarray]":
    """Keys of the rows that broke each of `expectations`; one whose rows are not known is left out."""
    import numpy as np
    import pyarrow.parquet as pq

    if not path.exists():
        return {}
    table = pq.ParquetFile(path).read()
    keys, names = _keys(table), np.asarray(table["expectation"].to_pylist(), dtype=object)
    return {name: keys[names == name] for name in expectations if (names == name).any()}


def sample_offsets(failed: "Mapping[str, np.ndarray]", topic: str, size: int = 5) -> dict[str, list[str]]:
    """The first `size` rows that broke each expectation, as `topic[partition]@offset`."""
    return {
        name: [f"{topic}[{key >> _SHIFT}]@{key & _OFFSET}" for key in map(int, sorted(keys)[:size])]
        for name, keys in failed.items()
    }


def stage_quarantined(
    events: Path, target: Path, expectations: Sequence[str], failed: "Mapping[str, np.ndarray]"
) -> None:
    """Write staged events to `target`, laid out as they are, each row with the expectations that it broke.

    Of an expectation that `failed` does not know (an aggregate) every row bears the name.
    """
    import pyarrow.parquet as pq

    for source in data_files(events):
        table = pq.ParquetFile(source).read()
        table = table.append_column(_COLUMN, _broken_by(_keys(table), expectations, failed))
        _write(table.cast(QUARANTINED_EVENTS.arrow_schema()), target / source.relative_to(events))


def stage_released(files: Iterable[Path], slice_id: str, target: Path) -> None:
    """Write the slice's rows in quarantined `files` to `target` as raw_events is laid out and partitioned."""
    import pyarrow as pa
    import pyarrow.compute as pc

    schema = RAW_EVENTS.arrow_schema()
    tables = [read_slice(path, slice_id, schema.names).select(schema.names).cast(schema) for path in files]
    whole = pa.concat_tables(tables) if tables else schema.empty_table()
    whole = whole.sort_by([(name, "ascending") for name in _KEY])
    hours = pc.floor_temporal(whole["event_time"], unit="hour")
    for hour in pc.unique(hours).to_pylist():
        folder = target / f"{DT.name}={hour:%Y-%m-%d}" / f"{HOUR.name}={hour.hour}"
        _write(whole.filter(pc.equal(hours, pa.scalar(hour, hours.type))), folder / "part-0.parquet")


_SHIFT = 44
_OFFSET = (1 << _SHIFT) - 1
"""A key is one integer: the offset in the lower 44 bits (1.7e13 records a partition), the partition above."""


def _keys(table: "pa.Table") -> "np.ndarray":
    partitions, offsets = (table[name].to_numpy().astype("int64") for name in _KEY)
    keys: np.ndarray = (partitions << _SHIFT) | offsets
    return keys


def _broken_by(
    keys: "np.ndarray", expectations: Sequence[str], failed: "Mapping[str, np.ndarray]"
) -> "pa.ListArray":
    import numpy as np
    import pyarrow as pa

    broke = np.ones((len(keys), len(expectations)), dtype=bool)
    for number, name in enumerate(expectations):
        if name in failed:
            broke[:, number] = np.isin(keys, failed[name])
    ends = np.concatenate([[0], broke.sum(axis=1).cumsum()])
    names = pa.array(list(expectations), pa.string()).take(pa.array(np.nonzero(broke)[1]))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), names)


def _write(table: "pa.Table", path: Path) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression=_COMPRESSION)
