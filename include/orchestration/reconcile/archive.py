"""The archived events as files: what the partitions of raw_events, quarantined_events and dead_letters point at."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from include.common.hive.files import data_files
from include.common.hive.metastore import Metastore
from include.common.hive.schema import PartitionValues
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS
from include.orchestration.reconcile.model import DAY_MS, Day

HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Folder:
    """One partition: events that happened in [from_ms, to_ms)."""

    from_ms: int
    to_ms: int
    path: Path


@dataclass(frozen=True)
class Archive:
    """Every partition of both tables, as the metastore shows them at one moment."""

    folders: tuple[Folder, ...]
    letters: tuple[str, ...] = ()
    """Files of dead letters: where records of erased readers were."""

    @property
    def first_ms(self) -> int:
        """No event is older; 0 where there is none."""
        return min((folder.from_ms for folder in self.folders), default=0)

    @property
    def end_ms(self) -> int:
        """Every event is older; 0 where there is none."""
        return max((folder.to_ms for folder in self.folders), default=0)

    def files(self, from_ms: int, to_ms: int) -> list[str]:
        """Files of the partitions that may hold events of [from_ms, to_ms)."""
        near = (folder for folder in self.folders if folder.from_ms < to_ms and folder.to_ms > from_ms)
        return [str(file) for folder in near for file in data_files(folder.path)]

    def all_files(self) -> list[str]:
        """All of them."""
        return self.files(self.first_ms, self.end_ms)

    def days(self) -> set[Day]:
        """Days with a partition."""
        return {Day.of_ms(folder.from_ms) for folder in self.folders}


def read_archive(metastore: Metastore) -> Archive:
    """Ask the metastore where the partitions are."""
    found = [
        folder
        for table in (RAW_EVENTS, QUARANTINED_EVENTS)
        for folder in _folders(metastore.all_locations(table).items())
    ]
    letters = metastore.all_locations(DEAD_LETTERS).values()
    return Archive(tuple(found), tuple(str(file) for folder in letters for file in data_files(folder)))


def _folders(partitions: Iterable[tuple[PartitionValues, Path]]) -> Iterable[Folder]:
    for (dt, *hour), path in partitions:
        from_ms = Day(date.fromisoformat(dt)).from_ms
        if hour:
            from_ms += int(hour[0]) * HOUR_MS
        yield Folder(from_ms, from_ms + (HOUR_MS if hour else DAY_MS), path)
