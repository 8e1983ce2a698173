"""How long the batch store keeps what: one table of policies, days changeable in `reference.thresholds`.

A slice's rows stay as long after they were archived, however old their event times: they are released, counted and
reconciled by slice. A partition is dropped from the metastore first, its folder removed after a grace
(`unreferenced_folders`). A
landing file is removed when it is old and published, or of a generation that nothing will be published of; its ledger
row stays.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg

from include.common.archive.compaction import slices_in
from include.common.archive.slice_files import is_compacted, slice_of_file
from include.common.archive.slices import recorded_at
from include.common.hive.files import visible_files
from include.common.hive.metastore import Metastore
from include.common.hive.publications import published_generation, published_position
from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.table_lock import table_lock
from include.common.hive.tables import (
    CONTENT_QUALITY_DAILY,
    DEAD_LETTERS,
    EPISODE_FEATURE_HISTORY,
    EPISODE_FEATURES_DAILY,
    QUARANTINED_EVENTS,
    RAW_EVENTS,
    SEGMENT_FEATURES_DAILY,
    SESSION_FEATURES,
    SLICE_TABLES,
    USER_FEATURE_HISTORY,
    USER_FEATURES_DAILY,
)
from include.common.thresholds import in_force

RAW_EVENTS_DAYS: Final = "retention_raw_events_days"
RETENTION: Final[Mapping[HiveTable, str | None]] = {
    RAW_EVENTS: RAW_EVENTS_DAYS,
    QUARANTINED_EVENTS: RAW_EVENTS_DAYS,  # reconciliation reads the two as one
    DEAD_LETTERS: RAW_EVENTS_DAYS,  # produced = archived + quarantined + dead letters, as long as there are any
    SESSION_FEATURES: "retention_features_days",
    USER_FEATURES_DAILY: "retention_features_days",
    EPISODE_FEATURES_DAILY: "retention_features_days",
    SEGMENT_FEATURES_DAILY: "retention_features_days",
    CONTENT_QUALITY_DAILY: "retention_features_days",
    # what was known at a moment is the newest row before it, however old
    USER_FEATURE_HISTORY: None,
    EPISODE_FEATURE_HISTORY: None,
}
"""Every Hive table -> the threshold that says how many days before today its partitions stay; None: for ever."""
LANDING_DAYS: Final = "retention_landing_days"
REALTIME_DAYS: Final = "retention_realtime_days"
"""Rows of `realtime`, which the stream prunes (include.orchestration.prune_realtime)."""
_LANDING_FILE: Final = re.compile(r"batch=(\d+)-[0-9a-f]+\.parquet")
_CHUNK: Final = 1000


@dataclass(frozen=True)
class OldFile:
    """A landing file that nothing needs any more."""

    path: Path
    bytes: int


def days_kept(connection: psycopg.Connection) -> dict[str, float]:
    """Every retention threshold in force, its default where the table has none."""
    values = in_force(connection)
    return {policy: values[policy] for policy in (*RETENTION.values(), LANDING_DAYS) if policy}


def expired_partitions(
    metastore: Metastore, table: HiveTable, days: float, now: datetime
) -> list[PartitionValues]:
    """Partitions whose date is more than `days` before today (UTC), and, of a table of slices, whose newest slice is."""
    oldest = now.astimezone(UTC) - timedelta(days=days)
    return sorted(
        values
        for values, folder in metastore.all_locations(table).items()
        if values[0] < f"{oldest:%Y-%m-%d}"
        and (table not in SLICE_TABLES or not _holds_slice_since(folder, oldest))
    )


def _holds_slice_since(folder: Path, moment: datetime) -> bool:
    slices: set[str] = set()
    for path in visible_files(folder):
        slices |= slices_in(path) if is_compacted(path) else {slice_of_file(path)}
    return any(recorded_at(slice_id) >= moment for slice_id in slices)


def drop_expired(
    connection: psycopg.Connection, metastore: Metastore, table: HiveTable, days: float, now: datetime
) -> list[PartitionValues]:
    """Drop them from the metastore; their folders stay until they were unreferenced for the grace."""
    with table_lock(connection, table):
        gone = expired_partitions(metastore, table, days, now)
        metastore.drop_partitions(table, gone)
    return gone


def old_landing_files(
    connection: psycopg.Connection, landing: Path, days: float, now: datetime
) -> list[OldFile]:
    """Landing files last written more than `days` ago that are published, that no ledger row lists, or whose generation was
    swapped out or dropped for as long.

    Files that wait for publication otherwise stay, however old.
    """
    found: list[OldFile] = []
    moment = now - timedelta(days=days)
    for folder in sorted(landing.glob("generation=*")):
        generation = int(folder.name.removeprefix("generation="))
        old = _older_than(folder, moment)
        needed = set() if _is_over(connection, generation, moment) else _waiting(connection, generation, old)
        found += [
            OldFile(path, path.stat().st_size)
            for path in old
            if path.relative_to(landing).as_posix() not in needed
        ]
    return found


def _older_than(folder: Path, moment: datetime) -> list[Path]:
    return sorted(
        path
        for path in folder.glob("batch=*.parquet")
        if _LANDING_FILE.fullmatch(path.name) and path.stat().st_mtime < moment.timestamp()
    )


def _is_over(connection: psycopg.Connection, generation: int, moment: datetime) -> bool:
    """Is nothing of the generation left to publish, and will it not come back? It was swapped out, and the current one
    published since: that publication has read what was left, though the position is still the one of before.

    A retired one comes back by a roll-back, and then is published anew from that position: its files wait while it was
    swapped out after `moment`.
    """
    row = connection.execute(
        "SELECT status = 'dropped' OR (status = 'retired' AND status_since < %s),"
        " (SELECT generation FROM ops.stream_generations WHERE status = 'current')"
        " FROM ops.stream_generations WHERE generation = %s",
        (moment, generation),
    ).fetchone()
    if row is None or not row[0]:
        return False
    return row[1] is not None and row[1] == published_generation(connection, SESSION_FEATURES.name, run_id="")


def _waiting(connection: psycopg.Connection, generation: int, files: list[Path]) -> set[str]:
    """Those of `files`, as the ledger names them, that are listed and not yet published."""
    position = published_position(connection, SESSION_FEATURES.name, generation, run_id="")
    waiting: set[str] = set()
    for start in range(0, len(files), _CHUNK):
        batches = list(_batch_ids(files[start : start + _CHUNK]))
        rows = connection.execute(
            "SELECT landing_path FROM ops.stream_batches WHERE generation = %s AND batch_id = ANY(%s)"
            " AND position > %s AND landing_path IS NOT NULL",
            (generation, batches, position),
        )
        waiting.update(row[0] for row in rows)
    return waiting


def _batch_ids(files: Iterable[Path]) -> Iterable[int]:
    for path in files:
        if found := _LANDING_FILE.fullmatch(path.name):
            yield int(found[1])
