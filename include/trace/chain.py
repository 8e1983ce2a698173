"""What a trace finds, link by link: plain records, for text, page and JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any, Final

PERSONAL_COLUMNS: Final = frozenset({"user_id", "session_id", "event_id"})
"""Columns whose values identify a reader, or lead to one."""
HIDDEN: Final = "(personal)"

Row = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """Which personal ids may be shown: those that whoever asks has typed, or all (`every`)."""

    typed: frozenset[str]
    every: bool = False

    def row(self, row: Mapping[str, Any]) -> Row:
        """The row with ids of others replaced."""
        return {name: self.value(name, value) for name, value in row.items()}

    def value(self, column: str, value: Any) -> Any:
        """A value of `column`, or what stands for it."""
        hidden = column in PERSONAL_COLUMNS and value is not None and not self.every
        return HIDDEN if hidden and str(value) not in self.typed else value


@dataclass(frozen=True)
class Cut:
    """The model cut that a mart's row is of (ops.model_cuts)."""

    cut_id: int
    run_id: str
    generation: int
    ledger_position: int
    as_of: datetime
    status: str
    fixed_at: datetime
    published_at: datetime | None


@dataclass(frozen=True)
class Publication:
    """Where a Hive partition was pointed at, by which run, from which cut (ops.publications)."""

    hive_table: str
    partition: str
    run_id: str
    cut_id: int
    location: str
    row_count: int
    published_at: datetime


@dataclass(frozen=True)
class GateResult:
    """The newest verdict of one expectation in a run (quality.gate_results)."""

    gate: str
    run_id: str
    subject: str
    expectation: str
    column_name: str | None
    severity: str
    success: bool | None
    unexpected_count: int | None
    checked_at: datetime


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch of the ledger (ops.stream_batches); offsets by partition, start included, end not."""

    generation: int
    batch_id: int
    position: int
    start_offsets: dict[int, int]
    end_offsets: dict[int, int]
    landing_path: str | None
    landing_rows: int
    landing_sha256: str | None
    committed_at: datetime

    def holds(self, partition: int, offset: int) -> bool:
        """Did it read this record?"""
        return self.start_offsets.get(partition, 0) <= offset < self.end_offsets.get(partition, 0)


@dataclass(frozen=True)
class ArchiveSlice:
    """A slice of the archive (ops.archive_slices) and its gate's results."""

    slice_id: str
    run_id: str
    status: str
    start_offsets: dict[int, int]
    end_offsets: dict[int, int]
    finished_at: datetime | None

    def holds(self, partition: int, offset: int) -> bool:
        """Does it hold this record?"""
        return self.start_offsets.get(partition, 0) <= offset < self.end_offsets.get(partition, 0)


@dataclass(frozen=True)
class RawEvent:
    """A record of the topic. Times in epoch ms. `source`: the Hive table that holds it, or `kafka`."""

    topic: str
    partition: int
    offset: int
    kafka_ms: int
    source: str
    slice_id: str | None
    session_id: str | None = None
    user_id: str | None = None
    event_id: str | None = None
    episode_id: str | None = None
    event_type: str | None = None
    event_ms: int | None = None
    scroll_ratio: float | None = None
    country: str | None = None
    device: str | None = None
    platform: str | None = None
    ui_version: str | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class OffsetRange:
    """Records of one partition that made the value: how many, the first and the last."""

    partition: int
    first: int
    last: int
    events: int


@dataclass(frozen=True)
class Check:
    """A value recomputed from the link before it. `equal` None: not compared, `note` says why."""

    column: str
    served: Any
    recomputed: Any
    equal: bool | None
    source: str
    note: str = ""


@dataclass
class Chain:
    """All links. `readings` and `events` are those listed, `*_total` how many there are."""

    asked: str
    table: str
    column: str | None
    row: Row
    value: Any = None
    publication: Publication | None = None
    cut: Cut | None = None
    gates: list[GateResult] = field(default_factory=list)
    readings_total: int = 0
    readings_from: str = ""
    readings: list[Row] = field(default_factory=list)
    batches: list[MicroBatch] = field(default_factory=list)
    offsets: list[OffsetRange] = field(default_factory=list)
    slices: list[ArchiveSlice] = field(default_factory=list)
    slice_gates: list[GateResult] = field(default_factory=list)
    events_total: int = 0
    events: list[RawEvent] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def differs(self) -> list[Check]:
        """What was recomputed and is not what is served."""
        return [check for check in self.checks if check.equal is False]

    def as_json(self) -> dict[str, Any]:
        """Everything, in types that JSON has; instants in ISO 8601."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
