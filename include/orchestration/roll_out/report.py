"""A comparison as Markdown, for the log and for whoever is asked. No personal id stands in it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from include.orchestration.roll_out.comparison import Comparison, TableDifference
from include.orchestration.roll_out.generations import Entry, records_behind

SHOWN = 3
"""Samples of each kind and table; the others stand in ops.roll_out_comparisons."""
_WORDS = {
    "only_current": "only in current",
    "only_candidate": "only in the new one",
    "differing": "different",
}


def as_markdown(compared: Comparison) -> str:
    """The whole report."""
    before, candidate = compared.before, compared.candidate
    verdict = (
        f"**{compared.different} rows differ.**"
        if compared.different
        else "**No row differs** (of those that stand still)."
    )
    return "\n".join(
        [
            f"Generation {candidate.number} ({candidate.status}) against {before.number} (current). {verdict}",
            "",
            *_settings(before, candidate),
            *_positions(before, candidate),
            "",
            "| Table | equal | only in current | only in the new one | different | in motion |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *(_line(difference) for difference in compared.found),
            "",
            *(line for difference in compared.found for line in _details(difference)),
        ]
    )


def _settings(before: Entry, candidate: Entry) -> list[str]:
    old, new = before.plan.settings(), candidate.plan.settings()
    changed = [f"- `{name}`: {old[name]} -> {new[name]}" for name in old if old[name] != new[name]]
    point_ms = candidate.plan.publish_from_ms
    copied = (
        []
        if point_ms is None
        else [
            f"- readings of sessions that began before {_instant(point_ms)} are copied from its predecessor"
        ]
    )
    return [*(changed or ["- same rules and layout"]), *copied]


def _positions(before: Entry, candidate: Entry) -> list[str]:
    behind = records_behind(candidate, before, {})
    since = (
        f" since it was retired at {candidate.status_since:%Y-%m-%d %H:%M:%S %Z}"
        if candidate.status == "retired"
        else ""
    )
    return [f"- records that it has still to read to where the current one stands: {behind}{since}"]


def _line(it: TableDifference) -> str:
    counts = (it.rows_equal, it.only_current, it.only_candidate, it.differing, it.in_motion)
    return f"| `{it.table}` | {' | '.join(map(str, counts))} |"


def _details(it: TableDifference) -> Iterable[str]:
    if it.by_column:
        columns = ", ".join(f"`{name}` {count}" for name, count in it.by_column.items())
        yield f"- `{it.table}`, rows that differ by column: {columns}"
    shown: dict[str, int] = {}
    for sample in it.samples:
        kind = sample["kind"]
        shown[kind] = shown.get(kind, 0) + 1
        if shown[kind] <= SHOWN:
            yield f"    - {_WORDS[kind]}: {_sample(sample)}"


def _sample(sample: dict[str, Any]) -> str:
    old, new = sample["current"], sample["candidate"]
    row = old or new
    where = {name: row[name] for name in ("episode_id", "source_partition", "last_offset") if name in row}
    if sample["kind"] == "differing":
        seen = [
            f"{name} {old.get(name, '(personal)')} -> {new.get(name, '(personal)')}"
            for name in sample["differing"]
        ]
    else:
        names = ("status", "started_at", "ended_at", "event_count", "dwell_time_ms", "readings_closed")
        seen = [f"{name} {row[name]}" for name in names if name in row]
    return f"`{where}` {', '.join(seen)}"


def _instant(epoch_ms: int) -> str:
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
