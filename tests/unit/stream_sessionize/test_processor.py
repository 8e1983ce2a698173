"""What Spark hands to the processor: packed rows become records, dead letters and ticks."""

import gc

import pyarrow as pa
import pytest
from pyspark.sql import Row

from include.common.erasure.erasures import ErasedReaders, digest_of
from include.contract.bucket import LateEvent
from include.contract.event import Device, EventType, Platform, ReadingEvent, encode
from include.spark_jobs.stream_sessionize.changes import (
    Tally,
    decode_tally,
    encode_tally,
    readings_from_ipc,
)
from include.spark_jobs.stream_sessionize.collector import no_cycle_collection
from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch
from include.spark_jobs.stream_sessionize.packing import COLUMNS, Packer
from include.spark_jobs.stream_sessionize.processor import Arrivals

EVENT = ReadingEvent(
    event_id="i1",
    user_id="u",
    session_id="s1",
    episode_id="e",
    event_type=EventType.ENTER,
    country="KR",
    device=Device.PHONE,
    platform=Platform.IOS,
    timestamp=1_000,
)


def packed_rows(records: list[tuple[int, int, int, bytes | None, bytes | None]]) -> list[Row]:
    """Rows of one bucket, two records a row at most."""
    types = (pa.int32(), pa.int64(), pa.int64(), pa.binary(), pa.binary())
    columns = [
        pa.array(list(column), kind) for column, kind in zip(zip(*records, strict=True), types, strict=True)
    ]
    batch = pa.RecordBatch.from_arrays(
        [*columns, pa.array([0] * len(records), pa.int32())], [*COLUMNS, "bucket"]
    )
    pieces = [batch.slice(start, 2) for start in range(0, len(records), 2)]
    return [Row(**row) for piece in Packer(tasks=1)(pieces) for row in piece.to_pylist()]


def test_records_dead_letters_and_ticks_are_told_apart() -> None:
    arrivals = Arrivals(
        packed_rows(
            [
                (2, 7, 1_500, b"s1", encode(EVENT)),
                (2, 8, 1_200, b"another key", encode(EVENT)),
                (-1, 3, 9_000, None, b"tick"),
                (2, 9, 1_900, b"s1", b"not JSON"),
                (-1, 4, 8_000, None, None),
            ]
        )
    )
    assert [tuple(record) for record in arrivals.events()] == [(2, 7, 1_500, EVENT)]
    assert arrivals.kafka_ms.tolist() == [1_500]
    assert arrivals.dead_letters == 2
    assert (arrivals.min_kafka_ms, arrivals.max_kafka_ms) == (1_200, 1_900)
    assert arrivals.wall_ms == 9_000


def test_the_collector_of_cycles_is_back_afterwards_whatever_happens() -> None:
    def fail() -> None:
        with no_cycle_collection():
            assert not gc.isenabled()
            raise ValueError("broken")

    assert gc.isenabled()
    with pytest.raises(ValueError, match="broken"):
        fail()
    assert gc.isenabled()
    gc.disable()
    try:
        with no_cycle_collection():
            pass
        assert not gc.isenabled(), "somebody else had switched it off"
    finally:
        gc.enable()


def test_events_of_erased_readers_are_only_counted() -> None:
    rows = packed_rows([(0, number, 1_000 + number, b"s1", encode(EVENT)) for number in range(3)])
    key = b"k" * 32
    arrivals = Arrivals(rows, ErasedReaders([digest_of("somebody else", key)], key))
    assert (len(list(arrivals.events())), arrivals.erased, len(arrivals.kafka_ms)) == (3, 0, 3)
    arrivals = Arrivals(rows, ErasedReaders([digest_of("u", key)], key))
    assert (list(arrivals.events()), arrivals.erased, len(arrivals.kafka_ms)) == ([], 3, 0)
    assert arrivals.max_kafka_ms == 1_002


def test_events_come_in_offset_order_whatever_the_order_of_the_rows() -> None:
    rows = packed_rows([(0, number, 1_000, b"s1", encode(EVENT)) for number in range(7)])
    for order in (rows, rows[::-1], rows[2:] + rows[:2]):
        assert [offset for _, offset, _, _ in Arrivals(order).events()] == list(range(7))


def test_every_record_is_in_one_count() -> None:
    tally = Tally([], [LateEvent(0, 9, "s1", "i9", 1, 2, "u")], 1, 2, 3, 1_000, erased=4)
    batch = MicroBatch(
        0, {"0": 0}, {"0": 22}, readings_from_ipc([]), [tally, decode_tally(encode_tally(tally))]
    )
    assert batch.total_records == 22
    assert batch.total("erased") == 8
