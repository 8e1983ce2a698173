"""The bucket engine equals the set semantics: any order, any cut into calls, any repeats, any restart."""

from hypothesis import given, settings
from hypothesis import strategies as st

from include.contract.bucket import BucketChanges, BucketState, Record
from include.contract.event import Device, EventType, Platform, ReadingEvent
from include.contract.rules import SessionRules
from include.contract.sessions import Reading, ReadingKey, StoredEvent, readings_of, split_sessions

RULES = SessionRules(gap_ms=30, max_length_ms=100, lateness_ms=20, dwell_cap_ms=10)
FLUSH_MS = 100_000


def event(
    event_id: str, session_id: str, time_ms: int, kind: EventType = EventType.ENTER, episode_id: str = "e1"
) -> ReadingEvent:
    return ReadingEvent(
        event_id=event_id,
        user_id=f"u-{episode_id}",
        session_id=session_id,
        episode_id=episode_id,
        event_type=kind,
        country="KR",
        device=Device.PHONE,
        platform=Platform.IOS,
        timestamp=time_ms,
        scroll_ratio=(time_ms % 7) / 7 if kind is EventType.SCROLL else None,
    )


events = st.builds(
    event,
    event_id=st.integers(0, 40).map(lambda n: f"i{n:02}"),
    session_id=st.sampled_from(["s1", "s2", "s3"]),
    time_ms=st.integers(0, 400),
    kind=st.sampled_from(list(EventType)),
    episode_id=st.sampled_from(["e1", "e2"]),
)
topics = st.lists(events, min_size=1, max_size=40)
cuts = st.lists(st.integers(1, 8), min_size=40, max_size=40)


def records(topic: list[ReadingEvent], flush: bool = True) -> list[Record]:
    """One partition holding `topic`, then an event far ahead that makes every session before it final."""
    tail = [event("flush", "flush", FLUSH_MS)] if flush else []
    return [Record(0, offset, 1_000 + offset, e) for offset, e in enumerate([*topic, *tail])]


class Store:
    """What the writer would hold: rows by key, kept by applying changes as they come."""

    def __init__(self) -> None:
        self.rows: dict[ReadingKey, Reading] = {}
        self.late: list[int] = []
        self.state: dict[str, bytes] = {}

    def apply(self, changes: BucketChanges) -> None:
        for key in changes.deletes:
            del self.rows[key]
        for row in changes.upserts:
            assert self.rows.get(row.key) != row, "a row that did not change was emitted"
            stored = self.rows.get(row.key)
            assert stored is None or not stored.is_final, "a final row was written again"
            self.rows[row.key] = row
        self.late += [late.offset for late in changes.late]
        for session_id, encoded in changes.touched.items():
            if encoded is None:
                self.state.pop(session_id, None)
            else:
                self.state[session_id] = encoded


def run(batches: list[list[Record]], *, restart: bool = False, ticks: bool = False) -> Store:
    store, bucket = Store(), BucketState(RULES)
    for batch in batches:
        wall_ms = max(record.kafka_ms for record in batch) + 1_000 if ticks and batch else None
        store.apply(bucket.apply(reversed(batch), wall_ms))
        assert dict(bucket.sessions()) == store.state
        if restart:
            bucket = BucketState.restore(RULES, bucket.clock_ms, store.state, bucket.wall_ms)
    return store


def cut(all_records: list[Record], sizes: list[int]) -> list[list[Record]]:
    batches, start = [], 0
    for size in sizes:
        batches.append(all_records[start : start + size])
        start += size
    return [*batches, all_records[start:]]


def by_definition(all_records: list[Record]) -> tuple[dict[ReadingKey, Reading], list[int]]:
    """Rows and late offsets by section 4 read literally: a record at a time, no state but the accepted set."""
    clock_ms, accepted, late = -(2**60), {}, []
    for record in all_records:
        session_id, horizon_ms = record.event.session_id, clock_ms - RULES.lateness_ms
        held = {
            kept.event_id
            for session in split_sessions(accepted.get(session_id, []), RULES)
            if session[-1].timestamp_ms + RULES.gap_ms >= horizon_ms
            for kept in session
        }
        if record.event.event_id in held:
            continue
        if record.event.timestamp < horizon_ms:
            late.append(record.offset)
            continue
        clock_ms = max(clock_ms, record.event.timestamp)
        stored = StoredEvent.of(record.event, record.kafka_ms, record.offset)
        accepted.setdefault(session_id, []).append(stored)
    rows = {
        row.key: row
        for session_id, kept in accepted.items()
        if session_id != "flush"
        for session in split_sessions(kept, RULES)
        for row in readings_of(session_id, 0, session, RULES, is_over=True, is_final=True)
    }
    return rows, late


def final_rows(store: Store) -> dict[ReadingKey, Reading]:
    return {key: row for key, row in store.rows.items() if key.session_id != "flush"}


@given(topics, cuts, st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_final_rows_equal_the_definition(
    topic: list[ReadingEvent], sizes: list[int], restart: bool, ticks: bool
) -> None:
    expected_rows, expected_late = by_definition(records(topic))
    store = run(cut(records(topic), sizes), restart=restart, ticks=ticks)
    assert final_rows(store) == expected_rows
    assert store.late == expected_late
    assert set(store.state) == {"flush"}, "a final session stayed in the state"


@given(st.lists(st.integers(0, 18), min_size=2, max_size=12, unique=True), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_any_order_within_lateness_gives_the_same_features(times: list[int], random: object) -> None:
    topic = [event(f"i{time:02}", "s1", time, EventType.SCROLL) for time in times]
    shuffled = list(topic)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types it as object
    features = []
    for order in (sorted(topic, key=lambda e: e.timestamp), shuffled):
        rows = final_rows(run([records(order)]))
        features.append({key: row[:-3] for key, row in rows.items()})  # offsets differ, features must not
    assert features[0] == features[1]


@given(topics, cuts)
@settings(max_examples=150, deadline=None)
def test_the_clock_does_not_depend_on_the_cut(topic: list[ReadingEvent], sizes: list[int]) -> None:
    whole, pieces = BucketState(RULES), BucketState(RULES)
    whole.apply(records(topic, flush=False))
    for batch in cut(records(topic, flush=False), sizes):
        pieces.apply(batch)
    assert pieces.clock_ms == whole.clock_ms
    assert dict(pieces.sessions()).keys() == dict(whole.sessions()).keys()


def test_an_idle_topic_closes_sessions_provisionally_and_an_event_reopens_them() -> None:
    bucket = BucketState(RULES)
    enter, again = event("i1", "s1", 0), event("i2", "s1", 25)
    (row,) = bucket.apply([Record(0, 0, 1_000, enter)]).upserts
    assert (row.status, row.is_exit_tag, row.is_final) == ("active", None, False)
    assert bucket.apply([], wall_ms=1_050).upserts == []  # arrival + gap + lateness: not over yet
    (row,) = bucket.apply([], wall_ms=1_051).upserts
    assert (row.status, row.is_exit_tag, row.is_final) == ("timed_out", True, False)
    assert bucket.apply([], wall_ms=2_000).upserts == []
    (row,) = bucket.apply([Record(0, 1, 3_000, again)]).upserts
    assert (row.status, row.is_exit_tag, row.event_count) == ("active", None, 2)
    (row,) = bucket.apply([], wall_ms=3_051).upserts
    assert (row.status, row.is_final) == ("timed_out", False)
