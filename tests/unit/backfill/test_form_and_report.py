"""What the form may ask for, what a person reads, and what goes from task to task."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from include.common.backfills import Counts, StagedDay, read_manifest, write_manifest
from include.orchestration.backfill.form import MOST_DAYS, PARAMS, FormError, Wish
from include.orchestration.backfill.rebuild import Rebuilt
from include.orchestration.backfill.report import as_markdown

STAGED = StagedDay(
    "2026-03-01", "/x/dt=2026-03-01", None, 2, {"1": 5, "2": 9}, False, 7,
    Counts(3, 1, 3, 2, {"dwell_time_ms": 2, "genre": 1}),
)  # fmt: skip
SAME = replace(STAGED, dt="2026-03-02", location="/y", counts=Counts(4, 0, 0, 0, {}))


def form(**changes: Any) -> dict[str, Any]:
    return {name: param.value for name, param in PARAMS.items()} | changes


def outcome(staged: StagedDay, **changes: Any) -> dict[str, Any]:
    made = asdict(Rebuilt(staged, 0, 0, 100, None)) | changes
    return dict(json.loads(json.dumps(made)))  # as XCom hands it on


def test_a_dry_run_without_late_events_is_the_default() -> None:
    wish = Wish.of(form(first_day="2026-02-27"))
    assert ([day.dt for day in wish.days], wish.apply_late_events, wish.dry_run) == (
        ["2026-02-27"],
        False,
        True,
    )
    wish = Wish.of(form(first_day="2026-02-27", last_day="2026-03-01", apply_late_events=True, dry_run=False))
    assert [day.dt for day in wish.days] == ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert (wish.apply_late_events, wish.dry_run) == (True, False)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "first_day is empty"),
        ({"last_day": "2026-03-01"}, "first_day is empty"),
        ({"first_day": "2026-03-02", "last_day": "2026-03-01"}, f"no range of 1 to {MOST_DAYS} days"),
        ({"first_day": "2026-01-01", "last_day": "2026-12-31"}, f"no range of 1 to {MOST_DAYS} days"),
        ({"first_day": "2026-02-30"}, "YYYY-MM-DD"),
    ],
)
def test_an_impossible_form_says_the_mend(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(FormError, match=said):
        Wish.of(form(**asked))


def test_every_field_explains_itself() -> None:
    assert all(param.schema["title"] and param.description for param in PARAMS.values())


def test_the_report_counts_by_day_and_says_what_follows() -> None:
    report = as_markdown([outcome(STAGED, unlisted_late=3), outcome(SAME)], dry_run=True)
    assert "**1 of 2 days differ**" in report
    assert "Dry run: nothing was changed" in report
    assert "| 2026-03-01 | 3 | 1 | 3 | 2 | `dwell_time_ms` 2, `genre` 1 | not wanted | 100 |" in report
    assert "- 2026-03-01: 3 events are late by the rules" in report
    broken = as_markdown([outcome(STAGED, unreadable="part-0.parquet")], dry_run=True)
    assert "- 2026-03-01: the partition's file part-0.parquet cannot be read" in broken
    revised = as_markdown([outcome(replace(STAGED, with_late_events=True), late_applied=4)], dry_run=False)
    assert "| 4 | 100 |" in revised
    assert "published once their gate passes" in revised
    assert "**No row differs** on 1 days." in as_markdown([outcome(SAME)], dry_run=False)


def test_what_is_to_be_published_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, [STAGED, SAME])
    assert read_manifest(tmp_path) == [STAGED, SAME]
