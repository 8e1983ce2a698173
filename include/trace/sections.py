"""A chain as titled tables, which `show` writes as text or as a page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from include.trace.chain import Chain, Check, GateResult, MicroBatch, RawEvent

SHOWN = 50
"""Most lines of a table; the JSON has all."""


@dataclass(frozen=True)
class Section:
    """A title, lines of text, and a table."""

    title: str
    lines: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=list)


def sections(chain: Chain) -> list[Section]:
    """What there is to show, from the value back to its events."""
    found = [
        _value(chain),
        Section(
            "Recomputed", _verdict(chain.checks), ("column", "served", "recomputed", "", "from"),
            [_check(check) for check in chain.checks if check.equal is not None],
        ),
        _origin(chain),
        _gates("Gates of the cut's run", chain.gates),
        _readings(chain),
        _batches(chain.batches),
        Section(
            "Kafka offsets", (), ("partition", "first", "last", "events"),
            [(str(it.partition), str(it.first), str(it.last), str(it.events)) for it in chain.offsets],
        ),
        Section(
            "Archive slices", (), ("slice", "run", "status", "offsets"),
            [
                (it.slice_id, it.run_id, it.status, _ranges(it.start_offsets, it.end_offsets))
                for it in chain.slices
            ],
        ),
        _gates("Raw gate of the slices", chain.slice_gates),
        _events(chain.events),
        Section("Notes", chain.notes),
    ]  # fmt: skip
    return [section for section in found if section.lines or section.rows]


def _value(chain: Chain) -> Section:
    rows = [(name, _text(value)) for name, value in chain.row.items()]
    lines = [] if chain.column is None else [f"{chain.column} = {_text(chain.value)}"]
    return Section(chain.asked, [*lines, f"row of {chain.table}:"], ("column", "value"), rows)


def _verdict(checks: Sequence[Check]) -> list[str]:
    if not checks:
        return []
    differs = [check.column for check in checks if check.equal is False]
    equal = sum(check.equal is True for check in checks)
    said = f"{equal} columns equal what was recomputed"
    lines = [f"DIFFERENT: {', '.join(differs)}; {said}" if differs else f"{said}, none differs"]
    reasons: dict[str, list[str]] = {}
    for check in checks:
        if check.equal is None:
            reasons.setdefault(check.note, []).append(check.column)
    return [*lines, *(f"{note}: {', '.join(columns)}" for note, columns in reasons.items())]


def _check(check: Check) -> Sequence[str]:
    mark = "=" if check.equal else "DIFFERENT"
    source = f"{check.source} ({check.note})" if check.note else check.source
    return (check.column, _text(check.served), _text(check.recomputed), mark, source)


def _origin(chain: Chain) -> Section:
    lines = []
    if chain.publication is not None:
        it = chain.publication
        lines += [
            f"{it.hive_table}/{it.partition}: published {_text(it.published_at)} by run {it.run_id}, {it.row_count} rows",
            f"  folder {it.location}",
        ]
    if chain.cut is not None:
        cut = chain.cut
        lines += [
            (
                f"cut {cut.cut_id} ({cut.status}): readings up to ledger position {cut.ledger_position} of "
                f"generation {cut.generation}, as of {_text(cut.as_of)}"
            ),
            f"  fixed {_text(cut.fixed_at)}, published {_text(cut.published_at)}, by run {cut.run_id}",
        ]
    return Section("Cut and publication", lines)


def _gates(title: str, results: Sequence[GateResult]) -> Section:
    def row(group: tuple[str, str, str]) -> Sequence[str]:
        run_id, gate, subject = group
        mine = [it for it in results if (it.run_id, it.gate, it.subject) == group]
        failed = [f"{it.expectation} ({it.severity})" for it in mine if it.success is False]
        passed = sum(it.success is True for it in mine)
        return (
            run_id,
            gate,
            subject,
            f"{passed} of {len(mine)}",
            ", ".join(failed) or "none",
            ", ".join(it.expectation for it in mine if it.success is None) or "none",
        )

    groups = Counter((it.run_id, it.gate, it.subject) for it in results)
    return Section(
        title,
        (),
        ("run", "gate", "subject", "passed", "failed", "without a verdict"),
        [row(group) for group in groups],
    )


def _readings(chain: Chain) -> Section:
    names = (
        "session_id", "session_start_ms", "episode_id", "status", "completion_rate", "dwell_time_ms", "source_partition",
        "last_offset", "generation", "ledger_position",
    )  # fmt: skip
    lines = [f"{chain.readings_total} in {chain.readings_from}"] if chain.readings_from else []
    rows = [[_text(reading.get(name)) for name in names] for reading in chain.readings[:SHOWN]]
    return Section("Readings", lines, names, rows)


def _batches(batches: Sequence[MicroBatch]) -> Section:
    rows = [
        (
            str(it.generation), str(it.batch_id), str(it.position), _text(it.committed_at),
            _ranges(it.start_offsets, it.end_offsets), it.landing_path or "-", (it.landing_sha256 or "-")[:12],
        )
        for it in batches[:SHOWN]
    ]  # fmt: skip
    header = ("generation", "batch", "position", "committed", "offsets", "landing file", "sha256")
    return Section("Micro-batches", _more(len(batches)), header, rows)


def _events(events: Sequence[RawEvent]) -> Section:
    rows = [
        (
            f"{it.topic}[{it.partition}]", str(it.offset), _instant(it.kafka_ms), _instant(it.event_ms),
            it.event_type or f"{it.reason}: {it.detail}", it.episode_id or "-", _text(it.scroll_ratio), it.source,
            it.slice_id or "-",
        )
        for it in events[:SHOWN]
    ]  # fmt: skip
    header = ("topic", "offset", "Kafka time", "event time", "event", "episode", "scroll", "held by", "slice")
    return Section("Raw events", _more(len(events)), header, rows)


def _more(count: int) -> list[str]:
    return [f"{SHOWN} of {count} are shown"] if count > SHOWN else []


def _ranges(start: dict[int, int], end: dict[int, int]) -> str:
    moved: Iterable[int] = (number for number in sorted(end) if end[number] > start.get(number, 0))
    return " ".join(f"[{number}] {start.get(number, 0)}-{end[number] - 1}" for number in moved) or "-"


def _instant(epoch_ms: int | None) -> str:
    if epoch_ms is None:
        return "-"
    at = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03d}Z"


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value.isoformat() if isinstance(value, datetime) else str(value)
