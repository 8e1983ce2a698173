"""The outcome of a run by day, as Markdown for the log and XCom. No personal id stands in it."""

from collections.abc import Mapping, Sequence
from typing import Any

from include.common.backfills import StagedDay, staged_day


def as_markdown(outcomes: Sequence[Mapping[str, Any]], *, dry_run: bool) -> str:
    """The whole report. `outcomes`: what each rebuild_day returned."""
    days = [staged_day(it["staged"]) for it in outcomes]
    different = [day for day in days if day.counts.different]
    verdict = (
        f"**{len(different)} of {len(days)} days differ** from what is rebuilt."
        if different
        else f"**No row differs** on {len(days)} days."
    )
    if different:
        verdict += (
            " Dry run: nothing was changed." if dry_run else " They are published once their gate passes."
        )
    return "\n".join(
        [
            verdict,
            "",
            "| Day | equal | new | changed | gone | changed columns | late events applied | events read |",
            "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: |",
            *(_line(day, it) for day, it in zip(days, outcomes, strict=True)),
            *_notes(outcomes),
        ]
    )


def _line(day: StagedDay, outcome: Mapping[str, Any]) -> str:
    it = day.counts
    # XCom does not keep the order
    by_count = sorted(it.changed_by_column.items(), key=lambda column: (-column[1], column[0]))
    columns = ", ".join(f"`{name}` {count}" for name, count in by_count) or "-"
    late = outcome["late_applied"] if day.with_late_events else "not wanted"
    return f"| {day.dt} | {it.equal} | {it.new} | {it.changed} | {it.gone} | {columns} | {late} | {outcome['events']} |"


def _notes(outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    notes = []
    for it in outcomes:
        dt = it["staged"]["dt"]
        if it["unreadable"]:
            notes.append(
                f"- {dt}: the partition's file {it['unreadable']} cannot be read, so all rows count as new"
            )
        if it["unlisted_late"]:
            notes.append(
                f"- {dt}: {it['unlisted_late']} events are late by the rules and not in quality.late_events: left out, as "
                f"the contract says"
            )
    return notes
