"""What the writer makes of a micro-batch on a real PostgreSQL, where the busy topic of test_stream.py does not lead to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from include.contract.sessions import ReadingKey
from include.spark_jobs.stream_sessionize.generations import current_or_first
from tests.integration.lineage_of_commits import OPEN, START_MS, Lineage, reading

MINUTE_MS = 60_000


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


@pytest.fixture
def driver(feature_db: str, landing: Path) -> Iterator[Lineage]:
    with psycopg.connect(feature_db) as connection:
        current_or_first(connection, Path("none"), {"0": 0}, {})
    made = Lineage(feature_db, landing, 1)
    yield made
    made.writer.close()


def one(dsn: str, query: str) -> tuple[Any, ...]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row


def test_a_session_in_two_partitions_is_one_row_of_a_micro_batch(driver: Lineage, landing: Path) -> None:
    from_one = reading(1, source_partition=0, event_count=2, dwell_time_ms=500)
    from_other = from_one._replace(source_partition=1, event_count=5, dwell_time_ms=900)
    driver.commit(reading(2), from_one, reading(3), from_other, to=4)
    sums = "SELECT sum(readings_closed), sum(dwell_time_ms_sum) FROM realtime.{}_features"
    assert one(driver.dsn, "SELECT event_count FROM realtime.session_features WHERE session_id = 's1'") == (
        5,
    )
    for table in ("user", "episode"):
        assert one(driver.dsn, sums.format(table)) == (3, 1000 + 900 + 1000)
    (path,) = landing.rglob("*.parquet")
    landed = pq.read_table(path).select(["session_id", "source_partition"]).to_pylist()
    assert sorted((row["session_id"], row["source_partition"]) for row in landed) == [
        ("s1", 1), ("s2", 0), ("s3", 0),
    ]  # fmt: skip


def test_a_row_that_one_partition_removes_and_another_gives_out_stays(driver: Lineage) -> None:
    driver.commit(reading(1), reading(2), to=2)
    keys = [ReadingKey(it.session_id, it.session_start_ms, it.episode_id) for it in map(reading, (1, 2))]
    driver.commit(reading(1, dwell_time_ms=700), to=4, deletes=(keys[0], keys[1], keys[1]))
    assert one(driver.dsn, "SELECT session_id, dwell_time_ms FROM realtime.session_features") == ("s1", 700)
    for table in ("user", "episode"):
        assert one(
            driver.dsn,
            f"SELECT count(*), sum(readings_closed), sum(dwell_time_ms_sum) FROM realtime.{table}_features",
        ) == (1, 1, 700)


@pytest.mark.parametrize(
    "shrunk", [{"ended_at_ms": START_MS + 10_000}, {"last_event_kafka_ms": START_MS + 10_000}]
)
def test_a_reading_that_ends_earlier_than_before_takes_its_maxima_along(
    driver: Lineage, shrunk: dict[str, int]
) -> None:
    """As one that somebody else shared, who is forgotten."""
    same = {"user_id": "u", "episode_id": "ep"}
    last = reading(
        9, **same, **OPEN, ended_at_ms=START_MS + 9 * MINUTE_MS, last_event_kafka_ms=START_MS + 9 * MINUTE_MS
    )
    driver.commit(reading(1, **same), last, to=9)
    driver.commit(last._replace(**shrunk), to=10)
    newest = "SELECT max(ended_at), max(last_event_kafka_at) FROM realtime.session_features"
    for table in ("user", "episode"):
        found = one(driver.dsn, f"SELECT last_read_at, last_event_kafka_at FROM realtime.{table}_features")
        assert found == one(driver.dsn, newest), table
