"""The bucket log and the workers' caches: whichever worker gets a bucket, and whatever was tried before, same state."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.common.packed import unpack
from include.contract.bucket import BucketChanges, BucketState, Record
from include.contract.encoded_session import StateVersionError
from include.contract.event import Device, EventType, Platform, ReadingEvent
from include.contract.rules import SessionRules
from include.contract.sessions import ReadingKey
from include.spark_jobs.stream_sessionize import bucket_log
from include.spark_jobs.stream_sessionize.bucket_log import BucketCache, Head, load, save
from tests.hypothesis_profiles import examples

RULES = SessionRules(gap_ms=30, max_length_ms=100, lateness_ms=20, dwell_cap_ms=10)
BUCKET = 3


@dataclass
class Store:
    """Spark's state of one bucket; counts what is read."""

    stored: Head | None = None
    entries: dict[int, bytes] = field(default_factory=dict)
    reads: list[int] = field(default_factory=list)

    def head(self) -> Head | None:
        return self.stored

    def put_head(self, head: Head) -> None:
        self.stored = head

    def entry(self, version: int) -> bytes:
        self.reads.append(version)
        return self.entries[version]

    def put_entry(self, version: int, entry: bytes) -> None:
        self.entries[version] = entry

    def remove_entry(self, version: int) -> None:
        del self.entries[version]

    def copy(self) -> "Store":
        return Store(self.stored, dict(self.entries))


def event(event_id: str, session_id: str, time_ms: int) -> ReadingEvent:
    return ReadingEvent(
        event_id=event_id,
        user_id="u",
        session_id=session_id,
        episode_id="e",
        event_type=EventType.ENTER,
        country="KR",
        device=Device.PHONE,
        platform=Platform.IOS,
        timestamp=time_ms,
    )


def step(store: Store, cache: BucketCache, records: list[Record], tick: int | None) -> list[object]:
    """One micro-batch of the bucket, as the processor does it; returns what it gave out."""
    before, bucket = load(store, cache, "run", BUCKET, RULES)
    changes = bucket.apply(records, tick)
    save(store, cache, "run", BUCKET, before, bucket, changes)
    return told(changes)


def told(changes: BucketChanges) -> list[object]:
    """What a call gave out; the order of rows means nothing."""
    rows = sorted(changes.upserts, key=lambda row: row.key)
    return [rows, sorted(changes.deletes), changes.late, changes.accepted, changes.duplicates]


batches = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(["s1", "s2", "s3", "s4"]), st.integers(-25, 40)), max_size=4),
        st.sampled_from([None, 40, 80]),
        st.integers(0, 2),
        st.sampled_from(["once", "repeated", "repeated elsewhere", "new worker"]),
    ),
    min_size=3,
    max_size=25,
)


@given(batches)
@settings(max_examples=examples(300))
def test_any_worker_gives_what_one_bucket_in_memory_gives(
    drawn: list[tuple[list[tuple[str, int]], int | None, int, str]],
) -> None:
    """Three workers take turns; micro-batches are repeated from the state before them, workers are replaced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket_log, "COMPACT_EVERY", 4)
        plain, store = BucketState(RULES), Store()
        caches = [BucketCache(8) for _ in range(3)]
        offset = now = 0
        for pieces, ahead_ms, worker, how in drawn:
            records = []
            for session_id, ahead in pieces:
                now = max(now + ahead, 0)
                records.append(Record(0, offset, 1_000 + offset, event(f"i{offset}", session_id, now)))
                offset += 1
            tick = None if ahead_ms is None else 1_000 + offset + ahead_ms
            if how == "new worker":
                caches[worker] = BucketCache(8)
            if how.startswith("repeated"):
                step(store.copy(), caches[worker], records, tick)  # its state was not committed
            its_turn = (worker + 1) % 3 if how == "repeated elsewhere" else worker
            expected = told(plain.apply(records, tick))
            assert step(store, caches[its_turn], records, tick) == expected
            assert len(store.entries) <= 4, "a base did not replace the entries before it"
        for cache in (*caches, BucketCache(8)):
            _, bucket = load(store, cache, "run", BUCKET, RULES)
            assert dict(bucket.sessions()) == dict(plain.sessions())
            assert (bucket.clock_ms, bucket.wall_ms) == (plain.clock_ms, plain.wall_ms)


def test_a_worker_that_is_behind_reads_what_it_missed_and_no_more() -> None:
    store, first, second = Store(), BucketCache(8), BucketCache(8)
    step(store, first, [Record(0, 0, 1_000, event("i0", "s1", 0))], None)
    step(store, second, [Record(0, 1, 1_001, event("i1", "s2", 1))], None)
    assert store.reads == [1]
    step(store, second, [Record(0, 2, 1_002, event("i2", "s3", 2))], None)
    assert store.reads == [1], "the cache at the state's version needs no entry"
    step(store, first, [Record(0, 3, 1_003, event("i3", "s1", 3))], None)
    assert store.reads == [1, 2, 3]


def test_a_worker_that_is_behind_does_not_go_through_the_open_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, first, second = Store(), BucketCache(8), BucketCache(8)
    step(store, first, [Record(0, n, 1_000, event(f"i{n}", f"open-{n}", 0)) for n in range(500)], None)
    step(store, second, [Record(0, 500, 1_001, event("a", "open-7", 1))], None)
    followed: list[str] = []
    follow = BucketState.follow

    def noting(bucket: BucketState, touched: Mapping[str, bytes | None]) -> None:
        followed.extend(touched)
        follow(bucket, touched)

    monkeypatch.setattr(BucketState, "follow", noting)
    step(store, first, [Record(0, 501, 1_002, event("b", "open-7", 2))], None)
    assert followed == ["open-7"], "rebuilt from all sessions"
    _, bucket = load(store, first, "run", BUCKET, RULES)
    assert len(bucket.sessions()) == 500


def test_a_log_of_another_layout_is_refused() -> None:
    store = Store(Head(bucket_log.LAYOUT_VERSION + 1, 1, 0, 0, 0))
    with pytest.raises(StateVersionError, match="roll out a new generation"):
        load(store, BucketCache(8), "run", BUCKET, RULES)


def test_a_reader_who_is_forgotten_is_in_no_entry_and_none_but_the_first_call_looks() -> None:
    store, worker = Store(), BucketCache(8)
    step(
        store,
        worker,
        [Record(0, 0, 1_000, event("i0", "s1", 0)), Record(0, 1, 1_000, event("i1", "s2", 0))],
        None,
    )
    step(store, worker, [Record(0, 2, 1_001, event("i2", "s1", 1))], None)
    leaver = msgspec.structs.replace(event("i3", "s3", 2), user_id="reader-that-leaves")
    step(store, worker, [Record(0, 3, 1_002, leaver)], None)
    stayed = store.copy()

    def forget(cache: BucketCache, lineage: str, into: Store) -> BucketChanges:
        before, bucket = load(into, cache, lineage, BUCKET, RULES, {"reader-that-leaves"})
        changes = bucket.apply([])
        save(into, cache, lineage, BUCKET, before, bucket, changes)
        return changes

    assert forget(worker, "another run", stayed.copy()).has_forgotten, "not committed: a try that is repeated"
    assert forget(worker, "another run", store).deletes == [ReadingKey("s3", 2, "e")]
    assert list(store.entries) == [4], "a base alone"
    assert b"leaves" in unpack(stayed.entries[3])
    assert b"leaves" not in unpack(store.entries[4])
    assert not forget(worker, "another run", store).has_forgotten
    again = forget(BucketCache(8), "a third run", store)
    assert (again.has_forgotten, again.deletes, list(store.entries)) == (True, [], [4]), (
        "a base has nothing to replace"
    )
    _, bucket = load(store, BucketCache(8), "run", BUCKET, RULES)
    assert set(bucket.sessions()) == {"s1", "s2"}


def test_entries_since_the_base_go_even_if_nobody_is_found_any_more() -> None:
    store, worker = Store(), BucketCache(8)
    leaver = msgspec.structs.replace(event("i0", "s1", 0), user_id="reader-that-leaves")
    step(store, worker, [Record(0, 0, 1_000, leaver)], None)
    step(store, worker, [Record(0, 1, 1_001, event("i1", "s2", 500))], None)  # s1 is final
    assert any(b"leaves" in entry for entry in store.entries.values())
    before, bucket = load(store, worker, "another run", BUCKET, RULES, {"reader-that-leaves"})
    save(store, worker, "another run", BUCKET, before, bucket, bucket.apply([]))
    assert not any(b"leaves" in entry for entry in store.entries.values())


@pytest.mark.parametrize("repeated", [0, 1])
def test_a_micro_batch_of_a_run_that_forgets_is_repeated_alike(repeated: int) -> None:
    """Its output is thrown away then: no row may change in it that did not change the first time."""
    reader = {"reader-that-leaves"}
    store, worker = Store(), BucketCache(8)
    leaver = msgspec.structs.replace(event("i0", "s1", 0), user_id="reader-that-leaves")
    step(store, worker, [Record(0, 0, 1_000, leaver), Record(0, 1, 1_000, event("i1", "s1", 5))], None)
    before: list[Store] = []

    def forgetting(into: Store, cache: BucketCache, run: str, number: int) -> list[object]:
        head, bucket = load(into, cache, run, BUCKET, RULES, reader)
        record = Record(0, 2 + number, 1_001, event(f"i{2 + number}", "s2", 10 + number))
        changes = bucket.apply([record])
        save(into, cache, run, BUCKET, head, bucket, changes)
        return told(changes)

    given = []
    for number in (0, 1):
        before.append(store.copy())
        given.append(forgetting(store, worker, "a run", number))
        if number == repeated:
            break
    assert "s1" in str(given[0]), "the rows of the other reader in his session are made anew"
    again = before[repeated]
    assert forgetting(again, BucketCache(8), "the next run", repeated) == given[repeated]
    states = [load(it, BucketCache(8), "a third run", BUCKET, RULES)[1] for it in (store, again)]
    assert dict(states[0].sessions()) == dict(states[1].sessions())
    assert states[0].clock_ms == states[1].clock_ms
