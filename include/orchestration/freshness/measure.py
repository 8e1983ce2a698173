"""What is published, how long it took, and what still waits: from the ledgers and the topic.

Cost follows what was published lately, not the size of a table: rows of a micro-batch, a cut or a slice become visible
with its row in the ledger, in one transaction, so the ledger's time is theirs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from include.common.freshness_slos import PUBLISHED, Feed, PublishedTable
from include.common.kafka.offsets import HeldRecord, records_at
from include.contract.event import ContractError, accept_record
from include.orchestration.freshness.judge import Measured

WINDOW = timedelta(minutes=10)
MARTS = ""
"""How published_cuts.sql and newest_publications.sql call the marts among Hive's tables."""
_HERE = Path(__file__).parent
_REACHED, _BATCHES, _CUTS, _NEWEST, _SLICES = (
    (_HERE / f"{name}.sql").read_text()
    for name in ("reached_offsets", "published_batches", "published_cuts", "newest_publications", "published_slices")
)  # fmt: skip

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Points = list[tuple[float, int]]
Offsets = dict[int, int]


@dataclass(frozen=True)
class Source:
    """What one feed, or one table of it, has published; times as `Measured` has them."""

    points: Points
    waits_since: datetime | None
    newest_event_at: datetime | None

    def measured(self, table: str, at: datetime) -> Measured:
        """As of `at`."""
        return Measured(table, self.points, _age_s(self.waits_since, at), _age_s(self.newest_event_at, at))


def measure(dsn: str, kafka: Mapping[str, str], topic: str) -> tuple[datetime, list[Measured]]:
    """When (the database's clock), and every table of PUBLISHED.

    Raises KafkaUnreachableError, psycopg.Error.
    """
    with psycopg.connect(
        dsn, application_name="freshness", cursor_factory=psycopg.RawCursor, connect_timeout=10
    ) as connection:
        (row,) = connection.execute(_REACHED, [topic])
        at, stream_reached, newest_event_at, archive_reached, archived_to = row
        window = [at, WINDOW]
        batches: Points = connection.execute(_BATCHES, window).fetchall()
        cuts = connection.execute(_CUTS, window).fetchall()
        hive_tables = [table.hive_table for table in PUBLISHED if table.feed is Feed.PUBLISHER]
        newest = {name: rest for name, *rest in connection.execute(_NEWEST, [hive_tables])}
        slices = connection.execute(_SLICES, [*window, topic]).fetchall()
    waiting, first, last, *starts = records_at(
        kafka,
        topic,
        [
            _offsets(stream_reached),
            # a topic never archived waits from its first record
            None if archive_reached is None else _offsets(archive_reached),
            {number: offset - 1 for number, offset in _offsets(archived_to).items() if offset > 0},
            *(_read(start, end) for start, end, _, _ in slices),
        ],
    )
    stream = Source(batches, _oldest(waiting), newest_event_at)
    archive = Source(
        [
            ((finished_at - oldest).total_seconds(), archived)
            for (_, _, finished_at, archived), records in zip(slices, starts, strict=True)
            if (oldest := _oldest(records)) is not None
        ],
        _oldest(first),
        _newest_event(last),
    )
    final = {
        name: Source(
            [(seconds, weight) for table, seconds, weight in cuts if table == name],
            # what the stream has not committed, no reading can be made of
            min((since for since in (waits_since, stream.waits_since) if since), default=None),
            as_of,
        )
        for name, (as_of, waits_since) in newest.items()
    }
    return at, [_source(table, stream, archive, final).measured(table.name, at) for table in PUBLISHED]


def _source(table: PublishedTable, stream: Source, archive: Source, final: Mapping[str, Source]) -> Source:
    if table.feed is Feed.STREAM:
        return stream
    if table.feed is Feed.ARCHIVE:
        return archive
    return final[table.hive_table if table.feed is Feed.PUBLISHER else MARTS]


def _offsets(stored: Mapping[str, Any] | None) -> Offsets:
    """Offsets as the ledgers store them, by text."""
    return {int(number): int(offset) for number, offset in (stored or {}).items()}


def _read(start: Mapping[str, Any], end: Mapping[str, Any]) -> Offsets:
    """Where a slice starts, of partitions that it has records of."""
    ends = _offsets(end)
    return {number: offset for number, offset in _offsets(start).items() if ends.get(number, 0) > offset}


def _oldest(records: Mapping[int, HeldRecord]) -> datetime | None:
    return min(_times(record.time_ms for record in records.values()), default=None)


def _newest_event(records: Mapping[int, HeldRecord]) -> datetime | None:
    """Newest event time among them; what breaks the contract has none."""
    times = []
    for record in records.values():
        try:
            times.append(accept_record(record.key, record.value, record.time_ms).timestamp)
        except ContractError:
            continue
    return max(_times(times), default=None)


def _times(found_ms: Iterable[int]) -> list[datetime]:
    return [_EPOCH + timedelta(milliseconds=time_ms) for time_ms in found_ms if time_ms >= 0]


def _age_s(since: datetime | None, at: datetime) -> float | None:
    return None if since is None else max(0.0, (at - since).total_seconds())
