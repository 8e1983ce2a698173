"""Dead letters of erased readers: the place of each record stays, its bytes go, nobody else's letter changes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.common.archive.compaction import SLICES_KEY
from include.common.erasure.letters import (
    PLACE,
    emptied,
    emptied_at,
    empty_places,
    lacking,
    letters_by_day,
    letters_emptied,
    naming,
    places,
    write_letters,
)
from include.common.erasure.records import ERASED
from include.common.hive.tables import DEAD_LETTERS

SUNDAY, MONDAY = datetime(2026, 11, 22, 23, 59, tzinfo=UTC), datetime(2026, 11, 23, 0, 1, tzinfo=UTC)
HIS = {"reader-7", "session-of-7"}.__contains__


def table(*rows: dict[str, Any]) -> pa.Table:
    schema = DEAD_LETTERS.arrow_schema()
    return pa.table({name: [row.get(name) for row in rows] for name in schema.names}, schema=schema)


def letter(offset: int, at: datetime = SUNDAY, **more: Any) -> dict[str, Any]:
    return {
        "topic": "t", "kafka_partition": 1, "kafka_offset": offset, "kafka_timestamp": at, "slice_id": f"s{offset % 2}",
        "reason": "not_json", **more,
    }  # fmt: skip


def events(*rows: dict[str, Any]) -> pa.Table:
    return table(*rows).select(list(PLACE))


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "part-0.parquet"
    write_letters(table(*rows), path)
    return path


def test_an_event_becomes_a_letter_of_its_kafka_day_with_nothing_but_its_place() -> None:
    days = letters_by_day(events(letter(5), letter(4), letter(6, MONDAY)))
    assert {dt: rows["kafka_offset"].to_pylist() for dt, rows in days.items()} == {
        "2026-11-22": [4, 5],
        "2026-11-23": [6],
    }
    (row,) = days["2026-11-23"].to_pylist()
    assert {name: value for name, value in row.items() if value is not None} == {
        "topic": "t", "kafka_partition": 1, "kafka_offset": 6, "kafka_timestamp": MONDAY, "slice_id": "s0",
        "reason": ERASED,
    }  # fmt: skip


def test_a_place_that_has_its_letter_gets_no_second_one(tmp_path: Path) -> None:
    path = write(tmp_path, letter(4))
    assert places([path]) == {("t", 1, 4)}
    days = letters_by_day(events(letter(4), letter(5)), places([path]))
    assert days["2026-11-22"]["kafka_offset"].to_pylist() == [5]
    both = table(letter(4), letter(5))
    added = lacking(both, [path])
    assert added is not None
    assert added["kafka_offset"].to_pylist() == [5]
    assert lacking(table(letter(4)), [path]) is None
    assert lacking(None, [path]) is None


def test_the_footer_names_the_slices(tmp_path: Path) -> None:
    path = write(tmp_path, letter(4), letter(5), letter(6))
    assert pq.read_metadata(path).metadata[SLICES_KEY] == b'["s0", "s1"]'
    assert [it.name for it in tmp_path.iterdir()] == [path.name]


def test_a_letter_that_names_him_or_his_session_loses_its_bytes_and_no_other_does(tmp_path: Path) -> None:
    rows = table(
        letter(1, value=b'{"user_id": "reader-7"'),
        letter(2, key=b"session-of-7", value=b"\xff"),
        letter(3, key=b"session-of-77", value=b'{"user_id": "reader-77"}'),
        letter(4, key=None, value=b"not json"),
    )
    path = tmp_path / "part-0.parquet"
    write_letters(rows, path)
    assert naming(path, HIS) == 2
    after = emptied(HIS)(rows)
    assert letters_emptied(rows, after) == 2
    assert [(row["key"], row["value"]) for row in after.to_pylist()] == [
        (None, None), (None, None), (b"session-of-77", b'{"user_id": "reader-77"}'), (None, b"not json"),
    ]  # fmt: skip
    assert after.drop(["key", "value"]).equals(rows.drop(["key", "value"])), "place and reason stay"
    assert after.schema.equals(rows.schema)
    assert letters_emptied(after, emptied(HIS)(after)) == 0


def test_what_was_emptied_is_found_by_place_and_emptied_again(tmp_path: Path) -> None:
    placed = write(tmp_path, letter(1), letter(2, value=b"kept"))
    assert empty_places([placed]) == {("t", 1, 1)}
    staged_again = table(letter(1, key=b"k", value=b"his"), letter(2, value=b"kept"))
    after = emptied_at(empty_places([placed]))(staged_again)
    assert after["value"].to_pylist() == [None, b"kept"]
    assert after["key"].to_pylist() == [None, None]
