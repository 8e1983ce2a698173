"""OpenLineage events as files by day: the library's file transport, which rotates nothing by itself.

Chosen by its dotted path as `type` of Airflow's setting `[openlineage] transport`; imported when an event is emitted.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from openlineage.client.transport.file import FileConfig, FileTransport

from include.common.lineage.events import KEEP_DAYS

if TYPE_CHECKING:
    from openlineage.client.client import Event

_DAY = re.compile(r"-(\d{4}-\d{2}-\d{2})\.jsonl")


@dataclass
class DailyFileConfig(FileConfig):
    """`log_file_path` is the files' common beginning: `/data/lineage/events` gives
    `/data/lineage/events-2026-11-26.jsonl`. Files of more than `keep_days` days ago are removed."""

    keep_days: int = KEEP_DAYS

    @classmethod
    def from_dict(cls, params: dict[str, Any]) -> Self:
        """What the setting says; raises RuntimeError without log_file_path, ValueError for no number of days."""
        known = FileConfig.from_dict(params)
        keep_days = int(params.get("keep_days", KEEP_DAYS))
        if keep_days < 1:
            raise ValueError(f"keep_days is {keep_days}: at least today's file is kept, 1")
        return cls(log_file_path=known.log_file_path, append=True, keep_days=keep_days)


class DailyFileTransport(FileTransport):
    """One line an event, appended to the file of the day (UTC). Lines of processes that write at once do not mix:
    the library writes each with one call, at the end of a local file."""

    kind = "daily_file"
    config_class = DailyFileConfig

    def __init__(self, config: DailyFileConfig) -> None:
        super().__init__(config)
        self._beginning = Path(config.log_file_path)
        self._keep_days = config.keep_days
        self._day: date | None = None

    def emit(self, event: "Event") -> None:
        """Append the event; raises RuntimeError where the file cannot be written."""
        today = datetime.now(UTC).date()
        if today != self._day:
            self._turn_to(today)
        super().emit(event)

    def _turn_to(self, today: date) -> None:
        try:
            self._beginning.parent.mkdir(parents=True, exist_ok=True)
            remove_older(self._beginning, today - timedelta(days=self._keep_days - 1))
        except OSError as error:
            raise RuntimeError(f"{self._beginning.parent} cannot hold lineage events: {error}") from error
        self.config.log_file_path = str(day_file(self._beginning, today))
        self._day = today


def day_file(beginning: Path, day: date) -> Path:
    """The file of a day."""
    return beginning.with_name(f"{beginning.name}-{day:%Y-%m-%d}.jsonl")


def remove_older(beginning: Path, first_kept: date) -> list[Path]:
    """Delete the files of days before `first_kept`; what has another name stays."""
    removed = []
    for path in sorted(beginning.parent.glob(f"{beginning.name}-*.jsonl")):
        match = _DAY.fullmatch(path.name.removeprefix(beginning.name))
        if match is not None and date.fromisoformat(match[1]) < first_kept:
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed
