"""What a person is shown before the answer."""

from dataclasses import replace
from datetime import UTC, datetime

from include.contract.rules import SessionRules
from include.orchestration.roll_out.comparison import Comparison, TableDifference
from include.orchestration.roll_out.generations import Entry, records_behind
from include.orchestration.roll_out.report import as_markdown
from include.spark_jobs.stream_sessionize.generations import Plan

SINCE = datetime(2026, 11, 26, 4, tzinfo=UTC)
BEFORE = Entry(1, "current", "generation=1", Plan(), None, SINCE, {"0": 100, "1": 50}, -1)
SHADOW = replace(
    BEFORE,
    number=2,
    status="shadow",
    plan=Plan(rules=SessionRules(gap_ms=60_000)),
    reached={"0": 70, "1": 60},
)
EQUAL = TableDifference("episode_features", 9, 0, 0, 0, 0, {}, [])
OLD = {"episode_id": "ep1", "source_partition": 0, "last_offset": 7, "dwell_time_ms": 5, "event_count": 2}
DIFFERENT = TableDifference(
    "session_features", 100, 1, 0, 4, 2, {"dwell_time_ms": 4, "user_id": 1},
    [
        {"kind": "differing", "differing": ["dwell_time_ms", "user_id"], "current": OLD, "candidate": {**OLD, "dwell_time_ms": 6}},
        {"kind": "only_current", "differing": [], "current": OLD, "candidate": None},
    ],
)  # fmt: skip


def test_counts_columns_and_samples_stand_in_it() -> None:
    text = as_markdown(Comparison(BEFORE, SHADOW, [DIFFERENT, EQUAL]))
    for line in (
        "Generation 2 (shadow) against 1 (current). **5 rows differ.**",
        "- `gap_ms`: 1800000 -> 60000",
        "- records that it has still to read to where the current one stands: 30",
        "| `session_features` | 100 | 1 | 0 | 4 | 2 |",
        "| `episode_features` | 9 | 0 | 0 | 0 | 0 |",
        "- `session_features`, rows that differ by column: `dwell_time_ms` 4, `user_id` 1",
    ):
        assert line in text.splitlines()
    assert "dwell_time_ms 5 -> 6, user_id (personal) -> (personal)" in text
    assert "only in current: `{'episode_id': 'ep1', 'source_partition': 0, 'last_offset': 7}`" in text


def test_an_equal_one_says_so_and_what_was_copied() -> None:
    candidate = replace(SHADOW, plan=Plan(publish_from_ms=1_795_478_400_000))
    text = as_markdown(Comparison(BEFORE, candidate, [EQUAL]))
    assert "**No row differs**" in text
    assert "- same rules and layout" in text
    assert "began before 2026-11-24 00:00:00 UTC are copied from its predecessor" in text


def test_a_retired_one_says_since_when() -> None:
    text = as_markdown(Comparison(BEFORE, replace(SHADOW, status="retired"), [EQUAL]))
    assert "30 since it was retired at 2026-11-26 04:00:00 UTC" in text


def test_records_behind_count_partitions_apart_and_end_where_the_topic_does() -> None:
    assert records_behind(SHADOW, BEFORE, {}) == 30
    assert records_behind(SHADOW, BEFORE, {"0": 80, "1": 1000}) == 10
    assert records_behind(SHADOW, BEFORE, {"0": 70}) == 0
    assert records_behind(replace(SHADOW, reached={}), BEFORE, {}) == 150
