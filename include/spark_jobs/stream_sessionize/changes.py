"""How changes travel from a Python worker to the driver: one row a bucket, its rows as Arrow IPC bytes.

Spark carries two opaque columns, so wide nullable rows are converted once, column by column, and not
through pandas. Shapes: `readings_schema()` for upserts, msgpack of `Tally` for the rest.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from include.contract.bucket import NO_CLOCK, LateEvent
from include.contract.sessions import Reading, ReadingKey

if TYPE_CHECKING:
    import pyarrow as pa

OUTPUT_SCHEMA = "bucket INT, upserts BINARY, tally BINARY"
"""Spark schema of the processor's output."""


class Tally(msgspec.Struct, array_like=True, gc=False):
    """What one bucket's call did besides its upserts. Counts are records of this micro-batch, Kafka times -1 where it
    had none; `clock_ms` is the bucket's clock after it. `kafka_ms` has the Kafka time (int64) of each event that the
    contract accepts, where metrics are on. `erased` are events of erased readers, which are in no other count."""

    deletes: list[ReadingKey]
    late: list[LateEvent]
    accepted: int
    duplicates: int
    dead_letters: int
    max_kafka_ms: int
    min_kafka_ms: int = -1
    clock_ms: int = NO_CLOCK
    kafka_ms: bytes = b""
    erased: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Tally)


def encode_tally(tally: Tally) -> bytes:
    """Tally as bytes."""
    return _encoder.encode(tally)


def decode_tally(raw: bytes) -> Tally:
    """Inverse of `encode_tally`."""
    return _decoder.decode(raw)


def readings_schema() -> "pa.Schema":
    """Arrow schema of readings: the feature columns of realtime.session_features, times as UTC timestamps."""
    import pyarrow as pa

    text, integer, ratio = pa.string(), pa.int64(), pa.float64()
    instant = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            ("session_id", text),
            ("session_start_ms", integer),
            ("episode_id", text),
            ("user_id", text),
            ("country", text),
            ("device", text),
            ("platform", text),
            ("experiments", text),
            ("ui_version", text),
            ("status", text),
            ("is_exit_tag", pa.bool_()),
            ("completion_rate", ratio),
            ("max_scroll_ratio", ratio),
            ("event_count", pa.int32()),
            ("scroll_event_count", pa.int32()),
            ("dwell_time_ms", integer),
            ("started_at", instant),
            ("ended_at", instant),
            ("is_final", pa.bool_()),
            ("source_partition", pa.int32()),
            ("last_offset", integer),
            ("last_event_kafka_at", instant),
        ]
    )


_JSON_COLUMN = Reading._fields.index("experiments")
_TIME_COLUMNS = frozenset(
    Reading._fields.index(name) for name in ("started_at_ms", "ended_at_ms", "last_event_kafka_ms")
)


def readings_to_arrow(readings: list[Reading]) -> "pa.RecordBatch":
    """Columns of `readings` in `readings_schema()`; experiments as JSON text with sorted keys."""
    import pyarrow as pa

    schema = readings_schema()
    arrays = []
    for index, values in enumerate(zip(*readings, strict=True)):
        column: list[object] = list(values)
        if index == _JSON_COLUMN:
            column = [_experiments_json(value) for value in values]
        if index in _TIME_COLUMNS:
            milliseconds = pa.array(column, pa.timestamp("ms", tz="UTC"))
            arrays.append(milliseconds.cast(schema.field(index).type))
        else:
            arrays.append(pa.array(column, schema.field(index).type))
    if not readings:
        return pa.RecordBatch.from_pylist([], schema=schema)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _experiments_json(experiments: dict[str, str] | None) -> str:
    return "{}" if not experiments else msgspec.json.encode(experiments, order="sorted").decode()


def readings_to_ipc(readings: list[Reading]) -> bytes:
    """Arrow IPC stream of `readings`, empty bytes for none."""
    import pyarrow as pa

    if not readings:
        return b""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, readings_schema()) as stream:
        stream.write_batch(readings_to_arrow(readings))
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def readings_from_ipc(payloads: Iterable[bytes]) -> "pa.Table":
    """One table of all non-empty payloads."""
    import pyarrow as pa

    batches = [batch for raw in payloads if raw for batch in pa.ipc.open_stream(raw)]
    return pa.Table.from_batches(batches, schema=readings_schema())


def removed_to_arrow(tallies: Sequence[Tally]) -> "pa.Table":
    """Keys of re-keyed rows: session_id, session_start_ms, episode_id."""
    import pyarrow as pa

    removed = [key for tally in tallies for key in tally.deletes]
    return pa.table(
        {
            "session_id": pa.array([key.session_id for key in removed], pa.string()),
            "session_start_ms": pa.array([key.session_start_ms for key in removed], pa.int64()),
            "episode_id": pa.array([key.episode_id for key in removed], pa.string()),
        }
    )


def late_to_arrow(tallies: Sequence[Tally], topic: str, generation: int, batch_id: int) -> "pa.Table":
    """Rows of quality.late_events."""
    import pyarrow as pa

    late = [event for tally in tallies for event in tally.late]
    return pa.table(
        {
            "topic": pa.array([topic] * len(late), pa.string()),
            "kafka_partition": pa.array([event.partition for event in late], pa.int32()),
            "kafka_offset": pa.array([event.offset for event in late], pa.int64()),
            "session_id": pa.array([event.session_id for event in late], pa.string()),
            "event_id": pa.array([event.event_id for event in late], pa.string()),
            "event_time_ms": pa.array([event.event_time_ms for event in late], pa.int64()),
            "bucket_clock_ms": pa.array([event.bucket_clock_ms for event in late], pa.int64()),
            "user_id": pa.array([event.user_id for event in late], pa.string()),
            "generation": pa.array([generation] * len(late), pa.int32()),
            "batch_id": pa.array([batch_id] * len(late), pa.int64()),
        }
    )
