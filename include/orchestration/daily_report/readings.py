"""Readings and events of a day, from the files that the Hive partitions point at: what every reader of Hive sees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from include.common.hive.files import data_files
from include.common.hive.metastore import Metastore
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS, SESSION_FEATURES
from include.orchestration.daily_report.day import Cut, Day, Group

_READINGS, _READERS = (
    (Path(__file__).parent / f"{name}.sql").read_text() for name in ("readings", "readers")
)
_REASONS = "SELECT reason, count(*) FROM read_parquet($1) GROUP BY reason ORDER BY count(*) DESC, reason"
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2, "memory_limit": "1GB", "autoinstall_known_extensions": False, "autoload_known_extensions": False
}  # fmt: skip


@dataclass(frozen=True)
class Files:
    """Parquet files of a day; `events` by hour (UTC), without hours that have no partition."""

    readings: Sequence[Path] = ()
    events: Mapping[int, Sequence[Path]] = field(default_factory=dict)
    dead_letters: Sequence[Path] = ()
    quarantined: Sequence[Path] = ()


def files_of(metastore: Metastore, dt: date) -> Files:
    """What the partitions of day `dt` point at now."""
    day = dt.isoformat()
    hours = metastore.locations(RAW_EVENTS, [(day, str(hour)) for hour in range(24)])
    readings, letters, quarantined = (
        [path for folder in metastore.locations(table, [(day,)]).values() for path in data_files(folder)]
        for table in (SESSION_FEATURES, DEAD_LETTERS, QUARANTINED_EVENTS)
    )
    events = {int(values[1]): data_files(folder) for values, folder in hours.items()}
    return Files(readings, events, letters, quarantined)


def read_day(dt: date, files: Files, cut: Cut | None) -> Day:
    """The day's figures. Raises duckdb.Error for a file that is gone or broken."""
    groups: dict[str, dict[str, Group]] = {"total": {}, "country": {}, "genre": {}, "episode": {}}
    for kind, name, count, completion_rate, exit_rate in _query(_READINGS, files.readings):
        if count:
            groups[kind][name] = Group(count, completion_rate, exit_rate)
    readers, sessions = next(iter(_query(_READERS, files.readings)), (0, 0))
    return Day(
        dt,
        cut,
        **({"total": groups["total"][""]} if groups["total"] else {}),
        readers=readers,
        sessions=sessions,
        by_country=groups["country"],
        by_genre=groups["genre"],
        by_episode=groups["episode"],
        events_by_hour=[_rows(files.events[hour]) if hour in files.events else None for hour in range(24)],
        dead_letters=dict(_query(_REASONS, files.dead_letters)),
        quarantined_events=_rows(files.quarantined),
    )


def _query(statement: str, files: Sequence[Path]) -> list[tuple[Any, ...]]:
    """Rows of a statement whose only parameter are the files; none without files."""
    import duckdb

    if not files:
        return []
    with duckdb.connect(config=_SETTINGS) as connection:
        return connection.execute(statement, [[str(path) for path in files]]).fetchall()


def _rows(files: Sequence[Path]) -> int:
    """Rows of Parquet files, by their footers."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(path).num_rows for path in files)
