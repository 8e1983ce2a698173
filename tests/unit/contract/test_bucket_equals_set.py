"""The bucket engine equals the set semantics: any order, any cut into calls, any repeats, any restart."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.contract.bucket import BucketChanges, BucketState, Record
from include.contract.encoded_session import STATE_VERSION, StateVersionError, due_times
from include.contract.event import Device, EventType, Platform, ReadingEvent
from include.contract.rules import SessionRules
from include.contract.session_state import SessionState
from include.contract.sessions import Reading, ReadingKey, StoredEvent, readings_of, split_sessions
from tests.hypothesis_profiles import examples

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
disordered = st.lists(events, min_size=1, max_size=40)
in_order = st.tuples(disordered, st.lists(st.integers(0, 12), min_size=40, max_size=40)).map(
    lambda drawn: [
        msgspec.structs.replace(it, timestamp=sum(drawn[1][: n + 1]), event_id=f"o{n:02}{it.event_id}")
        for n, it in enumerate(drawn[0])
    ]
)


@st.composite
def bridged(draw: st.DrawFn) -> list[ReadingEvent]:
    """Visits within the lateness: two sessions that an event between them joins, one that an earlier event begins anew,
    and repeats."""
    topic: list[ReadingEvent] = []
    now_ms = 0
    for visit in range(draw(st.integers(1, 6))):
        session_id = draw(st.sampled_from(["s1", "s2", "s3"]))
        apart_ms = draw(st.integers(RULES.gap_ms + 1, RULES.gap_ms + RULES.lateness_ms))
        between_ms = draw(st.integers(apart_ms - RULES.lateness_ms, RULES.gap_ms))
        next_ms = now_ms + apart_ms + RULES.gap_ms + RULES.lateness_ms + draw(st.integers(1, 40))
        times = (
            now_ms, now_ms + apart_ms, now_ms + between_ms,
            next_ms, next_ms - draw(st.integers(1, RULES.lateness_ms)),
        )  # fmt: skip
        kinds = draw(st.lists(st.sampled_from(list(EventType)), min_size=len(times), max_size=len(times)))
        visits = [
            event(f"v{visit}-{n}", session_id, *it) for n, it in enumerate(zip(times, kinds, strict=True))
        ]
        topic += [*visits, draw(st.sampled_from(visits[3:]))]
        now_ms = next_ms + draw(st.integers(0, 60))
    return topic


topics = disordered | in_order | bridged()
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
        self.rekeyed = self.duplicates = 0
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
        self.rekeyed += len(changes.deletes)
        self.duplicates += changes.duplicates
        for session_id, encoded in changes.touched.items():
            if encoded is None:
                self.state.pop(session_id, None)
            else:
                self.state[session_id] = encoded


def run(batches: list[list[Record]], *, restart: bool = False, ticks: bool = False) -> Store:
    store, bucket = Store(), BucketState(RULES)
    for batch in batches:
        wall_ms = max(record.kafka_ms for record in batch) + 1_000 if ticks and batch else None
        store.apply(bucket.apply(iter(batch), wall_ms))
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


def by_definition(
    all_records: list[Record], wall_ms: int = -1
) -> tuple[dict[ReadingKey, Reading], list[int]]:
    """Rows and late offsets by section 4 read literally: a record at a time, no state but the accepted set.

    Rows of sessions that are not final yet are those that the newest tick `wall_ms` leaves.
    """
    clock_ms, late = -(2**60), []
    accepted: dict[str, list[StoredEvent]] = {}
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
    rows: dict[ReadingKey, Reading] = {}
    for session_id, kept in accepted.items():
        for session in split_sessions(kept, RULES):
            is_final = session[-1].timestamp_ms + RULES.gap_ms < clock_ms - RULES.lateness_ms
            idle_ms = max(it.kafka_ms for it in session) + RULES.gap_ms + RULES.lateness_ms
            is_over = is_final or idle_ms < wall_ms
            for row in readings_of(session_id, 0, session, RULES, is_over=is_over, is_final=is_final):
                rows[row.key] = row
    return rows, late


def without_flush(rows: dict[ReadingKey, Reading]) -> dict[ReadingKey, Reading]:
    return {key: row for key, row in rows.items() if key.session_id != "flush"}


def final_rows(store: Store) -> dict[ReadingKey, Reading]:
    rows = without_flush(store.rows)
    assert all(row.is_final for row in rows.values())
    return rows


@given(topics, cuts, st.booleans(), st.booleans())
@settings(max_examples=examples(300))
def test_final_rows_equal_the_definition(
    topic: list[ReadingEvent], sizes: list[int], restart: bool, ticks: bool
) -> None:
    expected_rows, expected_late = by_definition(records(topic))
    store = run(cut(records(topic), sizes), restart=restart, ticks=ticks)
    assert final_rows(store) == without_flush(expected_rows)
    assert store.late == expected_late
    assert set(store.state) == {"flush"}, "a final session stayed in the state"


@given(bridged(), st.booleans())
@settings(max_examples=examples(150))
def test_bridges_and_earlier_starts_rekey_rows_as_defined(topic: list[ReadingEvent], restart: bool) -> None:
    """A record at a time, so that each row is out before the event that takes it back."""
    expected_rows, expected_late = by_definition(records(topic))
    store = run(cut(records(topic), [1] * len(topic)), restart=restart)
    assert final_rows(store) == without_flush(expected_rows)
    assert store.late == expected_late == []
    visits = len(topic) // 6
    assert store.rekeyed >= 2 * visits
    assert store.duplicates == visits


@given(topics, cuts, st.lists(st.integers(-60, 60), min_size=41, max_size=41), st.booleans())
@settings(max_examples=examples(300))
def test_the_store_equals_the_definition_after_every_call(
    topic: list[ReadingEvent], sizes: list[int], walls: list[int], restart: bool
) -> None:
    """Active, exited, provisionally closed, reopened and final rows, whatever the ticks of the wall clock."""
    store, bucket = Store(), BucketState(RULES)
    seen: list[Record] = []
    wall_ms = -1
    for batch, ahead_ms in zip(cut(records(topic, flush=False), sizes), walls, strict=True):
        seen += batch
        tick = 1_000 + len(seen) + ahead_ms if ahead_ms % 3 else None
        wall_ms = max(wall_ms, tick or -1)
        store.apply(bucket.apply(batch, tick))
        assert (store.rows, store.late) == by_definition(seen, wall_ms)
        if restart:
            bucket = BucketState.restore(RULES, bucket.clock_ms, store.state, bucket.wall_ms)


@given(topics, cuts)
@settings(max_examples=examples(100))
def test_encoded_state_survives_a_round_trip(topic: list[ReadingEvent], sizes: list[int]) -> None:
    bucket = BucketState(RULES)
    for batch in cut(records(topic, flush=False), sizes):
        bucket.apply(batch)
    for session_id, encoded in bucket.sessions().items():
        state = SessionState.decode(session_id, encoded)
        upserts, deletes, idle_ms = state.emit(RULES, bucket.wall_ms)
        assert (upserts, deletes) == ([], []), "decoding changed a row"
        assert state.encode(idle_ms, RULES) == encoded
        assert due_times(encoded)[1] == idle_ms


def test_records_out_of_offset_order_are_refused() -> None:
    for offsets in ((1, 0), (3, 3)):
        with pytest.raises(ValueError, match="offset order"):
            BucketState(RULES).apply([Record(0, n, 1_000, event(f"i{n}", "s1", 0)) for n in offsets])


def test_an_id_whose_bytes_stand_inside_another_is_no_repeat() -> None:
    bucket = BucketState(RULES)
    bucket.apply(
        [Record(0, 0, 1_000, event("\u00a1a", "s1", 0))]
    )  # in UTF-8: c2 a1 61; "a" is stored as a1 61
    changes = bucket.apply(
        [Record(0, 1, 1_000, event("a", "s1", 1)), Record(0, 2, 1_000, event("a", "s1", 2))]
    )
    assert (changes.accepted, changes.duplicates) == (1, 1)
    assert changes.upserts[0].event_count == 2


@pytest.mark.parametrize("version", [STATE_VERSION - 1, STATE_VERSION + 1])
def test_state_of_another_version_is_refused_before_anything_of_it_is_used(version: int) -> None:
    """Whatever the other version's layout is: shorter than our header, or with other things where ours are."""
    bucket = BucketState(RULES)
    bucket.apply([Record(0, 0, 1_000, event("i1", "s1", 0))])
    (ours,) = bucket.sessions().values()
    for other in (bytes([version]) + ours[1:], bytes([version]), bytes([version]) + b"\xff" * 200):
        with pytest.raises(StateVersionError, match=f"version {version}.*roll out a new generation"):
            BucketState.restore(RULES, bucket.clock_ms, {"s0": ours, "s1": other})


def test_cost_follows_the_sessions_touched_not_the_sessions_open(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = BucketState(RULES)
    bucket.apply([Record(0, n, 1_000, event("a", f"open-{n}", 0)) for n in range(500)])
    restored = BucketState.restore(RULES, bucket.clock_ms, bucket.sessions())
    decoded: list[str] = []
    decode = SessionState.decode

    def counting(session_id: str, encoded: bytes) -> SessionState:
        decoded.append(session_id)
        return decode(session_id, encoded)

    monkeypatch.setattr(SessionState, "decode", counting)
    for n in range(50):
        restored.apply([Record(0, 500 + n, 1_000, event(f"b{n}", "open-7", 0))], wall_ms=1_001 + n // 10)
    assert decoded == ["open-7"] * 50
    changes = restored.apply([Record(0, 600, 1_100, event("z", "new", 51))])
    assert sum(row.is_final for row in changes.upserts) == 500
    assert list(restored.sessions()) == ["new"]


@given(st.lists(st.integers(0, 18), min_size=2, max_size=12, unique=True), st.randoms(use_true_random=False))
@settings(max_examples=examples(150))
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
@settings(max_examples=examples(150))
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


@pytest.mark.parametrize("sessions", range(1_000, 1_006))
def test_the_last_of_many_sessions_closes_when_the_topic_falls_idle(sessions: int) -> None:
    """As in a replay: events are far apart, and come at once; so more wait to be idle than are open."""
    bucket = BucketState(RULES)
    for number in range(sessions):
        bucket.apply([Record(0, number, 1_000, event(f"i{number}", f"s{number}", 1_000 * number))])
    (row,) = bucket.apply([], wall_ms=10_000).upserts
    assert (row.session_id, row.status) == (f"s{sessions - 1}", "timed_out")
