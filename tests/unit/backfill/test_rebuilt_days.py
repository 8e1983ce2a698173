"""Days rebuilt by the engine: what is counted against the partition, what is refused, and late-corrected revisions."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from include.common.backfills import Backfill, Counts
from include.common.erasure.erasures import ErasedReaders, digest_of
from include.contract.rules import SessionRules
from include.orchestration.backfill.plan import plan_day
from include.orchestration.backfill.rebuild import Job, rebuild, without_unreadable
from include.orchestration.backfill.revision import RevisionError
from include.orchestration.reconcile.day import REVISED, judge
from include.orchestration.reconcile.model import ALWAYS_MS, NEVER_MS, Span, Verdict
from tests.backfill_case import day_of, rebuild_day, rows_of
from tests.integration.stream_support import busy_topic
from tests.reconcile_case import (
    FIRST_US,
    GENERATION,
    LAST_US,
    POSITION,
    Case,
    at,
    ends,
    hive_row,
    rules_of,
    stream,
)
from tests.unit.reconcile.test_days import CLOSING, MINUTE_MS, event, topic
from tests.vectors import VectorRecord

DAY, NEXT = "2026-03-01", "2026-03-02"
KEY = b"k" * 32
SEEN = (
    event("s", "2026-03-01 10:00:00", ui_version="8"),
    event("s", "2026-03-01 10:01:00", "scroll", scroll_ratio=0.5),
    event("t", "2026-03-01 10:10:00"),
    event("v", "2026-03-01 10:11:00", episode_id="e2"),
)


def case(root: Path, *events: dict[str, Any], **more: Any) -> Case:
    made = Case(root, topic(*events, CLOSING), buckets=1, **more)
    made.hive = [hive_row(row) for row in made.streamed.final]
    return made


def counts(connection: duckdb.DuckDBPyConnection, tried: Case, late: bool = False) -> Counts:
    return rebuild_day(connection, tried.inputs(), tried.root / "staging", DAY, late=late).staged.counts


def comparable(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "experiments": dict(row["experiments"])}


def by_key(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {
        (row["session_id"], row["session_start_ms"], row["episode_id"]): comparable(row)
        | {"ledger_position": 0}
        for row in rows
    }


def test_what_differs_is_counted_by_kind_and_column(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = case(tmp_path, *SEEN)
    assert counts(connection, tried) == Counts(3, 0, 0, 0, {})
    s, t, v = sorted(tried.hive, key=lambda row: str(row["session_id"]))
    other = {**v, "session_id": "other"}
    tried.hive = [
        {**s, "dwell_time_ms": 1, "experiments": [("cta", "b")]},
        v,
        {**v, "ledger_position": 0},
        other,
    ]
    assert counts(connection, tried) == Counts(1, 1, 1, 2, {"dwell_time_ms": 1, "experiments": 1})
    rebuilt = rebuild_day(connection, tried.inputs(), tmp_path / "staging", DAY)
    assert rebuilt.staged.rows == 3
    assert by_key(rows_of(rebuilt)) == by_key([s, t, v])
    # the micro-batch that closed a reading is kept; of a row that was missing, up to where all is settled is known
    positions = {row["session_id"]: row["ledger_position"] for row in rows_of(rebuilt)}
    assert positions == {"s": 1, "t": POSITION, "v": 1}


def test_a_day_without_a_partition_is_all_new_and_leftovers_are_replaced(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = case(tmp_path, *SEEN)
    tried.hive = []
    for name in (f"dt={DAY}", f".dt={DAY}.tmp"):
        (tmp_path / "staging" / name).mkdir(parents=True)
        (tmp_path / "staging" / name / "part-00009.parquet").write_bytes(b"half")
    assert counts(connection, tried) == Counts(0, 3, 0, 0, {})
    assert [it.name for it in (tmp_path / "staging").iterdir()] == [f"dt={DAY}"]
    assert [it.name for it in (tmp_path / "staging" / f"dt={DAY}").iterdir()] == ["part-00000.parquet"]


def test_a_partition_with_a_broken_file_is_rebuilt_as_if_it_held_nothing(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = case(tmp_path, *SEEN)
    inputs = tried.inputs()
    (file,) = inputs.locations[DAY].iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    planned = plan_day(connection, without_unreadable(inputs, [day_of(DAY)]), day_of(DAY))
    assert planned.reason is None
    job = Job(
        day_of(DAY), planned.windows, [day_of(DAY)], False, tmp_path / "staging", {GENERATION: POSITION}
    )
    rebuilt = rebuild(connection, inputs, job)
    assert (rebuilt.unreadable, rebuilt.staged.counts) == (file.name, Counts(0, 3, 0, 0, {}))
    assert rebuilt.staged.location == str(inputs.locations[DAY]), "what the publication finds there"


def test_genre_and_rating_are_those_of_the_version_at_the_start(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    learnt_us = at("2026-03-01 10:05:00") * 1000
    versions = [("e1", "drama", 8.0, FIRST_US, learnt_us), ("e1", "horror", 9.0, learnt_us, LAST_US)]
    tried = case(tmp_path, *SEEN, episodes=versions)
    rebuilt = rebuild_day(connection, tried.inputs(), tmp_path / "staging", DAY)
    assert {row["session_id"]: (row["genre"], row["episode_rating"]) for row in rows_of(rebuilt)} == {
        "s": ("drama", 8.0), "t": ("horror", 9.0), "v": (None, None)
    }  # fmt: skip
    assert rebuilt.staged.counts.changed_by_column == {"episode_rating": 2, "genre": 2}


def test_erased_readers_stay_away(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    tried = case(tmp_path, *SEEN)
    erased = ErasedReaders([digest_of("u-t", KEY)], KEY)
    rebuilt = rebuild_day(connection, replace(tried.inputs(), erased=erased), tmp_path / "staging", DAY)
    assert {row["session_id"] for row in rows_of(rebuilt)} == {"s", "v"}


def test_an_open_day_and_one_that_is_not_archived_are_refused_with_the_mend(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = Case(tmp_path / "open", topic(*SEEN), buckets=1)
    refused = plan_day(connection, tried.inputs(), day_of(DAY))
    assert refused.is_refused
    assert "sessions_open: 3 sessions" in refused.describe()
    assert "wait until" in refused.describe()
    tried = case(
        tmp_path / "expired",
        event("old", "2026-02-20 10:00:00"),
        *SEEN,
        is_whole=False,
        missing=frozenset({(0, 0)}),
    )
    assert plan_day(connection, tried.inputs(), day_of("2026-02-20")).describe().startswith(
        "2026-02-20: raw_events_expired"
    )  # fmt: skip
    nothing = plan_day(connection, tried.inputs(), day_of("2026-03-05"))
    assert not nothing.is_refused


def test_a_chain_of_sessions_is_replayed_from_where_it_begins(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """A reader without a pause: where the 24 h cuts fall on day 6 is decided on day 1."""
    first_ms = at("2026-03-01 01:00:00")
    steps = [event("bot", first_ms + n * 29 * MINUTE_MS, "scroll", scroll_ratio=0.1) for n in range(5 * 50)]
    tried = case(tmp_path, *steps)
    rebuilt = rebuild_day(connection, tried.inputs(), tmp_path / "staging", "2026-03-05")
    assert rebuilt.staged.counts == Counts(1, 0, 0, 0, {})


def test_a_busy_topic_is_rebuilt_as_the_stream_made_it(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Disorder, re-keying, repeats, ids used again, late and bad events; some of them in quarantine."""
    records = busy_topic(1, 3_000, 2)
    closing = [
        VectorRecord(p, ends(records)[p] + n, at("2026-02-01"), f"c{p}-{n}".encode(),
                     json.dumps(event(f"c{p}-{n}", "2026-02-01")).encode())
        for p in range(2) for n in range(60)
    ]  # fmt: skip
    tried = Case(tmp_path, records + closing, quarantined=tuple(range(0, 3_000, 7)))
    inputs = tried.inputs()
    made = [rebuild_day(connection, inputs, tmp_path / "staging", dt) for dt in ("2026-01-01", "2026-01-02")]
    assert all(it.staged.counts == Counts(it.staged.counts.equal, 0, 0, 0, {}) for it in made)
    assert sum(it.staged.counts.equal for it in made) > 150
    assert sum(it.unlisted_late for it in made) == 0


def test_sessions_are_rebuilt_by_the_rules_of_the_generation_that_publishes_them(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """A second generation with a gap of 10 min publishes from noon on."""
    noon_ms = at("2026-03-01 12:00:00")
    tried = case(
        tmp_path,
        event("s", "2026-03-01 10:00:00"),
        event("s", "2026-03-01 10:20:00", "exit"),
        event("t", "2026-03-01 13:00:00"),
        event("t", "2026-03-01 13:20:00", "exit"),
    )
    old, new = SessionRules(), SessionRules(gap_ms=10 * MINUTE_MS)
    start, end = {0: 0}, ends(tried.records)
    tried.spans = (
        Span(2, rules_of(new, 1), noon_ms, NEVER_MS, start, end, True),
        Span(GENERATION, rules_of(old, 1), ALWAYS_MS, noon_ms, start, end, False),
    )
    tried.generation = 2
    rebuilt = rebuild_day(connection, tried.inputs(), tmp_path / "staging", DAY)
    made = [(row["session_id"], row["generation"], row["event_count"]) for row in rows_of(rebuilt)]
    assert made == [("s", GENERATION, 2), ("t", 2, 1), ("t", 2, 1)]
    tried.hive = rows_of(rebuilt)
    assert judge(connection, tried.inputs(), day_of(DAY)).verdict is Verdict.EQUAL
    # the old one was retired before its session was final: it never published it
    tried.spans = (
        tried.spans[0],
        Span(GENERATION, rules_of(old, 1), ALWAYS_MS, noon_ms, start, {0: 2}, False),
    )
    rebuilt = rebuild_day(connection, tried.inputs(), tmp_path / "staging", DAY)
    assert [row["session_id"] for row in rows_of(rebuilt)] == ["t", "t"]


def late_case(root: Path) -> Case:
    """A late scroll of `s`, a late repeat of its first event, a session of late events alone, and `t` without any."""
    return case(
        root,
        event("s", "2026-03-01 10:00:00"),
        event("t", "2026-03-01 11:00:00"),
        event("s", "2026-03-01 10:01:00", "scroll", scroll_ratio=0.5),
        event("s", "2026-03-01 10:00:00"),
        event("w", "2026-03-01 09:00:00", "complete"),
    )


def test_late_events_are_applied_where_the_form_says_so(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = late_case(tmp_path)
    assert [it.session_id for it in tried.streamed.late] == ["s", "s", "w"]
    assert counts(connection, tried) == Counts(2, 0, 0, 0, {})
    rebuilt = rebuild_day(connection, tried.inputs(), tmp_path / "staging", DAY, late=True)
    assert rebuilt.late_applied == 2, "the repeat is none"
    assert rebuilt.staged.with_late_events
    rows = {row["session_id"]: row for row in rows_of(rebuilt)}
    assert (rows["s"]["completion_rate"], rows["s"]["event_count"], rows["s"]["dwell_time_ms"]) == (
        0.5,
        2,
        60_000,
    )
    assert (rows["w"]["status"], rows["w"]["event_count"]) == ("completed", 1)
    assert (rebuilt.staged.counts.equal, rebuilt.staged.counts.new, rebuilt.staged.counts.changed) == (
        1,
        1,
        1,
    )


def test_the_reconciliation_checks_all_other_rows_of_a_revised_day(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    tried = late_case(tmp_path)
    rebuilt = rebuild_day(connection, tried.inputs(), tmp_path / "staging", DAY, late=True)
    tried.hive = rows_of(rebuilt)
    outcome = judge(connection, tried.inputs(), day_of(DAY))
    assert outcome.verdict is Verdict.DIFFERENT, "it is not told of the revision"
    inputs = replace(tried.inputs(), backfills={DAY: Backfill({GENERATION: POSITION}, True, "")})
    outcome = judge(connection, inputs, day_of(DAY))
    assert (outcome.verdict, outcome.reason) == (
        Verdict.EQUAL, f"{REVISED}: 2 session_ids with late events are not compared",
    )  # fmt: skip
    assert outcome.comparison is not None
    assert outcome.comparison.rows_equal == 1
    (t,) = (row for row in tried.hive if row["session_id"] == "t")
    t["dwell_time_ms"] += 1
    inputs = replace(tried.inputs(), backfills={DAY: Backfill({GENERATION: POSITION}, True, "")})
    outcome = judge(connection, inputs, day_of(DAY))
    assert outcome.verdict is Verdict.DIFFERENT
    # what another generation has published since is no revision
    inputs = replace(tried.inputs(), backfills={DAY: Backfill({GENERATION + 1: POSITION}, True, "")})
    assert judge(connection, inputs, day_of(DAY)).reason is None


def test_a_session_that_moves_to_another_day_is_refused_unless_that_day_is_included(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """A late event before midnight joins a session that began after it."""
    tried = case(
        tmp_path,
        event("s", "2026-03-02 00:05:00"),
        event("t", "2026-03-02 11:00:00"),
        event("s", "2026-03-01 23:50:00", "scroll", scroll_ratio=0.5),
    )
    inputs, staging = tried.inputs(), tmp_path / "staging"
    for dt, missing in ((DAY, NEXT), (NEXT, DAY)):
        with pytest.raises(RevisionError, match=f"also change readings of {missing}.*includes {missing}"):
            rebuild_day(connection, inputs, staging, dt, late=True)
        assert not (staging / f"dt={dt}").exists(), "nothing is left half made"
    made = [rebuild_day(connection, inputs, staging, dt, (DAY, NEXT), late=True) for dt in (DAY, NEXT)]
    assert [[row["session_id"] for row in rows_of(it)] for it in made] == [["s"], ["t"]]
    assert [it.staged.counts.gone for it in made] == [0, 1]


@pytest.mark.parametrize("seed", range(3))
def test_a_revision_is_what_a_stream_that_waits_for_everybody_makes(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, seed: int
) -> None:
    """Events come up to ten hours late; an engine that allows three days finds none of them late."""
    luck = random.Random(seed)
    seen = sorted(
        (luck.randrange(10 * 60) * (n % 3 == 0) * MINUTE_MS + at_ms, n, at_ms)
        for n, at_ms in ((n, at("2026-03-01") + luck.randrange(36 * 60) * MINUTE_MS) for n in range(300))
    )
    events = [
        event(f"s{n % 7}", at_ms, luck.choice(("enter", "scroll", "complete", "exit")), event_id=f"id-{n}",
              episode_id=f"e{luck.randrange(3)}", scroll_ratio=luck.random())
        for _, n, at_ms in seen
    ]  # fmt: skip
    tried = case(tmp_path, *events)
    assert len(tried.streamed.late) > 30
    patient = stream(tried.records, replace(SessionRules(), lateness_ms=3 * 24 * 60 * MINUTE_MS), 1)
    assert patient.late == []
    wanted = [row for row in map(hive_row, patient.final) if row["session_id"] != "closing"]
    days = [DAY, NEXT]
    inputs = tried.inputs()
    made = [rebuild_day(connection, inputs, tmp_path / "staging", dt, days, late=True) for dt in days]
    found = by_key([row for it in made for row in rows_of(it)])
    assert found == by_key(wanted)
    assert len(found) > 30
