"""Texts of alerts: nothing from outside can command Slack, nothing grows without end, repetition is sensible."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from include.orchestration import alert_text as text

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Finding:
    """What a gate found."""

    line: str

    def describe(self) -> str:
        return self.line


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("<!channel> look", "&lt;!channel&gt; look"),
        ("a & b", "a &amp; b"),
        ("<https://elsewhere|click>", "&lt;https://elsewhere|click&gt;"),
        ("two\nlines\t and  gaps ", "two lines and gaps"),
        ("제목 «웹툰»", "제목 «웹툰»"),
        ("", ""),
    ],
)
def test_escape(raw: str, shown: str) -> None:
    assert text.escape(raw) == shown


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("postgresql://webtoon:s3cret@db:5432/features", "postgresql://webtoon:***@db:5432/features"),
        ("redis://:s3cret@cache", "redis://:***@cache"),
        ("two: a://u:one@h and b://v:two@i", "two: a://u:***@h and b://v:***@i"),
        ("http://host:8080/path is no password", "http://host:8080/path is no password"),
    ],
)
def test_passwords_of_uris_are_hidden(raw: str, shown: str) -> None:
    assert text.escape(raw) == shown


def test_a_long_text_is_cut_before_it_is_escaped() -> None:
    """Else a cut could leave half of `&lt;`; and the password is hidden before the cut."""
    shown = text.escape("<" * (2 * text.MAX_LINE))
    assert shown == "&lt;" * (text.MAX_LINE - 1) + "…"
    uri = "x" * (text.MAX_LINE - 25) + " postgresql://webtoon:s3cret@db"
    assert "s3cret" not in text.escape(uri)
    assert text.escape("y" * text.MAX_LINE) == "y" * text.MAX_LINE


def test_message_keeps_its_links_and_counts_what_it_leaves_out() -> None:
    lines = [f"line {number}" for number in range(40)]
    first, *rest = text.message("<title>", lines).splitlines()
    assert first == "*&lt;title&gt;*"
    assert len(rest) == text.MAX_LINES + 1
    assert rest[-2:] == ["line 38", "line 39"]
    assert rest[-3] == f"… and {40 - text.MAX_LINES} more lines"
    assert text.message("t", lines[: text.MAX_LINES]).splitlines()[1:] == lines[: text.MAX_LINES]


def test_links_are_quoted() -> None:
    address = text.run_url(
        "http://host:8080/", "events__archive", "scheduled__2026-11-25T12:00:00+00:00", "gate"
    )
    assert address == (
        "http://host:8080/dags/events__archive/runs/scheduled__2026-11-25T12%3A00%3A00%2B00%3A00/tasks/gate"
    )
    assert text.run_url("http://h", "d", "r") == "http://h/dags/d/runs/r"
    assert text.link("http://h", "a > b") == "<http://h|a &gt; b>"


@pytest.mark.parametrize(
    ("prefix", "line"),
    [
        ("https://wiki/runbooks", "Runbook: <https://wiki/runbooks/events_archive.md|events_archive>"),
        (
            "file:///srv/docs/runbooks/",
            "Runbook: <file:///srv/docs/runbooks/events_archive.md|events_archive>",
        ),
        ("docs/runbooks/", "Runbook: docs/runbooks/events_archive.md"),
        ("", "Runbook: events_archive.md"),
    ],
)
def test_runbook_line(prefix: str, line: str) -> None:
    assert text.runbook_line(prefix, text.runbook_of("events__archive")) == line


def test_runbook_line_names_the_section() -> None:
    line = text.runbook_line("https://wiki/runbooks", "stream_watch_progress", "check_freshness")
    assert line == (
        "Runbook: <https://wiki/runbooks/stream_watch_progress.md#check_freshness|stream_watch_progress, "
        "section check_freshness>"
    )
    assert text.runbook_line("docs/", "a", "b") == "Runbook: docs/a.md#b"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (11100, "3 h 5 min"),
    ],
)
def test_duration(seconds: int, shown: str) -> None:
    assert text.duration(timedelta(seconds=seconds)) == shown


def test_moment_is_utc_whatever_came() -> None:
    assert text.moment("2026-11-25T21:00:00+09:00") == "2026-11-25 12:00:00 UTC"
    assert text.moment(NOW) == "2026-11-25 12:00:00 UTC"
    assert text.moment(None) == "-"


def failing_minutes(every: int, outage: timedelta, last_success: datetime | None) -> list[int]:
    """Minutes of an outage at which a DAG that fails every `every` minutes speaks, after the first time."""
    times = [
        NOW + timedelta(minutes=minute) for minute in range(0, int(outage.total_seconds() // 60) + 1, every)
    ]
    return [
        int((now - NOW).total_seconds() // 60)
        for before, now in pairwise(times)
        if text.is_reminder_due(last_success, before, now)
    ]


def test_an_outage_is_told_once_an_hour() -> None:
    told = failing_minutes(10, timedelta(hours=3), last_success=NOW - timedelta(minutes=10))
    assert told == [50, 110, 170]
    assert len(failing_minutes(10, timedelta(hours=3), last_success=None)) == 3


def test_a_task_that_runs_more_seldom_than_that_always_speaks() -> None:
    assert failing_minutes(90, timedelta(hours=6), last_success=NOW - timedelta(minutes=90)) == [
        90,
        180,
        270,
        360,
    ]


def test_restarts_of_a_loop_are_told_at_1_2_4_8_and_every_eighth_and_one_of_no_loop_always() -> None:
    told = [number for number in range(-8, 70) if text.is_restart_told(number, timedelta(minutes=9))]
    assert told == [1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64]
    assert text.is_restart_told(21, timedelta(minutes=10))


def test_gate_lines_are_escaped() -> None:
    found = text.gate_lines([Finding("rule <a> of 3 rows"), Finding("b & c")])
    assert found == ["• rule &lt;a&gt; of 3 rows", "• b &amp; c"]


def test_since_line() -> None:
    assert text.since_line(None, NOW).startswith("Since: ")
    line = text.since_line(NOW - timedelta(minutes=75), NOW)
    assert line == "Since: no success after 2026-11-25 10:45:00 UTC (1 h 15 min)"


def test_rows_that_postgresql_quotes_are_not_told() -> None:
    error = (
        'duplicate key value violates unique constraint "session_features_pkey"\n'
        "DETAIL:  Key (session_id, session_start_ms)=(s00ff, 1) already exists.\nCONTEXT:  COPY x, line 1: u000001"
    )
    assert text.why(ValueError(error)) == (
        'duplicate key value violates unique constraint "session_features_pkey"'
    )
    assert text.why(ValueError("one\ntwo")) == "one\ntwo"
