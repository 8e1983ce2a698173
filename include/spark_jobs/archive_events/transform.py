"""The contract applied to raw records: an accepted event's columns, or a dead letter's reason.

An event of an erased reader becomes a dead letter of a reason of its own; it, and any dead letter that names an erased
reader, loses key and value.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from include.common.erasure.erasures import ErasedReaders
from include.common.erasure.records import ERASED, mentions
from include.common.hive.schema import Column, HiveTable, arrow_schema, spark_schema
from include.common.hive.tables import DEAD_LETTERS, DT, HOUR, RAW_EVENTS, event_columns
from include.contract.event import ContractError, ReadingEvent, accept_record

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame

_EVENT_NAMES = [column.name for column in event_columns()]
_fields_of = attrgetter(*_EVENT_NAMES)
_NO_EVENT: tuple[Any, ...] = (None,) * len(_EVENT_NAMES)
_SLICE = "slice_id"
NOBODY: Final = ErasedReaders()
_KAFKA = ("topic", "kafka_partition", "kafka_offset", "kafka_timestamp")


def decoded_columns() -> list[Column]:
    """Event columns, reason and detail (one side null), partition columns, and the record itself."""
    both = [*RAW_EVENTS.columns, *RAW_EVENTS.partitions, *DEAD_LETTERS.columns]
    return [column for column in {column.name: column for column in both}.values() if column.name != _SLICE]


def decode(records: "DataFrame", erased: ErasedReaders = NOBODY) -> "DataFrame":
    """Records as `read_slice` gives them -> `decoded_columns()`, one row each."""
    return records.mapInArrow(partial(_decode_batches, erased), spark_schema(decoded_columns()))


def _decode_batches(erased: ErasedReaders, batches: "Iterator[pa.RecordBatch]") -> "Iterator[pa.RecordBatch]":
    for batch in batches:
        yield decode_batch(batch, erased)


def decode_batch(batch: "pa.RecordBatch", erased: ErasedReaders = NOBODY) -> "pa.RecordBatch":
    """One Arrow batch of raw records -> one of as many rows in `decoded_columns()`."""
    import pyarrow as pa

    kafka_ms = batch.column("kafka_timestamp").cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()).to_pylist()
    rows: list[tuple[Any, ...]] = []
    reasons: list[str | None] = []
    details: list[str | None] = []
    times: list[int | None] = []
    dates: list[str] = []
    hours: list[int] = []
    emptied: list[bool] = []
    for key, value, sent_ms in zip(
        batch.column("key").to_pylist(), batch.column("value").to_pylist(), kafka_ms, strict=True
    ):
        event, reason, detail, is_emptied = _accepted(key, value, sent_ms, erased)
        reasons.append(reason)
        details.append(detail)
        emptied.append(is_emptied)
        if event is None:
            rows.append(_NO_EVENT)
            times.append(None)
            instant = datetime.fromtimestamp(sent_ms / 1000, UTC)
        else:
            rows.append(_fields_of(event))
            times.append(event.timestamp)
            instant = datetime.fromtimestamp(event.timestamp // 1000, UTC)
        dates.append(instant.strftime("%Y-%m-%d"))
        hours.append(instant.hour)
    columns: dict[str, Any] = dict(zip(_EVENT_NAMES, zip(*rows, strict=True), strict=True)) if rows else {}
    columns |= {"reason": reasons, "detail": details, DT.name: dates, HOUR.name: hours, "event_time": times}
    return _record_batch(batch, columns, emptied)


def _accepted(
    key: bytes | None, value: bytes | None, sent_ms: int, erased: ErasedReaders
) -> tuple[ReadingEvent | None, str | None, str | None, bool]:
    """The event, or None and the reason and detail of a dead letter; and whether key and value are not kept."""
    try:
        event = accept_record(key, value, sent_ms)
    except ContractError as error:
        is_emptied = bool(erased) and any(mentions(raw, erased.__contains__) for raw in (key, value))
        return None, str(error.reason), error.detail, is_emptied
    if event.user_id in erased:
        return None, ERASED, None, True
    return event, None, None, False


def _record_batch(batch: "pa.RecordBatch", columns: dict[str, Any], emptied: list[bool]) -> "pa.RecordBatch":
    import pyarrow as pa
    import pyarrow.compute as pc

    gone = pa.array(emptied, pa.bool_())
    schema = arrow_schema(decoded_columns())
    arrays = []
    for field in schema:
        name = field.name
        if name in _KAFKA:
            array = batch.column(name).cast(field.type)
        elif name in ("key", "value"):
            array = pc.if_else(gone, pa.scalar(None, field.type), batch.column(name).cast(field.type))
        elif name == "event_time":
            array = pa.array(columns[name], pa.timestamp("ms", tz="UTC")).cast(field.type)
        elif name == "experiments":
            maps = [None if entry is None else list(entry.items()) for entry in columns.get(name, ())]
            array = pa.array(maps, field.type)
        else:
            array = pa.array(columns.get(name, ()), field.type)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def rows_of(decoded: "DataFrame", table: HiveTable, slice_id: str) -> "DataFrame":
    """The rows that belong to `table` (raw events or dead letters), its columns, its partition columns last."""
    from pyspark.sql import functions as F

    is_letter = F.col("reason").isNotNull()
    chosen = decoded.where(is_letter if table is DEAD_LETTERS else ~is_letter)
    names = [*table.column_names(), *(column.name for column in table.partitions)]
    return chosen.withColumn(_SLICE, F.lit(slice_id)).select(*names)
