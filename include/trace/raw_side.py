"""The links below a reading or record: micro-batches, offsets, archive slices, raw events."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from include.common.erasure.erasures import ErasedReaders
from include.common.erasure.records import ERASED
from include.common.hive.metastore import MetastoreError
from include.common.kafka.offsets import KafkaUnreachableError
from include.common.names import Pg
from include.contract.event import MAX_FUTURE_MS
from include.contract.rules import SessionRules
from include.trace import recompute
from include.trace.chain import Chain, MicroBatch, OffsetRange, RawEvent, Row, Shown
from include.trace.events import (
    KafkaRangeError,
    SessionSpan,
    archived_events,
    archived_record,
    kafka_events,
    kafka_record,
    without_fields,
)
from include.trace.recompute import Recomputed, WantedReading

if TYPE_CHECKING:
    from include.trace.build import Sources

_NO_END: Final = 2**62
Place = tuple[int, int]
"""Partition and offset."""


def follow_readings(
    chain: Chain, rows: Sequence[Row], sources: "Sources", shown: Shown, *, alone: bool
) -> None:
    """Add the events of these readings, and what they came by. `alone`: the chain is of this one reading, and it is
    recomputed."""
    for generation in sorted({row["generation"] for row in rows}):
        _follow_generation(
            chain, [row for row in rows if row["generation"] == generation], sources, shown, alone
        )
    chain.events.sort(key=lambda event: (event.partition, event.offset))
    chain.events_total = len(chain.events)
    _add_places(chain, sources)


def _follow_generation(chain: Chain, rows: list[Row], sources: "Sources", shown: Shown, alone: bool) -> None:
    number = rows[0]["generation"]
    generation = sources.store.generation(number)
    rules = SessionRules() if generation is None else generation.rules
    closing = {
        batch.position: batch
        for batch in sources.store.batches((number, row["ledger_position"]) for row in rows)
    }
    wanted = [_wanted(row, closing.get(row["ledger_position"])) for row in rows]
    events, missing = _events(chain, wanted, rules, number, sources)
    late = sources.store.late_offsets(sources.topic, number, (it.session_id for it in wanted))
    made = recompute.readings_of_events(
        [event for event in events if (event.partition, event.offset) not in late], wanted, rules
    )
    counted = [event for event in events if (event.partition, event.offset) in made.counted]
    chain.events += [_hidden(event, shown) for event in counted]
    _merge(chain.batches, closing.values())
    _merge(chain.batches, sources.store.batches_that_read(None, _by_partition(counted)), prefer=number)
    if alone:
        _recompute(chain, rows[0], wanted[0], made, missing)
        _tell_what_does_not_count(chain, events, late, made)
    elif missing:
        chain.notes.append(missing)


def _recompute(chain: Chain, row: Row, wanted: WantedReading, made: Recomputed, missing: str) -> None:
    chain.checks = recompute.check_reading(row, made.readings.get(wanted.key), missing)
    others = len(made.of_session) - len(made.counted)
    if others:
        chain.notes.append(
            f"{others} events of other episodes belong to the same session: dwell time ends where they begin"
        )


def _tell_what_does_not_count(
    chain: Chain, events: Sequence[RawEvent], late: Collection[Place], made: Recomputed
) -> None:
    places = {(event.partition, event.offset) for event in events}
    late_here = places & set(late)
    rest = places - late_here - made.of_session
    if late_here:
        chain.notes.append(
            f"not applied because late: {_listed(late_here)} ({Pg.LATE_EVENTS}, its own session or this one)"
        )
    if rest:
        chain.notes.append(
            f"repeats, later than the row, or of another session of the same id: {_listed(rest)}"
        )


def _listed(places: Collection[Place]) -> str:
    some = sorted(places)
    text = ", ".join(f"[{partition}] {offset}" for partition, offset in some[:10])
    return text + (f" and {len(some) - 10} more" if len(some) > 10 else "")


def _wanted(row: Row, closing: MicroBatch | None) -> WantedReading:
    partition = row["source_partition"]
    end = _NO_END if closing is None else closing.end_offsets.get(partition, _NO_END)
    return WantedReading(row["session_id"], row["session_start_ms"], row["episode_id"], partition, end)


def _events(
    chain: Chain, wanted: Sequence[WantedReading], rules: SessionRules, generation: int, sources: "Sources"
) -> tuple[list[RawEvent], str]:
    """Events near the wanted sessions, and why they may not be all."""
    spans = [
        SessionSpan(
            it.partition, it.session_id, it.session_start_ms, it.session_start_ms + rules.max_length_ms
        )
        for it in wanted
    ]
    faults: list[str] = []
    found: list[RawEvent] = []
    archived_to = sources.store.archived_to(sources.topic)
    try:
        found += archived_events(sources.hive(), sources.topic, spans)
    except MetastoreError as error:
        faults.append(f"archived events could not be read: {error}")
        archived_to = {}
    ranges: dict[int, tuple[int, int]] = {}
    for it in wanted:
        earliest = sources.store.first_offset_of(
            generation, it.partition, it.session_start_ms - MAX_FUTURE_MS
        )
        first = max(archived_to.get(it.partition, 0), earliest)
        known = ranges.get(it.partition, (first, it.end_offset))
        ranges[it.partition] = (min(known[0], first), max(known[1], it.end_offset))
    ranges = {number: span for number, span in ranges.items() if span[0] < span[1]}
    if ranges:
        try:
            events = kafka_events(sources.kafka, sources.topic, ranges, spans)
            found += [event for event in events if not _is_erased(event, sources.erased)]
        except (KafkaUnreachableError, KafkaRangeError) as error:
            faults.append(f"events that are not archived yet could not be read: {error}")
    by_place = {(event.partition, event.offset): event for event in reversed(found)}
    return list(by_place.values()), "; ".join(faults)


def follow_record(
    chain: Chain, sources: "Sources", topic: str, partition: int, offset: int, shown: Shown
) -> bool:
    """Add one record and where it went; False where neither Hive nor Kafka holds it."""
    event = None
    try:
        event = archived_record(sources.hive(), topic, partition, offset)
    except MetastoreError as error:
        chain.notes.append(f"the archive could not be read: {error}")
    if event is None:
        event = kafka_record(sources.kafka, topic, partition, offset)
    if event is None:
        return False
    if _is_erased(event, sources.erased):
        event = without_fields(event, ERASED)
    chain.row = _fields(event, shown)
    chain.events, chain.events_total = [_hidden(event, shown)], 1
    late = sources.store.rows(
        f"SELECT generation, batch_id, event_time_ms, bucket_clock_ms FROM {Pg.LATE_EVENTS}"  # noqa: S608  a constant
        " WHERE topic = %s AND kafka_partition = %s AND kafka_offset = %s ORDER BY generation",
        (topic, partition, offset),
    )
    chain.row["late"] = late
    for row in late:
        behind_s = (row["bucket_clock_ms"] - row["event_time_ms"]) / 1000
        chain.notes.append(
            f"late in generation {row['generation']}: {behind_s:.3f} s behind its bucket's clock, not applied"
        )
    chain.batches = sources.store.batches_that_read(None, {partition: [offset]})
    if event.reason is None and not late:
        _tell_reading(chain, event, sources, shown)
    _add_places(chain, sources, topic)
    return True


def _is_erased(event: RawEvent, erased: ErasedReaders) -> bool:
    """Only Kafka still holds an erased reader's events."""
    return event.user_id is not None and event.user_id in erased


def _tell_reading(chain: Chain, event: RawEvent, sources: "Sources", shown: Shown) -> None:
    readings = sources.store.rows(
        f"SELECT * FROM {Pg.SESSION_FEATURES} WHERE session_id = %s AND episode_id = %s"  # noqa: S608  a constant
        " AND to_timestamp(%s / 1000.0) BETWEEN started_at AND ended_at",
        (event.session_id, event.episode_id, event.event_ms),
    )
    chain.readings = [shown.row(reading) for reading in readings]
    chain.readings_total = len(readings)
    chain.readings_from = Pg.SESSION_FEATURES


def _add_places(chain: Chain, sources: "Sources", topic: str | None = None) -> None:
    """Offset ranges, archive slices and their gates, from the chain's events."""
    offsets = _by_partition(chain.events)
    chain.offsets = [
        OffsetRange(number, min(found), max(found), len(found)) for number, found in sorted(offsets.items())
    ]
    if offsets:
        chain.slices = sources.store.slices(topic or sources.topic, offsets)
        chain.slice_gates = sources.store.gates(piece.run_id for piece in chain.slices)


def _by_partition(events: Sequence[RawEvent]) -> dict[int, list[int]]:
    offsets: dict[int, list[int]] = defaultdict(list)
    for event in events:
        offsets[event.partition].append(event.offset)
    return dict(offsets)


def _merge(known: list[MicroBatch], found: Collection[MicroBatch], prefer: int | None = None) -> None:
    """Add what is new, in order; with `prefer`, other generations only where that one read nothing."""
    own = [batch for batch in found if batch.generation == prefer]
    chosen = own if prefer is not None and own else found
    seen = {(batch.generation, batch.batch_id) for batch in known}
    known += [batch for batch in chosen if (batch.generation, batch.batch_id) not in seen]
    known.sort(key=lambda batch: (batch.generation, batch.position))


def _hidden(event: RawEvent, shown: Shown) -> RawEvent:
    return replace(
        event,
        session_id=shown.value("session_id", event.session_id),
        user_id=shown.value("user_id", event.user_id),
        event_id=shown.value("event_id", event.event_id),
    )


def _fields(event: RawEvent, shown: Shown) -> dict[str, Any]:
    names: Mapping[str, Any] = vars(event)
    return {name: shown.value(name, value) for name, value in names.items() if value is not None}
