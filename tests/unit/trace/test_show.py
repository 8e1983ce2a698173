"""A chain as text, page and JSON."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from include.trace import __main__ as command
from include.trace.chain import (
    HIDDEN,
    ArchiveSlice,
    Chain,
    Check,
    Cut,
    GateResult,
    MicroBatch,
    OffsetRange,
    RawEvent,
    Shown,
)
from include.trace.sections import SHOWN
from include.trace.show import as_page, as_text

AT = datetime(2026, 11, 24, 10, tzinfo=UTC)
EVENT = RawEvent(
    "t", 0, 7, 1_767_225_600_010, "kafka", None, event_type="enter", episode_id="<ep1>", event_ms=0
)


def chain(**changes: Any) -> Chain:
    verdict = GateResult("session_features", "run", "s", "country_allowed", None, "critical", True, 0, AT)
    fields: dict[str, Any] = {
        "asked": "marts.user_features/u1/user_exit_rate", "table": "marts.user_features", "column": "user_exit_rate",
        "row": {"user_id": "u1", "user_exit_rate": 0.5}, "value": 0.5,
        "cut": Cut(17, "run", 1, 42, AT, "published", AT, AT),
        "gates": [
            verdict,
            replace(verdict, expectation="scroll_ratio_range", success=False, severity="warning"),
            replace(verdict, expectation="dwell_as_before", success=None, severity="warning"),
        ],
        "readings_total": 3, "readings_from": "realtime.session_features",
        "batches": [MicroBatch(1, 4, 42, {0: 5, 1: 3}, {0: 9, 1: 3}, "generation=1/b.parquet", 2, "ab" * 32, AT)],
        "offsets": [OffsetRange(0, 7, 7, 1)],
        "slices": [ArchiveSlice("slice-1", "archive", "published", {0: 0}, {0: 9}, AT)],
        "events": [EVENT],
        "checks": [Check("user_exit_rate", 0.5, 0.5, True, "readings"), Check("genre", "x", None, None, "readings", "no")],
        "notes": ["a note"],
    }  # fmt: skip
    return Chain(**{**fields, **changes})


def test_the_text_has_every_link() -> None:
    text = as_text(chain())
    for words in (
        "user_exit_rate = 0.5", "1 columns equal what was recomputed, none differs", "no: genre",
        "cut 17 (published): readings up to ledger position 42 of generation 1", "1 of 3", "scroll_ratio_range (warning)",
        "3 in realtime.session_features", "[0] 5-8", "generation=1/b.parquet", "slice-1", "t[0]",
        "2026-01-01T00:00:00.010Z", "a note",
    ):  # fmt: skip
        assert words in text, words


def test_a_difference_is_seen_at_once() -> None:
    wrong = chain(checks=[Check("user_exit_rate", 0.5, 0.25, False, "readings")])
    assert "DIFFERENT: user_exit_rate" in as_text(wrong)
    assert '<tr class="differs">' in as_page(wrong)
    assert "DIFFERENT" not in as_text(chain())


def test_the_page_escapes_what_producers_send() -> None:
    page = as_page(chain())
    assert "<ep1>" not in page
    assert "&lt;ep1&gt;" in page


def test_a_long_table_says_how_much_it_leaves_out() -> None:
    many = chain(events=[replace(EVENT, offset=number) for number in range(SHOWN + 5)])
    assert f"{SHOWN} of {SHOWN + 5} are shown" in as_text(many)
    assert len(many.as_json()["events"]) == SHOWN + 5


def test_json_has_only_what_json_knows() -> None:
    plain = json.loads(json.dumps(chain().as_json()))
    assert plain["cut"]["as_of"] == "2026-11-24T10:00:00+00:00"
    assert plain["batches"][0]["start_offsets"] == {"0": 5, "1": 3}


def test_ids_are_shown_to_whoever_typed_them() -> None:
    row = {"user_id": "u1", "session_id": "s1", "episode_id": "u1", "ui_version": None}
    assert Shown(frozenset({"u1"})).row(row) == {**row, "session_id": HIDDEN}
    assert Shown(frozenset(), every=True).row(row) == row


@pytest.mark.parametrize(
    ("argument", "words"), [("marts.users/u1", "is no table"), ("--limit=0", "is not above 0")]
)
def test_the_command_line_refuses_what_it_cannot_read(
    argument: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([argument, "marts.user_features/u1"])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_help_names_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    assert "realtime.session_features/<session_id>/<session_start_ms>/<episode_id>" in capsys.readouterr().out


def test_without_a_stack_it_says_how_to_join_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WEBTOON_KAFKA", raising=False)
    assert command.main(["marts.user_features/u1"]) == 1
    assert "WEBTOON_KAFKA is not set" in capsys.readouterr().err
