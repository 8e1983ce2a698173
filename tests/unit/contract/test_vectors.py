"""Every executable vector holds for the bucket engine, however the topic is cut into calls."""

import pytest

from include.contract.bucket import BucketState, Record, bucket_of
from include.contract.event import ContractError, accept_record
from include.contract.rules import SessionRules
from include.contract.sessions import Reading, ReadingKey
from tests.vectors import (
    BUCKETS_PER_PARTITION,
    FLUSH_PREFIX,
    Vector,
    VectorRecord,
    flush_records,
    load_vectors,
)

VECTORS = load_vectors()
RULES = SessionRules()


class Engine:
    """All buckets of a vector's partition, and the rows a writer would hold."""

    def __init__(self) -> None:
        self.buckets: dict[int, BucketState] = {}
        self.rows: dict[ReadingKey, Reading] = {}
        self.late: list[int] = []
        self.duplicates = 0
        self.dead_letters: dict[int, str] = {}

    def apply(self, records: list[VectorRecord], wall_ms: int | None = None) -> None:
        by_bucket: dict[int, list[Record]] = {bucket: [] for bucket in self.buckets}
        for record in records:
            try:
                event = accept_record(record.key, record.value, record.kafka_ms)
            except ContractError as error:
                self.dead_letters[record.offset] = error.reason.value
                continue
            bucket = bucket_of(event.session_id, record.partition, BUCKETS_PER_PARTITION)
            accepted = Record(record.partition, record.offset, record.kafka_ms, event)
            by_bucket.setdefault(bucket, []).append(accepted)
        for bucket, accepted_records in by_bucket.items():
            state = self.buckets.setdefault(bucket, BucketState(RULES))
            changes = state.apply(accepted_records, wall_ms)
            for key in changes.deletes:
                del self.rows[key]
            for row in changes.upserts:
                self.rows[row.key] = row
            self.late += [late.offset for late in changes.late]
            self.duplicates += changes.duplicates
            # what a restart would do
            self.buckets[bucket] = BucketState.restore(
                RULES, state.clock_ms, dict(state.sessions()), state.wall_ms
            )

    def visible(self) -> list[Reading]:
        return ordered([row for row in self.rows.values() if not row.session_id.startswith(FLUSH_PREFIX)])


def ordered(rows: list[Reading]) -> list[Reading]:
    return sorted(rows, key=lambda row: row.key)


@pytest.mark.parametrize("cut", [1, 2, 7, 1000], ids=lambda n: f"calls_of_{n}")
@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_final_rows(vector: Vector, cut: int) -> None:
    engine = Engine()
    records = [*vector.records, *flush_records(vector)]
    for start in range(0, len(records), cut):
        engine.apply(records[start : start + cut])
    assert engine.visible() == ordered(vector.rows)
    assert sorted(engine.late) == vector.late
    assert engine.duplicates == len(vector.duplicates)
    assert engine.dead_letters == vector.dead_letters


@pytest.mark.parametrize("vector", [it for it in VECTORS if it.snapshots], ids=str)
def test_rows_on_the_way(vector: Vector) -> None:
    engine, done = Engine(), 0
    for snapshot in vector.snapshots:
        records = vector.records[done : snapshot.after + 1]
        done += len(records)
        engine.apply(records, snapshot.wall_ms)
        assert engine.visible() == ordered(snapshot.rows)
    engine.apply([*vector.records[done:], *flush_records(vector)])
    assert engine.visible() == ordered(vector.rows), "the wall clock changed final rows"


def test_there_are_enough_and_their_names_and_sessions_are_their_own() -> None:
    assert len(VECTORS) >= 30
    assert len({vector.name for vector in VECTORS}) == len(VECTORS)
    owners: dict[str, str] = {}
    for vector in VECTORS:
        assert vector.settles.strip()
        assert vector.version >= 1
        for row in vector.rows:
            assert owners.setdefault(row.session_id, vector.name) == vector.name, row.session_id


def test_own_partitions_changes_the_partition_only() -> None:
    def strip(record: VectorRecord) -> tuple[object, ...]:
        return record[1:]

    for index, vector in enumerate(load_vectors(own_partitions=True)):
        assert {record.partition for record in vector.records} == {index}
        assert list(map(strip, vector.records)) == list(map(strip, VECTORS[index].records))
        assert {record.partition for record in flush_records(vector)} == {index}
