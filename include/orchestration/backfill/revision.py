"""The late-corrected revision: readings as a function of all events of their session, late ones included.

Recomputed are the session_ids that have a late event, from what the engine accepted of them and what was late; a late event
with an id that was accepted is a repeat and stays out. Late events can join sessions, or begin one earlier: a reading then
may leave the day that is rebuilt, or come to it. That must be done on both days or on none.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from include.contract.bucket import Record
from include.contract.rules import SessionRules
from include.contract.sessions import Reading, StoredEvent, readings_of, split_sessions
from include.orchestration.backfill.replay import Replay, SessionId
from include.orchestration.reconcile.model import NEVER_MS, Day, Span


class RevisionError(RuntimeError):
    """Late events reach beyond the days of the run; the message names the day to include."""


@dataclass(frozen=True)
class Revised:
    """`readings` of the day, of all session_ids with late events. `applied`: late events that count in them.

    `earliest_ms`: where the events begin that the day's readings rest on; NEVER_MS where there are none. `open_readings`:
    of sessions with readings of the day, not final yet by the records that were replayed.
    """

    readings: Sequence[Reading]
    applied: int
    earliest_ms: int
    open_readings: int


def revise(replay: Replay, late: Iterable[Record], span: Span, days: Sequence[Day]) -> Revised:
    """Readings of `replay`'s day that the watched session_ids make together with `late` (records, in offset order).

    `days`: the range of the run. Raises RevisionError.
    """
    late_of: dict[SessionId, list[Record]] = {}
    for record in late:
        late_of.setdefault(SessionId(record.partition, record.event.session_id), []).append(record)
    readings: list[Reading] = []
    applied, open_readings, earliest_ms = 0, 0, NEVER_MS
    for session in sorted(replay.watched):
        accepted = replay.accepted.get(session, [])
        extra = _not_repeated(accepted, late_of.get(session, []))
        added, events = {it.offset for it in extra}, [*accepted, *extra]
        for run in split_sessions(events, replace(replay.rules, max_length_ms=NEVER_MS)):
            before = list(_made([it for it in run if it.offset not in added], session, replay, span))
            after = list(_made(run, session, replay, span))
            if not any(_day_of(it) == replay.day for it in (*before, *after)):
                continue
            still_open = sum(not it.is_final for it in after)
            before, after = ([it for it in made if it.is_final] for made in (before, after))
            if still_open:  # more records are needed; of a retired generation it stays as it was
                open_readings += still_open
                readings += [it for it in before if _day_of(it) == replay.day]
                continue
            _check_days(before, after, replay.day, days)
            _check_span(run, replay.rules, span)
            earliest_ms = min(earliest_ms, run[0].timestamp_ms)
            applied += sum(it.offset in added for it in run)
            readings += [it for it in after if _day_of(it) == replay.day]
    return Revised(readings, applied, earliest_ms, open_readings)


def _not_repeated(accepted: Iterable[StoredEvent], late: Iterable[Record]) -> list[StoredEvent]:
    """Late events with an id of their own; of several with one id the first by offset."""
    ids = {it.event_id for it in accepted}
    added = []
    for record in late:
        if record.event.event_id not in ids:
            ids.add(record.event.event_id)
            added.append(StoredEvent.of(record.event, record.kafka_ms, record.offset))
    return added


def _made(events: Sequence[StoredEvent], session: SessionId, replay: Replay, span: Span) -> Iterator[Reading]:
    """Readings of sessions that the generation publishes."""
    for found in split_sessions(events, replay.rules):
        if span.from_ms <= found[0].timestamp_ms < span.to_ms:
            is_final = replay.is_final(session, found[-1].timestamp_ms)
            yield from readings_of(
                session.session_id, session.partition, found, replay.rules, is_over=True, is_final=is_final
            )


def _check_days(before: Sequence[Reading], after: Sequence[Reading], day: Day, days: Sequence[Day]) -> None:
    """Every day on which the late events change a row must be in the range."""
    changed = set(map(_comparable, before)) ^ set(map(_comparable, after))
    outside = sorted({it[0] for it in changed} - {it.dt for it in days})
    if outside:
        raise RevisionError(
            f"late events of a session with readings on {day.dt} also change readings of {', '.join(outside)}: a session "
            f"moves between days. Trigger again with a range that includes {', '.join(outside)}, or without late events"
        )


def _check_span(run: Sequence[StoredEvent], rules: SessionRules, span: Span) -> None:
    """Sessions of one run must be of one generation: late events could move one across the point of a roll-out."""
    starts = {span.from_ms <= it[0].timestamp_ms < span.to_ms for it in split_sessions(run, rules)}
    if len(starts) > 1:
        raise RevisionError(
            f"late events belong to a session_id with sessions on both sides of the point from which generation "
            f"{span.generation} is published, or of the one after it: trigger again without late events"
        )


def _comparable(reading: Reading) -> tuple[str, str]:
    return _day_of(reading).dt, repr(reading)


def _day_of(reading: Reading) -> Day:
    return Day.of_ms(reading.started_at_ms)


def sessions_of(records: Iterable[Record]) -> frozenset[SessionId]:
    """The session_ids of records."""
    return frozenset(SessionId(it.partition, it.event.session_id) for it in records)
