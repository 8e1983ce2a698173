"""A bucket that forgets a reader is as if it had never accepted an event of his, but for its clock."""

from hypothesis import given
from hypothesis import strategies as st

from include.contract.bucket import BucketState, Record
from include.contract.event import Device, EventType, Platform, ReadingEvent
from include.contract.rules import SessionRules
from include.contract.sessions import Reading, ReadingKey

RULES = SessionRules(gap_ms=30, max_length_ms=100, lateness_ms=20, dwell_cap_ms=10)
LEAVER = "reader-that-leaves"

pieces = st.lists(
    st.tuples(
        st.sampled_from([LEAVER, "stays", "also"]),
        st.sampled_from(["s1", "s2", "s3"]),
        st.sampled_from(["e1", "e2"]),
        st.sampled_from(list(EventType)),
        st.integers(0, 19),  # all in time, none final before the end
    ),
    min_size=1,
    max_size=25,
)


def record(offset: int, piece: tuple[str, str, str, EventType, int]) -> Record:
    user_id, session_id, episode_id, kind, time_ms = piece
    event = ReadingEvent(
        event_id=f"i{offset}",
        user_id=user_id,
        session_id=session_id,
        episode_id=episode_id,
        event_type=kind,
        country="KR",
        device=Device.PHONE,
        platform=Platform.IOS,
        timestamp=time_ms,
        scroll_ratio=0.5 if kind is EventType.SCROLL else None,
    )
    return Record(0, offset, 1_000 + offset, event)


def fold(store: dict[ReadingKey, Reading], bucket: BucketState, records: list[Record]) -> None:
    """Apply, and bring `store` forward as the writer does."""
    changes = bucket.apply(records)
    for key in changes.deletes:
        store.pop(key, None)
    store.update({row.key: row for row in changes.upserts})


@given(pieces, st.integers(1, 5), pieces)
def test_rows_and_state_are_those_without_the_reader(
    before: list[tuple[str, str, str, EventType, int]],
    size: int,
    after: list[tuple[str, str, str, EventType, int]],
) -> None:
    records = [record(offset, piece) for offset, piece in enumerate(before)]
    later = [record(len(records) + offset, piece) for offset, piece in enumerate(after) if piece[0] != LEAVER]
    bucket, plain = BucketState(RULES), BucketState(RULES)
    rows: dict[ReadingKey, Reading] = {}
    expected: dict[ReadingKey, Reading] = {}
    for at in range(0, len(records), size):
        fold(rows, bucket, records[at : at + size])
        fold(expected, plain, [it for it in records[at : at + size] if it.event.user_id != LEAVER])
    bucket.forget({LEAVER})
    fold(rows, bucket, [])
    assert rows == expected
    assert LEAVER.encode() not in b"".join(bucket.sessions().values())
    assert bucket.sessions().keys() == plain.sessions().keys()
    plain.clock_ms = bucket.clock_ms
    fold(rows, bucket, later)
    fold(expected, plain, later)
    assert rows == expected
    last = record(1_000, ("stays", "s9", "e1", EventType.ENTER, 500))  # everything else becomes final
    fold(rows, bucket, [last])
    fold(expected, plain, [last])
    assert rows == expected
    assert all(row.is_final for row in rows.values() if row.session_id != "s9")


def test_nothing_is_looked_for_twice() -> None:
    bucket = BucketState(RULES)
    bucket.apply([record(0, ("stays", "s1", "e1", EventType.ENTER, 0))])
    bucket.forget({LEAVER})
    changes = bucket.apply([])
    assert (changes.has_forgotten, changes.touched) == (True, {})
    assert not bucket.apply([]).has_forgotten
