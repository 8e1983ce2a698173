"""Rebuilt days: what features__backfill hands to its publication, and what ops.backfills says of days that were published.

Readers of ops.backfills: the publisher, which does not merge readings into a rebuilt day that it has settled already, and
features__reconcile, which must know where late events were applied.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from include.common.names import Pg

MANIFEST = "days.json"
"""In a run's staging folder: the days that are to be published."""


@dataclass(frozen=True)
class Counts:
    """Rows of a rebuilt day against those that its partition holds. `changed_by_column`: a row may be in several.

    `gone` are rows of the partition that nothing makes, copies of a row among them.
    """

    equal: int
    new: int
    changed: int
    gone: int
    changed_by_column: Mapping[str, int]

    @property
    def different(self) -> int:
        """Rows that a publication changes."""
        return self.new + self.changed + self.gone


@dataclass(frozen=True)
class StagedDay:
    """A rebuilt day. `folder` holds its rows as Parquet files of session_features; `location` is the folder that the
    partition pointed at when they were compared, None for no partition.

    `positions`: stream generation (as text, for JSON) -> ledger position up to which its readings are settled.
    """

    dt: str
    folder: str
    location: str | None
    generation: int
    positions: Mapping[str, int]
    with_late_events: bool
    rows: int
    counts: Counts


@dataclass(frozen=True)
class Backfill:
    """The newest backfill of a day."""

    positions: Mapping[int, int]
    with_late_events: bool
    location: str


def write_manifest(staging: Path, days: Iterable[StagedDay]) -> Path:
    """Write what is to be published into a run's staging folder, whole; returns the file."""
    target = staging / MANIFEST
    hidden = staging / f".{MANIFEST}.tmp"
    hidden.write_text(json.dumps([asdict(day) for day in days]), encoding="utf-8")
    return hidden.replace(target)


def read_manifest(staging: Path) -> list[StagedDay]:
    """Inverse of `write_manifest`. Raises OSError where there is none."""
    return [staged_day(day) for day in json.loads((staging / MANIFEST).read_text(encoding="utf-8"))]


def staged_day(values: Mapping[str, Any]) -> StagedDay:
    """A day from its `asdict`."""
    return StagedDay(**{**values, "counts": Counts(**values["counts"])})


def record_backfill(connection: psycopg.Connection, run_id: str, day: StagedDay, location: str) -> None:
    """Say that the run publishes the day as the folder `location`; a repeated run replaces its own row."""
    counts = day.counts
    connection.execute(
        f"INSERT INTO {Pg.BACKFILLS} (run_id, dt, positions, with_late_events, rows_equal, rows_new, rows_changed,"  # noqa: S608  a constant
        " rows_gone, changed_by_column, location) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (dt, run_id) DO UPDATE SET positions = excluded.positions, location = excluded.location,"
        " with_late_events = excluded.with_late_events, rows_equal = excluded.rows_equal, rows_new = excluded.rows_new,"
        " rows_changed = excluded.rows_changed, rows_gone = excluded.rows_gone,"
        " changed_by_column = excluded.changed_by_column, published_at = excluded.published_at",
        (
            run_id, day.dt, Jsonb(dict(day.positions)), day.with_late_events, counts.equal, counts.new, counts.changed,
            counts.gone, Jsonb(dict(counts.changed_by_column)), location,
        ),
    )  # fmt: skip


def newest_backfills(connection: psycopg.Connection) -> dict[str, Backfill]:
    """Of every day that was ever rebuilt the newest backfill, by dt."""
    rows = connection.execute(
        f"SELECT DISTINCT ON (dt) dt::text, positions, with_late_events, location FROM {Pg.BACKFILLS}"  # noqa: S608  a constant
        " ORDER BY dt, published_at DESC"
    ).fetchall()
    return {
        dt: Backfill({int(number): int(position) for number, position in positions.items()}, late, location)
        for dt, positions, late, location in rows
    }
