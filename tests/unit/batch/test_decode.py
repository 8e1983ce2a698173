"""Raw records to columns: one row each, in order, whatever the bytes are."""

from datetime import UTC, datetime

import msgspec
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from include.common.erasure.erasures import ErasedReaders, digest_of
from include.common.hive.schema import arrow_schema
from include.common.hive.tables import DEAD_LETTERS, RAW_EVENTS, TABLES
from include.contract.derive import constraints
from include.contract.event import ContractError, accept_record
from include.spark_jobs.archive_events.transform import decode_batch, decoded_columns

KAFKA_MS = 1_795_500_000_123
EVENT = {
    "event_id": "e1", "user_id": "u1", "session_id": "s1", "episode_id": "ep1", "event_type": "scroll",
    "country": "KR", "device": "phone", "platform": "ios", "timestamp": KAFKA_MS - 3_600_000,
    "scroll_ratio": 0.5, "experiments": {"a": "b"}, "ui_version": "7", "utc_offset_minutes": 540, "new": [1],
}  # fmt: skip


def _batch(records: list[tuple[bytes | None, bytes | None]]) -> pa.RecordBatch:
    count = len(records)
    return pa.record_batch(
        {
            "topic": ["t"] * count,
            "kafka_partition": pa.array([2] * count, pa.int32()),
            "kafka_offset": pa.array(range(count), pa.int64()),
            "kafka_timestamp": pa.array([KAFKA_MS * 1000] * count, pa.timestamp("us", tz="UTC")),
            "key": pa.array([key for key, _ in records], pa.binary()),
            "value": pa.array([value for _, value in records], pa.binary()),
        }
    )


def test_accepted_event_keeps_every_field_and_the_bytes() -> None:
    raw = msgspec.json.encode(EVENT)
    (row,) = decode_batch(_batch([(b"s1", raw)])).to_pylist()
    assert {name: row[name] for name in EVENT if name not in ("experiments", "new")} == {
        name: value for name, value in EVENT.items() if name not in ("experiments", "new")
    }
    assert row["experiments"] == [("a", "b")]
    assert row["value"] == raw  # unknown fields are in there
    assert row["event_time"] == datetime.fromtimestamp((KAFKA_MS - 3_600_000) / 1000, UTC)
    assert (row["dt"], row["hour"]) == ("2026-11-24", row["event_time"].hour)
    assert (row["reason"], row["kafka_partition"], row["kafka_offset"]) == (None, 2, 0)


def test_dead_letter_keeps_key_bytes_and_reason_and_goes_by_kafka_time() -> None:
    ahead = msgspec.json.encode({**EVENT, "timestamp": KAFKA_MS + 86_400_000})
    (row,) = decode_batch(_batch([(b"s1", ahead)])).to_pylist()
    assert (row["reason"], row["event_id"], row["event_time"]) == ("future_timestamp", None, None)
    assert (row["key"], row["value"], row["dt"]) == (b"s1", ahead, "2026-11-24")


records = st.one_of(
    st.tuples(st.none() | st.binary(max_size=4), st.none() | st.binary(max_size=40)),
    st.dictionaries(st.sampled_from(sorted(EVENT)), st.none() | st.integers() | st.text(max_size=3)).map(
        lambda changes: (b"s1", msgspec.json.encode({**EVENT, **changes}))
    ),
)


@given(st.lists(records, max_size=20))
def test_one_row_a_record_in_order_accepted_or_with_a_reason(
    records: list[tuple[bytes | None, bytes | None]],
) -> None:
    decoded = decode_batch(_batch(records))
    assert decoded.schema == arrow_schema(decoded_columns())
    rows = decoded.to_pylist()
    assert [row["kafka_offset"] for row in rows] == list(range(len(records)))
    for (key, value), row in zip(records, rows, strict=True):
        assert (row["key"], row["value"]) == (key, value)
        assert (row["reason"], row["event_id"], row["timestamp"]) == _expected(key, value)


def _expected(key: bytes | None, value: bytes | None) -> tuple[str | None, str | None, int | None]:
    try:
        event = accept_record(key, value, KAFKA_MS)
    except ContractError as error:
        return error.reason, None, None
    return None, event.event_id, event.timestamp


def test_tables_hold_together() -> None:
    names = [table.name for table in TABLES]
    assert len(set(names)) == len(names) == 10
    for table in TABLES:
        columns = [*table.column_names(), *(column.name for column in table.partitions)]
        assert len(set(columns)) == len(columns), table.name
        assert set(table.key) <= set(columns)
        assert table.arrow_schema(with_partitions=True).names == columns
        assert table.spark_schema(with_partitions=True).names == columns
        values = tuple(str(number) for number in range(len(table.partitions)))
        assert table.partition_values(table.partition_name(values)) == values
    assert list(constraints()) == RAW_EVENTS.column_names()[: len(constraints())]
    assert {"key", "value", "reason", "topic", "kafka_partition", "kafka_offset"} <= set(
        DEAD_LETTERS.column_names()
    )


def test_spark_and_arrow_types_say_the_same() -> None:
    from pyspark.sql.pandas.types import from_arrow_type

    for table in TABLES:
        for column in table.columns:
            assert from_arrow_type(column.type.arrow()) == column.type.spark(), column
            assert column.type.spark().simpleString() == column.type.value


ERASURE_KEY = b"k" * 32
ERASED_READERS = ErasedReaders([digest_of("u1", ERASURE_KEY)], ERASURE_KEY)


def test_an_event_of_an_erased_reader_leaves_its_place_and_nothing_else() -> None:
    other = msgspec.json.encode({**EVENT, "user_id": "u2"})
    mine, others = decode_batch(
        _batch([(b"s1", msgspec.json.encode(EVENT)), (b"s1", other)]), ERASED_READERS
    ).to_pylist()
    kept = {name: value for name, value in mine.items() if value is not None}
    assert kept == {
        "topic": "t", "kafka_partition": 2, "kafka_offset": 0, "reason": "erased_reader", "dt": "2026-11-24",
        "hour": datetime.fromtimestamp(KAFKA_MS / 1000, UTC).hour,
        "kafka_timestamp": datetime.fromtimestamp(KAFKA_MS / 1000, UTC),
    }  # fmt: skip
    assert (others["user_id"], others["value"], others["reason"]) == ("u2", other, None)


def test_a_dead_letter_that_names_an_erased_reader_keeps_its_reason_alone() -> None:
    cut_off = b'{"event_id": "e", "user_id": "\\u00751'
    rows = decode_batch(
        _batch([(b"s1", cut_off), (None, b"{}"), (b"u1", b"x"), (b"s2", b"{}")]), ERASED_READERS
    )
    found = [(row["reason"], row["key"], row["value"]) for row in rows.to_pylist()]
    assert found == [
        ("not_json", None, None), ("null_key", None, b"{}"), ("not_json", None, None), ("missing_field", b"s2", b"{}"),
    ]  # fmt: skip
