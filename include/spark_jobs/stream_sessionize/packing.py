"""Records of a bucket travel to it as one value, an Arrow IPC stream, instead of row by row.

Spark hands a stateful Python function its rows one by one, each field made a Python object for itself: more work than
decoding an event. So the tasks that read Kafka put the records of each Arrow batch together by bucket, in Arrow's own
code, and what is shuffled and handed over is a few large values.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from include.spark_jobs.stream_sessionize.placement import key_of

if TYPE_CHECKING:
    import pyarrow as pa

PACKED_SCHEMA = "bucket_key INT, records BINARY"
"""Spark schema of what a Packer yields."""
COLUMNS = ("partition", "offset", "kafka_ms", "key", "value")
"""Of a record in the order that `unpack` yields."""
RawRecord = tuple[int, int, int, bytes | None, bytes | None]


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


def _packed(batch: "pa.RecordBatch", tasks: int) -> "pa.RecordBatch":
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    ordered = batch.take(pc.sort_indices(batch.column("bucket")))
    buckets = ordered.column("bucket").to_numpy()
    starts = np.flatnonzero(np.diff(buckets, prepend=buckets[0] - 1)).tolist()
    records = ordered.select(list(COLUMNS))
    values = [
        _to_ipc(records.slice(start, end - start))
        for start, end in zip(starts, [*starts[1:], len(buckets)], strict=True)
    ]
    keys = [key_of(int(buckets[start]), tasks) for start in starts]
    return pa.RecordBatch.from_arrays(
        [pa.array(keys, pa.int32()), pa.array(values, pa.binary())], ["bucket_key", "records"]
    )


def unpack(values: Iterable[bytes]) -> Iterator[RawRecord]:
    """Inverse of a Packer for the values of one bucket: records as tuples of COLUMNS."""
    import pyarrow as pa

    for value in values:
        with pa.ipc.open_stream(value) as stream:
            for batch in stream:
                # by way of numpy, which makes Python's own integers and bytes several times as fast
                columns: list[list[Any]] = [
                    batch.column(name).to_numpy(zero_copy_only=False).tolist() for name in COLUMNS
                ]
                yield from zip(*columns, strict=True)


def _to_ipc(records: "pa.RecordBatch") -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema) as stream:
        stream.write_batch(records)
    raw: bytes = sink.getvalue().to_pybytes()
    return raw
