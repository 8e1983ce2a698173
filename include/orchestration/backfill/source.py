"""Archived events as records: one generation's part of a window of event time, by Kafka partition in offset order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.common.hive.tables import RAW_EVENTS
from include.contract.bucket import Record
from include.contract.countries import Country
from include.contract.event import Device, EventType, Platform, ReadingEvent
from include.orchestration.reconcile.duck import rows_of_files
from include.orchestration.reconcile.engine import Source
from include.orchestration.reconcile.model import Day, Span

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BATCH_ROWS = 100_000
"""Records in Python at once: some 150 MB."""
_FIELDS = (
    "event_id", "user_id", "session_id", "episode_id", "event_type", "country", "device", "platform", "timestamp",
    "scroll_ratio", "experiments", "ui_version",
)  # fmt: skip
_COLUMNS = ", ".join(f'archived."{name}"' for name in _FIELDS)
_RECORDS = f"""
SELECT archived.kafka_partition, archived.kafka_offset, epoch_ms(archived.kafka_timestamp) AS kafka_ms, {_COLUMNS},
    late_list.kafka_offset IS NOT NULL AS is_listed
FROM archived
INNER JOIN offsets ON archived.kafka_partition = offsets.kafka_partition
LEFT JOIN late_list
    ON archived.kafka_partition = late_list.kafka_partition AND archived.kafka_offset = late_list.kafka_offset
WHERE archived.topic = $topic AND archived."timestamp" >= $from_ms AND archived."timestamp" < $to_ms
    AND archived.kafka_offset >= offsets.from_offset AND archived.kafka_offset < offsets.to_offset
"""  # noqa: S608  constants
_IN_ORDER = " ORDER BY archived.kafka_partition, archived.kafka_offset"
_TYPES = {it.value: it for it in EventType}
_DEVICES = {it.value: it for it in Device}
_PLATFORMS = {it.value: it for it in Platform}


@dataclass(frozen=True)
class Window:
    """Events that happened in [from_ms, to_ms) and that the generation of `span` has read."""

    span: Span
    from_ms: int
    to_ms: int


def open_window(connection: "duckdb.DuckDBPyConnection", source: Source, window: Window, day: Day) -> None:
    """Make the window's files and late list ready for `accepted_records` and `late_records`."""
    span = window.span
    files = source.archive.files(window.from_ms, window.to_ms)
    rows_of_files(connection, RAW_EVENTS, files).create_view("archived", replace=True)
    connection.register("late_list", source.late(span.generation, window.from_ms, window.to_ms, day))
    connection.execute(
        "CREATE OR REPLACE TEMPORARY TABLE offsets (kafka_partition INTEGER, from_offset BIGINT, to_offset BIGINT)"
    )
    ranges = [(number, span.start.get(number, 0), end) for number, end in span.end.items()]
    if ranges:
        connection.executemany("INSERT INTO offsets VALUES (?, ?, ?)", ranges)


def accepted_records(
    connection: "duckdb.DuckDBPyConnection", source: Source, window: Window
) -> Iterator[list[Record]]:
    """Records that the generation does not list as late, some at a time; DuckDB sorts, and spills where it must."""
    parameters = {"topic": source.topic, "from_ms": window.from_ms, "to_ms": window.to_ms}
    found = connection.sql(f"{_RECORDS} AND late_list.kafka_offset IS NULL {_IN_ORDER}", params=parameters)
    last = (-1, -1)
    for batch in found.to_arrow_reader(BATCH_ROWS):
        records = _records(batch)
        unique = []
        for record in records:
            # one that is archived twice for a moment (a slice that is being released) counts once
            if (record.partition, record.offset) != last:
                unique.append(record)
            last = (record.partition, record.offset)
        yield unique


def late_records(connection: "duckdb.DuckDBPyConnection", source: Source, window: Window) -> list[Record]:
    """Records that the generation lists as late: few."""
    parameters = {"topic": source.topic, "from_ms": window.from_ms, "to_ms": window.to_ms}
    found = connection.sql(
        f"{_RECORDS} AND late_list.kafka_offset IS NOT NULL {_IN_ORDER}", params=parameters
    )
    records = [record for batch in found.to_arrow_reader(BATCH_ROWS) for record in _records(batch)]
    return list({(it.partition, it.offset): it for it in records}.values())


def _records(batch: "pa.RecordBatch") -> list[Record]:
    columns = [batch.column(name).to_pylist() for name in ("kafka_partition", "kafka_offset", "kafka_ms")]
    fields: Sequence[list[Any]] = [batch.column(name).to_pylist() for name in _FIELDS]
    return [
        Record(partition, offset, kafka_ms, _event(*values))
        for partition, offset, kafka_ms, values in zip(*columns, zip(*fields, strict=True), strict=True)
    ]


def _event(
    event_id: str, user_id: str, session_id: str, episode_id: str, event_type: str, country: Country, device: str,
    platform: str, timestamp: int, scroll_ratio: float | None, experiments: list[tuple[str, str]] | None,
    ui_version: str | None,
) -> ReadingEvent:  # fmt: skip
    """An event of the archive: it kept the contract when it came."""
    return ReadingEvent(
        event_id=event_id,
        user_id=user_id,
        session_id=session_id,
        episode_id=episode_id,
        event_type=_TYPES[event_type],
        country=country,
        device=_DEVICES[device],
        platform=_PLATFORMS[platform],
        timestamp=timestamp,
        scroll_ratio=scroll_ratio,
        experiments=dict(experiments) if experiments else None,
        ui_version=ui_version,
    )
