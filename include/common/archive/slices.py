"""Archive slices: offset ranges fixed in `ops.archive_slices` before anything of them is read.

Slices of a topic lie end to end: each starts where the one recorded before it ends, whatever became of it.
A run that is cleared finds its own row and reads the very same offsets again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from include.common.kafka.offsets import Watermarks
from include.common.names import Dag

Offsets = Mapping[int, int]
"""Kafka partition -> offset."""


class SliceError(RuntimeError):
    """A slice cannot be recorded, read or closed; the message says the mend."""


_TIME = "%Y%m%dT%H%M%SZ"
"""At the beginning of a slice's id."""


@dataclass(frozen=True)
class Decision:
    """Who decided on a slice, and why."""

    by: str
    reason: str


@dataclass(frozen=True)
class Slice:
    """Offsets [start, end) by partition, fixed for run `run_id` of the archive."""

    slice_id: str
    run_id: str
    topic: str
    start: Offsets
    end: Offsets
    status: str

    @property
    def produced(self) -> int:
        """Records in the ranges."""
        return sum(self.end[number] - self.start[number] for number in self.end)


def plan_offsets(
    previous_end: Offsets, held: Mapping[int, Watermarks], max_records: int
) -> tuple[dict[int, int], dict[int, int]]:
    """Start and end offsets of the next slice: from `previous_end` to the high watermarks.

    A partition never archived starts at its low watermark. At most about `max_records` records, taken from
    every partition in proportion; the rest waits for the next slice. Raises SliceError where Kafka has
    dropped records that were never archived, or has fewer than were archived (another topic of that name).
    """
    start, end = {}, {}
    for number, (low, high) in held.items():
        first = previous_end.get(number, low)
        if first < low:
            raise SliceError(
                f"partition {number}: offsets {first} to {low - 1} were never archived and Kafka no longer holds "
                f"them (retention). Restore them, or accept the loss in writing: docs/runbooks/events_archive.md"
            )
        if first > high:
            raise SliceError(
                f"partition {number}: archived up to offset {first}, but the topic ends at {high}: it was deleted "
                f"and made again. Give the new topic another name, or docs/runbooks/events_archive.md"
            )
        start[number], end[number] = first, high
    gone = sorted(set(previous_end) - set(held))
    if gone:
        raise SliceError(f"partitions {gone} were archived but the topic no longer has them")
    waiting = sum(end[number] - start[number] for number in end)
    if waiting > max_records:
        for number in end:
            share = -(-(end[number] - start[number]) * max_records // waiting)
            end[number] = start[number] + min(share, end[number] - start[number])
    return start, end


def record_slice(
    connection: psycopg.Connection,
    run_id: str,
    topic: str,
    held: Mapping[int, Watermarks],
    max_records: int,
) -> Slice | None:
    """Fix the offsets of run `run_id` and commit them; None where nothing new was produced.

    A run that has its slice already gets that one, whatever `held` says. Raises SliceError.
    """
    with connection.transaction():
        connection.execute("LOCK TABLE ops.archive_slices IN SHARE ROW EXCLUSIVE MODE")
        known = _one(connection, "run_id", run_id)
        if known is not None:
            if known.topic != topic:
                raise SliceError(f"run {run_id} recorded a slice of topic {known.topic!r}, not {topic!r}")
            return known
        latest = connection.execute(
            "SELECT end_offsets FROM ops.archive_slices WHERE topic = %s ORDER BY position DESC LIMIT 1",
            (topic,),
        ).fetchone()
        start, end = plan_offsets(_offsets(latest[0]) if latest else {}, held, max_records)
        if start == end:
            return None
        new = Slice(_slice_id(topic, start, end), run_id, topic, start, end, "recorded")
        connection.execute(
            "INSERT INTO ops.archive_slices (slice_id, run_id, topic, start_offsets, end_offsets, status, produced)"
            " VALUES (%s, %s, %s, %s, %s, 'recorded', %s)",
            (new.slice_id, run_id, topic, Jsonb(_text_keys(start)), Jsonb(_text_keys(end)), new.produced),
        )
    return new


def load_slice(connection: psycopg.Connection, slice_id: str) -> Slice:
    """The recorded slice; raises SliceError for an unknown id."""
    found = _one(connection, "slice_id", slice_id)
    if found is None:
        raise SliceError(
            f"slice {slice_id!r} is not recorded in table ops.archive_slices, which lists all of them: task "
            f"record_slice of DAG events__archive records one before it is read"
        )
    return found


def mark_staged(connection: psycopg.Connection, piece: Slice) -> None:
    """Note that the staged files are whole; a slice that had ended before keeps its status."""
    connection.execute(
        "UPDATE ops.archive_slices SET status = 'staged' WHERE slice_id = %s AND status = 'recorded'",
        (piece.slice_id,),
    )


PASSED = Decision(Dag.ARCHIVE, "the slice passed its gate when its run was repeated")


def mark_published(
    connection: psycopg.Connection,
    piece: Slice,
    archived: int,
    dead_letters: int,
    decision: Decision | None = None,
) -> None:
    """Close the slice as published; its quarantine entry, where there is one, is marked released.

    `decision` is the person's who released it; without one the slice passed its gate.
    """
    with connection.transaction():
        found = connection.execute(
            "UPDATE quality.quarantine_slices SET status = 'released', decided_by = %s, decision_reason = %s,"
            " decided_at = clock_timestamp() WHERE slice_id = %s",
            ((decision or PASSED).by, (decision or PASSED).reason, piece.slice_id),
        )
        told = decision or (PASSED if found.rowcount else None)
        _close(connection, piece, "published", archived, 0, dead_letters, told)


def mark_discarded(
    connection: psycopg.Connection, piece: Slice, quarantined: int, dead_letters: int, decision: Decision
) -> None:
    """Close a quarantined slice as discarded: its rows stay in quarantine, where the accounting finds them."""
    with connection.transaction():
        connection.execute(
            "UPDATE quality.quarantine_slices SET status = 'discarded', decided_by = %s, decision_reason = %s,"
            " decided_at = clock_timestamp() WHERE slice_id = %s",
            (decision.by, decision.reason, piece.slice_id),
        )
        _close(connection, piece, "discarded", 0, quarantined, dead_letters, decision)


def mark_quarantined(
    connection: psycopg.Connection,
    piece: Slice,
    quarantined: int,
    dead_letters: int,
    *,
    gate: str,
    failed_expectations: Sequence[str],
    sample_offsets: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Close the slice as quarantined, with the names of the expectations it failed and where rows that did are."""
    with connection.transaction():
        connection.execute(
            "INSERT INTO quality.quarantine_slices (slice_id, gate, run_id, row_count, failed_expectations, status,"
            " sample_offsets) VALUES (%s, %s, %s, %s, %s, 'quarantined', %s)"
            " ON CONFLICT (slice_id) DO UPDATE SET row_count = excluded.row_count, status = 'quarantined',"
            " failed_expectations = excluded.failed_expectations, sample_offsets = excluded.sample_offsets,"
            " quarantined_at = clock_timestamp(), decided_by = NULL, decision_reason = NULL, decided_at = NULL",
            (
                piece.slice_id, gate, piece.run_id, quarantined, list(failed_expectations),
                Jsonb(dict(sample_offsets or {})),
            ),
        )  # fmt: skip
        _close(connection, piece, "quarantined", 0, quarantined, dead_letters)


def finished_before(connection: psycopg.Connection, moment: datetime) -> list[str]:
    """Ids of slices that were published or quarantined before `moment`."""
    rows = connection.execute(
        "SELECT slice_id FROM ops.archive_slices WHERE finished_at < %s ORDER BY position", (moment,)
    )
    return [row[0] for row in rows]


def _close(
    connection: psycopg.Connection,
    piece: Slice,
    status: str,
    archived: int,
    quarantined: int,
    dead_letters: int,
    decision: Decision | None = None,
) -> None:
    connection.execute(
        "UPDATE ops.archive_slices SET status = %s, archived = %s, quarantined = %s, dead_letters = %s,"
        " finished_at = clock_timestamp(), decided_by = %s, decision_reason = %s,"
        " decided_at = CASE WHEN %s THEN clock_timestamp() END WHERE slice_id = %s",
        (
            status, archived, quarantined, dead_letters, decision and decision.by, decision and decision.reason,
            decision is not None, piece.slice_id,
        ),
    )  # fmt: skip


def _one(connection: psycopg.Connection, column: str, value: str) -> Slice | None:
    row = connection.execute(
        "SELECT slice_id, run_id, topic, start_offsets, end_offsets, status FROM ops.archive_slices"
        " WHERE CASE %s WHEN 'run_id' THEN run_id ELSE slice_id END = %s",
        (column, value),
    ).fetchone()
    if row is None:
        return None
    return Slice(row[0], row[1], row[2], _offsets(row[3]), _offsets(row[4]), row[5])


def _offsets(stored: Mapping[str, Any]) -> dict[int, int]:
    return {
        int(number): int(offset) for number, offset in sorted(stored.items(), key=lambda item: int(item[0]))
    }


def _text_keys(offsets: Offsets) -> dict[str, int]:
    return {str(number): offset for number, offset in offsets.items()}


def recorded_at(slice_id: str) -> datetime:
    """When the slice was recorded, as its id says (UTC)."""
    return datetime.strptime(slice_id.split("-")[0], _TIME).replace(tzinfo=UTC)


def _slice_id(topic: str, start: Offsets, end: Offsets) -> str:
    """`20261124T101500Z-<hash of the ranges>`: files carry it, so they are named by their offset ranges."""
    ranges = json.dumps([topic, sorted(start.items()), sorted(end.items())])
    return f"{datetime.now(UTC):{_TIME}}-{hashlib.sha256(ranges.encode()).hexdigest()[:12]}"
