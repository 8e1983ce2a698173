"""Records of a bucket travel to it as one value, an Arrow IPC stream, instead of row by row.

Spark hands a stateful Python function its rows one by one, each field made a Python object for itself: more work than
decoding an event. So the tasks that read Kafka put the records of each Arrow batch together by bucket, in Arrow's own
code, and what is shuffled and handed over is a few large values. They are compressed: between here and their bucket they
are copied again and again.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from include.spark_jobs.stream_sessionize.collector import leave_imports_alone
from include.spark_jobs.stream_sessionize.placement import key_of

if TYPE_CHECKING:
    import pyarrow as pa

PACKED_SCHEMA = "bucket_key INT, records BINARY"
"""Spark schema of what a Packer yields."""
RawRecord = tuple[int, int, int, bytes | None, bytes | None]


class Columns(NamedTuple):
    """Records by column; a record is what stands at one place in all of them."""

    partition: list[int]
    offset: list[int]
    kafka_ms: list[int]
    key: list[bytes | None]
    value: list[bytes | None]

    @classmethod
    def of(cls, records: Iterable[RawRecord]) -> Self:
        """The columns of `records`."""
        columns: list[Any] = list(map(list, zip(*records, strict=True))) or [[], [], [], [], []]
        return cls(*columns)


COLUMNS = Columns._fields


class Packer:
    """For mapInArrow: one row for each bucket in each batch (columns bucket and COLUMNS), in the batch's order.

    The bucket's key is placement's, for `tasks` tasks that share the buckets.
    """

    def __init__(self, tasks: int) -> None:
        self._tasks = tasks

    def __call__(self, batches: Iterable["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
        """Rows of PACKED_SCHEMA."""
        for batch in batches:
            if batch.num_rows:
                yield _packed(batch, self._tasks)
        leave_imports_alone()


def _packed(batch: "pa.RecordBatch", tasks: int) -> "pa.RecordBatch":
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    ordered = batch.take(pc.sort_indices(batch.column("bucket")))
    buckets = ordered.column("bucket").to_numpy()
    starts = np.flatnonzero(np.diff(buckets, prepend=buckets[0] - 1)).tolist()
    values = _to_ipc(ordered.select(list(COLUMNS)), [*starts, len(buckets)])
    keys = [key_of(int(buckets[start]), tasks) for start in starts]
    return pa.RecordBatch.from_arrays([pa.array(keys, pa.int32()), values], ["bucket_key", "records"])


def unpack(values: Iterable[bytes]) -> Columns:
    """Inverse of a Packer for the values of one bucket."""
    import pyarrow as pa

    options = pa.ipc.IpcReadOptions(use_threads=False)
    columns: tuple[list[Any], ...] = ([], [], [], [], [])
    for value in values:
        with pa.ipc.open_stream(value, options=options) as stream:
            for batch in stream:
                for name, column in zip(COLUMNS, columns, strict=True):
                    # by way of numpy, which makes Python's own integers and bytes several times as fast
                    column.extend(batch.column(name).to_numpy(zero_copy_only=False).tolist())
    return Columns(*columns)


def _to_ipc(records: "pa.RecordBatch", bounds: list[int]) -> "pa.BinaryArray":
    """The rows between each of `bounds` and the next as one compressed IPC stream each."""
    import numpy as np
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    sink = pa.BufferOutputStream()
    ends = [0]
    for start, end in pairwise(bounds):
        with pa.ipc.new_stream(sink, records.schema, options=options) as stream:
            stream.write_batch(records.slice(start, end - start))
        ends.append(sink.tell())
    # all in one buffer: an array made of separate values would copy each of them twice
    offsets = pa.py_buffer(np.array(ends, dtype=np.int32))
    return pa.Array.from_buffers(pa.binary(), len(ends) - 1, [None, offsets, sink.getvalue()])
