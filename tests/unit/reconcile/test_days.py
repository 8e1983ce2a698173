"""Which days can be checked, how far the recomputation reads, and that it agrees with the stream's engine."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.erasure.erasures import ErasedReaders, digest_of
from include.common.erasure.records import ERASED
from include.common.hive.tables import DEAD_LETTERS
from include.contract.rules import SessionRules
from include.orchestration.reconcile.archive import Archive
from include.orchestration.reconcile.day import judge
from include.orchestration.reconcile.duck import one
from include.orchestration.reconcile.model import ALWAYS_MS, NEVER_MS, Day, Gap, Outcome, Span, Verdict
from tests.integration.stream_support import busy_topic
from tests.reconcile_case import GENERATION, Case, at, ends, hive_row, rules_of, stream
from tests.vectors import VectorRecord

MINUTE_MS = 60_000


def event(
    session: str, when: str | int, kind: str = "enter", number: int = 0, **changes: Any
) -> dict[str, Any]:
    at_ms = at(when) if isinstance(when, str) else when
    return {
        "event_id": f"{session}-{at_ms}-{number}", "user_id": f"u-{session}", "session_id": session, "episode_id": "e1",
        "event_type": kind, "country": "KR", "device": "phone", "platform": "ios", "timestamp": at_ms, **changes,
    }  # fmt: skip


def topic(*events: dict[str, Any]) -> list[VectorRecord]:
    """One partition; each arrives when it happens, or at the newest time so far."""
    newest_ms, records = 0, []
    for offset, it in enumerate(events):
        newest_ms = max(newest_ms, it["timestamp"])
        records.append(VectorRecord(0, offset, newest_ms, it["session_id"].encode(), json.dumps(it).encode()))
    return records


def case(root: Path, *events: dict[str, Any], **settings: Any) -> Case:
    """A topic whose partition is one bucket."""
    return Case(root, topic(*events), buckets=1, **settings)


def verdicts(outcomes: dict[str, Outcome]) -> dict[str, tuple[str, str | None]]:
    return {dt: (it.verdict.value, it.reason and it.reason.split(":")[0]) for dt, it in outcomes.items()}


CLOSING = event("closing", "2026-03-09 00:00:00")
"""Makes all that is older final."""


def test_a_session_over_midnight_is_compared_on_the_days_its_readings_began(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = case(
        tmp_path,
        event("s", "2026-03-01 23:50:00"),
        event("s", "2026-03-02 00:05:00", "scroll", scroll_ratio=0.5),
        event("s", "2026-03-02 00:07:00", episode_id="e2"),
        event("s", "2026-03-02 00:10:00", "exit", episode_id="e2"),
        CLOSING,
    )
    outcomes = tried.judge(connection, "2026-03-01", "2026-03-02")
    assert verdicts(outcomes) == {"2026-03-01": ("equal", None), "2026-03-02": ("equal", None)}
    assert [it.comparison.rows_equal for it in outcomes.values() if it.comparison] == [1, 1]
    starts = {row["session_start_ms"] for row in tried.hive}
    assert at("2026-03-01 23:50:00") in starts, (
        "the second day's reading has the session's start on the first"
    )
    assert len([row for row in tried.hive if row["session_id"] == "s"]) == 2


def test_it_reads_back_to_where_a_chain_of_sessions_begins(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """A reader without a pause: where the 24 h cuts fall on day 6 is decided on day 1."""
    first_ms = at("2026-03-01 01:00:00")
    steps = [event("bot", first_ms + n * 29 * MINUTE_MS, "scroll", scroll_ratio=0.1) for n in range(5 * 50)]
    tried = case(tmp_path, *steps, CLOSING)
    outcomes = tried.judge(connection)
    begun = {Day.of_ms(row["started_at"] // 1000).dt for row in tried.hive}
    assert {it for dt, it in verdicts(outcomes).items() if dt in begun} == {("equal", None)}
    assert len(begun) >= 5
    cuts = sorted(row["session_start_ms"] for row in tried.hive)
    assert len(cuts) >= 5
    assert cuts[-1] - cuts[-2] > 24 * 60 * MINUTE_MS


def test_it_finds_the_repeat_of_an_event_days_before(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """A quiet bucket keeps its sessions: an id used again days later is a repeat, and counts nowhere."""
    quiet = event("s", "2026-03-01 10:00:00")
    tried = case(
        tmp_path,
        quiet,
        {**quiet, "timestamp": at("2026-03-05 10:00:00"), "event_type": "exit"},
        event("t", "2026-03-05 10:00:30"),
        CLOSING,
    )
    outcomes = tried.judge(connection, "2026-03-01", "2026-03-05")
    assert verdicts(outcomes) == {"2026-03-01": ("equal", None), "2026-03-05": ("equal", None)}
    assert {row["session_id"] for row in tried.hive} == {"s", "t"}
    assert len(tried.hive) == 2


def test_what_closes_a_day_may_lie_days_after_it(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = case(tmp_path, event("s", "2026-03-01 10:00:00"), CLOSING)
    assert verdicts(tried.judge(connection, "2026-03-01")) == {"2026-03-01": ("equal", None)}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 10))])
def test_engine_and_sql_agree_on_busy_topics(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, seed: int
) -> None:
    """Disorder, re-keying, repeats, ids used again, late and bad events; a day and a half of event time."""
    records = busy_topic(seed + 1, 3_000, 2)
    # days are closed by an event in each bucket, long after
    closing = [
        VectorRecord(p, ends(records)[p] + n, at("2026-02-01"), f"c{p}-{n}".encode(),
                     json.dumps(event(f"c{p}-{n}", "2026-02-01")).encode())
        for p in range(2) for n in range(60)
    ]  # fmt: skip
    tried = Case(tmp_path, records + closing, quarantined=tuple(range(0, 3_000, 7)))
    outcomes = tried.judge(connection, "2026-01-01", "2026-01-02")
    for outcome in outcomes.values():
        assert outcome.verdict is Verdict.EQUAL, (outcome.reason, outcome.comparison)
    compared = [outcome.comparison for outcome in outcomes.values() if outcome.comparison is not None]
    assert sum(it.rows_equal for it in compared) > 150
    assert sum(it.late_checked for it in compared) > 20
    assert min(it.rows_equal for it in compared) > 5
    tried.most_rows = 1_000  # then a Kafka partition at a time
    again = tried.judge(connection, "2026-01-01", "2026-01-02").values()
    assert [(it.verdict, it.comparison) for it in again] == [
        (it.verdict, it.comparison) for it in outcomes.values()
    ]
    assert one(connection, "SELECT count(*) FROM offsets") == (1,)


def test_an_event_that_is_archived_twice_counts_once(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """As for the moment in which a quarantined slice is released."""
    first = event("s", "2026-03-01 10:00:00")
    tried = case(tmp_path, first, event("s", "2026-03-01 10:01:00", "exit"), first, CLOSING)
    tried.archive = Archive(tried.archive.folders * 2)
    assert verdicts(tried.judge(connection, "2026-03-01")) == {"2026-03-01": ("equal", None)}


def _late_by_another_reader(root: Path, **settings: Any) -> Case:
    """A reader whose event made another's late."""
    return case(
        root,
        event("s", "2026-03-01 10:00:00"),
        event("gone", "2026-03-01 10:10:00"),
        event("s", "2026-03-01 10:05:00"),
        CLOSING,
        **settings,
    )


def test_a_clock_that_an_erased_reader_set_is_not_missed(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = _late_by_another_reader(tmp_path, missing=frozenset({(0, 1)}))
    assert [late.offset for late in tried.late] == [2]
    tried.hive = [row for row in tried.hive if row["user_id"] != "u-gone"]
    (outcome,) = tried.judge(connection, "2026-03-01").values()
    assert outcome.comparison is not None
    assert outcome.comparison.late_faults == {"clock_not_reached": 1}, "what a lost record looks like"
    letter = dict.fromkeys(DEAD_LETTERS.column_names()) | {
        "topic": tried.topic, "kafka_partition": 0, "kafka_offset": 1, "reason": ERASED,
        "kafka_timestamp": tried.records[1].kafka_ms * 1000,
    }  # fmt: skip
    file = tmp_path / "letters.parquet"
    pq.write_table(pa.Table.from_pylist([letter], schema=DEAD_LETTERS.arrow_schema()), file)
    tried.archive = replace(tried.archive, letters=(str(file),))
    assert verdicts(tried.judge(connection, "2026-03-01")) == {"2026-03-01": ("equal", None)}
    # the erased record was too early to have set that clock
    early = letter | {"kafka_timestamp": (tried.records[1].kafka_ms - 3_600_000) * 1000}
    pq.write_table(pa.Table.from_pylist([early], schema=DEAD_LETTERS.arrow_schema()), file)
    assert verdicts(tried.judge(connection, "2026-03-01")) == {"2026-03-01": ("different", None)}


def test_a_reader_who_is_gone_from_some_stores_is_not_compared(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = _late_by_another_reader(tmp_path)
    tried.hive = [row for row in tried.hive if row["user_id"] != "u-gone"]
    day, inputs = Day.of_ms(at("2026-03-01")), tried.inputs()
    assert judge(connection, inputs, day).verdict is Verdict.DIFFERENT
    key = b"k" * 32
    inputs = replace(inputs, erased=ErasedReaders([digest_of("u-gone", key)], key))
    outcome = judge(connection, inputs, day)
    assert outcome.verdict is Verdict.EQUAL
    assert outcome.comparison is not None
    assert (outcome.comparison.rows_equal, outcome.comparison.late_checked) == (1, 1)


def test_late_events_of_an_erased_reader_are_no_fault_while_they_are_still_archived(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """The stream has taken his rows from its list of late events; the archive still has the events."""
    tried = _late_by_another_reader(tmp_path)
    assert [late.user_id for late in tried.late] == ["u-s"]
    tried.late.clear()
    tried.hive = [row for row in tried.hive if row["user_id"] != "u-s"]
    day, inputs = Day.of_ms(at("2026-03-01")), tried.inputs()
    outcome = judge(connection, inputs, day)
    assert outcome.comparison is not None
    assert outcome.comparison.late_faults == {"applied_though_late": 1}
    key = b"k" * 32
    inputs = replace(inputs, erased=ErasedReaders([digest_of("u-s", key)], key))
    assert judge(connection, inputs, day).verdict is Verdict.EQUAL


def test_ids_used_again_after_their_session_are_settled(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Small rules and few ids: nearly every decision on a repeat rests on others before it."""
    rng = random.Random(5)
    clock_ms, events = at("2026-03-01 12:00:00"), []
    for number in range(900):
        clock_ms += rng.choice([0, 1, 2, 5, 8, 40])
        events.append(
            event(f"s{rng.randrange(6)}", max(0, clock_ms - rng.choice([0, 0, 3, 10, 25])), "scroll",
                  scroll_ratio=rng.random(), event_id=f"i{rng.randrange(40)}", episode_id=f"e{number % 3}")
        )  # fmt: skip
    rules = SessionRules(gap_ms=30, max_length_ms=100, lateness_ms=20, dwell_cap_ms=10)
    tried = case(tmp_path, *events, CLOSING, rules=rules)
    (outcome,) = tried.judge(connection, "2026-03-01").values()
    assert outcome.verdict is Verdict.EQUAL, (outcome.reason, outcome.comparison)
    (again,) = connection.execute("SELECT count(*) FROM decided WHERE NOT is_in_state").fetchall()
    assert again[0] > 50, "too few ids used again to have tested anything"


def test_a_day_that_is_not_closed_says_why(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    day = "2026-03-08"
    visit = event("s", "2026-03-08 10:00:00")
    still_on = case(tmp_path / "a", visit, event("t", "2026-03-08 12:00:00"))
    assert verdicts(still_on.judge(connection, day)) == {day: ("not_checked", "day_not_over")}
    # two buckets: one has come far, the other has not
    open_one = Case(
        tmp_path / "b", topic(visit, *(event(f"c{n}", "2026-03-09 09:00:00") for n in range(8))), buckets=64
    )
    assert verdicts(open_one.judge(connection, day)) == {day: ("not_checked", "sessions_open")}
    ahead = case(tmp_path / "c", visit, CLOSING)
    ahead.hive = [{**row, "ledger_position": 8} for row in ahead.hive]
    assert verdicts(ahead.judge(connection, day)) == {day: ("not_checked", "publication_in_flight")}
    swapped = case(tmp_path / "d", visit, CLOSING, next_generation=2)
    assert verdicts(swapped.judge(connection, day)) == {day: ("not_checked", "publication_in_flight")}
    gone = case(tmp_path / "e", visit, CLOSING, is_whole=False)
    assert verdicts(gone.judge(connection, day)) == {day: ("not_checked", "raw_events_expired")}
    nothing = case(tmp_path / "f", event("s", "2026-03-01 10:00:00"), CLOSING)
    assert verdicts(nothing.judge(connection, "2026-03-05")) == {
        "2026-03-05": ("not_checked", "nothing_to_compare")
    }


def test_a_straggler_of_long_ago_does_not_make_dropped_days_look_kept(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Events before the 3rd went with their partitions, but one of 1970, which was archived lately. A reader without a
    pause goes on from there: where his sessions are cut is not known any more."""
    first_ms = at("2026-03-02 12:00:00")
    steps = [event("bot", first_ms + n * 29 * MINUTE_MS, "scroll", scroll_ratio=0.1) for n in range(4 * 50)]
    events = (
        event("old", "1970-01-01 00:00:05"),
        event("s", "2026-03-01 10:00:00"),
        *steps,
        event("t", "2026-03-07 10:00:00"),
        CLOSING,
    )
    kept_from_ms = at("2026-03-03 00:00:00")
    dropped = {(0, n) for n, it in enumerate(events) if n and it["timestamp"] < kept_from_ms}
    tried = case(tmp_path, *events, missing=frozenset(dropped), is_whole=False, kept_from_ms=kept_from_ms)
    expired = ("not_checked", "raw_events_expired")
    days = ("1970-01-01", "2026-03-01", "2026-03-03", "2026-03-05", "2026-03-07")
    assert verdicts(tried.judge(connection, *days)) == dict.fromkeys(days[:4], expired) | {
        "2026-03-07": ("equal", None)
    }


def test_offsets_that_are_not_archived_leave_out_the_days_they_may_belong_to(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Offset 2 is missing. It came when the bucket stood at 10:00 on the 3rd: it can be of no day before."""
    events = (
        event("s", "2026-03-01 10:00:00"),
        event("t", "2026-03-03 10:00:00"),
        event("t", "2026-03-03 10:01:00", "exit"),
        event("v", "2026-03-06 10:00:00"),
        CLOSING,
    )
    settings: dict[str, Any] = {
        "gaps": (Gap(0, 2, 3, at("2026-03-03 10:01:00")),), "missing": frozenset({(0, 2)}),
    }  # fmt: skip
    tried = case(tmp_path, *events, **settings)
    days = ("2026-03-01", "2026-03-03", "2026-03-04", "2026-03-06")
    assert verdicts(tried.judge(connection, *days)) == {
        "2026-03-01": ("equal", None),
        "2026-03-03": ("not_checked", "not_archived"),
        "2026-03-04": ("not_checked", "not_archived"),
        "2026-03-06": ("equal", None),
    }


def test_a_late_event_that_is_not_archived_yet_is_no_fault(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Offsets 3 and on are the tail that the archive has not come to: a late event of a day long closed among them."""
    events = (
        event("s", "2026-03-01 10:00:00"),
        event("t", "2026-03-03 10:00:00"),
        event("u", "2026-03-01 10:05:00"),
        event("v", "2026-03-01 10:06:00"),
        CLOSING,
    )
    tail = (Gap(0, 3, 5, at("2026-03-09")),)
    tried = case(tmp_path, *events, gaps=tail, missing=frozenset({(0, 3), (0, 4)}))
    assert [it.offset for it in tried.late] == [2, 3]
    (outcome,) = tried.judge(connection, "2026-03-01").values()
    assert outcome.verdict is Verdict.EQUAL, (outcome.reason, outcome.comparison)
    assert outcome.comparison is not None
    assert outcome.comparison.late_checked == 1


def test_sessions_are_of_the_generation_that_publishes_them(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """A second generation with a gap of 10 min publishes from noon on; what was open at its predecessor's end stays out."""
    noon_ms = at("2026-03-01 12:00:00")
    events = [
        event("s", "2026-03-01 10:00:00"), event("s", "2026-03-01 10:20:00", "exit"),
        event("t", "2026-03-01 13:00:00"), event("t", "2026-03-01 13:20:00", "exit"), CLOSING,
    ]  # fmt: skip
    tried = case(tmp_path, *events)
    old, new = SessionRules(), SessionRules(gap_ms=10 * MINUTE_MS)
    rows = [hive_row(row) for row in stream(tried.records, old, 1).final if row.session_start_ms < noon_ms]
    rows += [
        hive_row(row, generation=2)
        for row in stream(tried.records, new, 1).final
        if row.session_start_ms >= noon_ms
    ]
    assert len(rows) == 3
    tried.hive = rows
    start, end = {0: 0}, ends(tried.records)
    tried.spans = (
        Span(2, rules_of(new, 1), noon_ms, NEVER_MS, start, end, True),
        Span(GENERATION, rules_of(old, 1), ALWAYS_MS, noon_ms, start, end, False),
    )
    tried.generation = 2
    assert verdicts(tried.judge(connection, "2026-03-01")) == {"2026-03-01": ("equal", None)}
    # as if the old generation had published the afternoon as well
    tried.hive = [{**row, "generation": GENERATION} for row in rows]
    (outcome,) = tried.judge(connection, "2026-03-01").values()
    assert outcome.comparison is not None
    assert dict(outcome.comparison.by_column) == {"generation": 2}
    # the old one was retired before its session was final: it never published it, and nobody waits for it
    tried.spans = (
        tried.spans[0],
        Span(GENERATION, rules_of(old, 1), ALWAYS_MS, noon_ms, start, {0: 3}, False),
    )
    tried.hive = rows[1:]
    assert [row["generation"] for row in tried.hive] == [2, 2]
    assert Day.of_ms(noon_ms).dt == "2026-03-01"
