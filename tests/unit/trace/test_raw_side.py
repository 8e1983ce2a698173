"""Below a reading or a record where a store is away, or holds nothing: it is said, and nobody's id with it."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from include.common.erasure.erasures import ErasedReaders, digest_of
from include.common.hive.metastore import MetastoreError
from include.common.kafka.offsets import KafkaUnreachableError
from include.trace import raw_side
from include.trace.build import Sources
from include.trace.chain import HIDDEN, Chain, MicroBatch, RawEvent, Shown

AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
ROW: dict[str, Any] = {
    "session_id": "s1", "session_start_ms": 1_000_000, "episode_id": "e1", "generation": 2, "ledger_position": 9,
    "source_partition": 0, "event_count": 3,
}  # fmt: skip
EVENT = RawEvent("events", 0, 7, 1_000_000, "kafka", None, "s1", "u1", "id", "e1", "enter", 1_000_000)


def batch(generation: int, batch_id: int, position: int) -> MicroBatch:
    return MicroBatch(generation, batch_id, position, {0: 0}, {0: 10}, None, 0, None, AT)


class Empty:
    """A store with one closing micro-batch in the ledger, and nothing else."""

    def __init__(self) -> None:
        self.read: list[MicroBatch] = []

    def generation(self, number: int) -> None:
        return None

    def batches(self, positions: Any) -> list[MicroBatch]:
        return [batch(*found) for found in [(2, 3, 9)] if (found[0], found[2]) in set(positions)]

    def batches_that_read(self, generation: int | None, offsets: Any) -> list[MicroBatch]:
        return self.read

    def late_offsets(self, *_: Any) -> set[tuple[int, int]]:
        return set()

    def archived_to(self, topic: str) -> dict[int, int]:
        return {0: 4}

    def first_offset_of(self, *_: Any) -> int:
        return 0

    def rows(self, *_: Any) -> list[Any]:
        return []

    def slices(self, *_: Any) -> list[Any]:
        return []

    def gates(self, *_: Any) -> list[Any]:
        return []


NOBODY = ErasedReaders()


def away() -> Any:
    raise MetastoreError("no Hive metastore answers")


def no_kafka(*_: Any) -> Any:
    raise KafkaUnreachableError("no answer from Kafka")


def sources(store: Empty, hive: Any = away, erased: ErasedReaders = NOBODY) -> Sources:
    return cast(Sources, SimpleNamespace(store=store, topic="events", kafka={}, hive=hive, erased=erased))


def new_chain() -> Chain:
    return Chain("asked", "realtime.session_features", None, {})


def test_a_reading_whose_events_nobody_can_read_is_not_called_different(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raw_side, "kafka_events", no_kafka)
    chain = new_chain()
    raw_side.follow_readings(chain, [ROW], sources(Empty()), Shown(frozenset()), alone=True)
    assert chain.events == []
    assert chain.differs == []
    assert chain.checks
    assert all(check.equal is None for check in chain.checks)
    told = " ".join(check.note for check in chain.checks)
    assert "no Hive metastore answers" in told
    assert "no answer from Kafka" in told
    assert [(it.generation, it.batch_id) for it in chain.batches] == [(2, 3)]


def test_of_many_readings_what_is_missing_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_side, "kafka_events", no_kafka)
    chain = new_chain()
    raw_side.follow_readings(chain, [ROW], sources(Empty()), Shown(frozenset()), alone=False)
    assert chain.checks == []
    (note,) = chain.notes
    assert "archived events could not be read" in note
    assert "not archived yet could not be read" in note


def test_with_the_archive_away_the_events_come_from_kafka_from_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def held(kafka: Any, topic: str, ranges: Any, spans: Any) -> list[RawEvent]:
        asked.append(ranges)
        return [EVENT]

    monkeypatch.setattr(raw_side, "kafka_events", held)
    chain = new_chain()
    raw_side.follow_readings(chain, [ROW], sources(Empty()), Shown(frozenset()), alone=False)
    assert asked == [{0: (0, 10)}], "not from where the archive ends, up to the closing micro-batch"
    (event,) = chain.events
    assert (event.session_id, event.user_id) == (HIDDEN, HIDDEN)
    assert [(it.first, it.last, it.events) for it in chain.offsets] == [(7, 7, 1)]


def test_batches_of_the_reading_s_own_generation_are_shown_and_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(raw_side, "kafka_events", lambda *_: [EVENT])
    store = Empty()
    store.read = [batch(3, 0, 12), batch(2, 3, 9), batch(2, 1, 5)]
    chain = new_chain()
    raw_side.follow_readings(chain, [ROW], sources(store), Shown(frozenset()), alone=False)
    assert [(it.generation, it.batch_id) for it in chain.batches] == [(2, 1), (2, 3)]


def test_a_record_that_nobody_holds_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_side, "kafka_record", lambda *_: None)
    chain = new_chain()
    assert not raw_side.follow_record(chain, sources(Empty()), "events", 0, 7, Shown(frozenset()))
    assert chain.notes == ["the archive could not be read: no Hive metastore answers"]


def test_a_record_shows_only_ids_that_were_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_side, "kafka_record", lambda *_: EVENT)
    chain = new_chain()
    assert raw_side.follow_record(chain, sources(Empty()), "events", 0, 7, Shown(frozenset({"s1"})))
    assert (chain.row["session_id"], chain.row["user_id"], chain.row["episode_id"]) == ("s1", HIDDEN, "e1")
    assert chain.events_total == 1


def test_events_of_an_erased_reader_that_kafka_still_holds_are_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = b"k" * 32
    erased = ErasedReaders([digest_of(EVENT.user_id or "", key)], key)
    monkeypatch.setattr(raw_side, "kafka_events", lambda *_: [EVENT])
    monkeypatch.setattr(raw_side, "kafka_record", lambda *_: EVENT)
    chain, shown = new_chain(), Shown(frozenset(), every=True)
    raw_side.follow_readings(chain, [ROW], sources(Empty(), erased=erased), shown, alone=False)
    assert chain.events == []
    chain = new_chain()
    assert raw_side.follow_record(chain, sources(Empty(), erased=erased), "events", 0, 7, shown)
    (event,) = chain.events
    assert (event.reason, event.user_id, event.session_id, event.event_id) == (
        "erased_reader",
        None,
        None,
        None,
    )
    assert EVENT.user_id not in str(chain)
