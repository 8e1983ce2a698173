"""Records packed by bucket come out as they went in; every task gets as many buckets."""

from collections import Counter

import pyarrow as pa
import pytest

from include.spark_jobs.stream_sessionize.packing import COLUMNS, Packer, unpack
from include.spark_jobs.stream_sessionize.placement import key_of, spark_hash

RECORDS = [
    (0, 3, 10, b"a", b"{}"),
    (-1, 4, 11, None, b"tick"),
    (2, 5, 12, b"b", None),
    (2, 6, 2**62, b"", b""),
    (0, 7, 13, b"a", bytes(range(256))),
]
BUCKETS = [5, 0, 17, 17, 5]


def batch(
    records: list[tuple[int, int, int, bytes | None, bytes | None]], buckets: list[int]
) -> pa.RecordBatch:
    types = (pa.int32(), pa.int64(), pa.int64(), pa.binary(), pa.binary())
    columns = zip(*records, strict=True) if records else [[]] * len(COLUMNS)
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, types, strict=True)]
    return pa.RecordBatch.from_arrays([*arrays, pa.array(buckets, pa.int32())], [*COLUMNS, "bucket"])


def test_each_bucket_gets_its_records_in_their_order_whatever_the_batches() -> None:
    whole = batch(RECORDS, BUCKETS)
    for cuts in ([whole], [whole.slice(0, 2), batch([], []), whole.slice(2)]):
        values: dict[int, list[bytes]] = {}
        for packed in Packer(tasks=3)(cuts):
            assert packed.schema.names == ["bucket_key", "records"]
            for row in packed.to_pylist():
                values.setdefault(row["bucket_key"], []).append(row["records"])
        for bucket in set(BUCKETS):
            wanted = [record for record, its in zip(RECORDS, BUCKETS, strict=True) if its == bucket]
            found = list(zip(*unpack(values.pop(key_of(bucket, 3))), strict=True))
            assert found == wanted
            assert {type(number) for record in found for number in record[:3]} == {int}
        assert values == {}


def test_hash_is_spark_s() -> None:
    # SELECT hash(0), hash(1), hash(2) in Spark 4.2
    assert [spark_hash(value) for value in (0, 1, 2)] == [933211791, -559580957, 1765031574]


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 16])
def test_every_task_gets_as_many_buckets(tasks: int) -> None:
    keys = [key_of(bucket, tasks) for bucket in range(12 * tasks)]
    assert len(set(keys)) == len(keys)
    assert set(Counter(spark_hash(key) % tasks for key in keys).values()) == {12}


def test_keys_of_many_partitions_are_found() -> None:
    assert len({key_of(bucket, 2) for bucket in range(20_000)}) == 20_000
