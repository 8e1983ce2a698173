"""What a checkpoint leaves on disk and hands on: nothing personal, every outcome, only the newest results."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.gx import actions
from include.gx.checkpoints import DOCS_SITE, Subject, build_checkpoint
from include.gx.results import ExpectationOutcome

PERSON = "reader-who-must-not-be-named"


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of Data Docs; kept results lie beside it."""
    monkeypatch.setattr("include.gx.checkpoints.docs_root", lambda: tmp_path)
    return tmp_path / "gx"


def run_gate(subject: str, outcomes: list[ExpectationOutcome], pages: list[str]) -> None:
    """A gate over two rows of one reader, one of them without a country."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    rows = pd.DataFrame({"user_id": [PERSON, PERSON], "country": ["KR", None]})

    def suite() -> gx.ExpectationSuite:
        return gx.ExpectationSuite(
            name="any",
            expectations=[
                gxe.ExpectColumnValuesToBeUnique(column="user_id", meta={"rule": "user_once"}),
                gxe.ExpectColumnValuesToNotBeNull(column="country", meta={"rule": "country_known"}),
            ],
        )

    def sink(found: list[ExpectationOutcome], urls: list[str]) -> None:
        outcomes.extend(found)
        pages.extend(urls)

    context = gx.get_context(mode="ephemeral")
    checkpoint, parameters = build_checkpoint(
        context, "gate", [Subject(subject, suite, lambda _: rows)], sink
    )
    checkpoint.run(batch_parameters=parameters)


def test_outcomes_and_pages_are_handed_on_and_nothing_personal_is_written(docs: Path) -> None:
    outcomes: list[ExpectationOutcome] = []
    pages: list[str] = []
    run_gate("slice", outcomes, pages)
    assert {(it.expectation, it.success, it.unexpected_count) for it in outcomes} == {
        ("user_once", False, 2),
        ("country_known", False, 1),
    }
    assert [url for url in pages if url.startswith("file://")], pages
    written = [file for file in docs.parent.rglob("*") if file.is_file()]
    assert any(file.suffix == ".html" for file in written), DOCS_SITE
    assert any("gx_results" in file.parts for file in written)
    assert [file for file in written if PERSON in file.read_text(errors="replace")] == []
    assert PERSON not in repr(outcomes)


def test_only_the_newest_results_and_their_suites_are_kept(
    docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "KEPT_RESULTS", 2)
    for subject in ("slice-1", "slice-2", "slice-3"):
        run_gate(subject, [], [])
    kept = docs.parent / "gx_results"
    assert sorted(file.stem for file in (kept / "suites").rglob("*.json")) == ["slice-2", "slice-3"]
    assert len(list((kept / "results").rglob("*.json"))) == 2
    pages = {file.name for file in (docs / "expectations").rglob("*.html")}
    assert pages == {"slice-2.html", "slice-3.html"}


def test_all_failing_rows_are_told_and_leave_the_results(docs: Path) -> None:
    import great_expectations as gx
    from great_expectations import expectations as gxe

    from include.gx.rules import critical, distributed_as_before

    rows = pd.DataFrame({"country": ["KR", None, "US"] * 20, "user_id": [PERSON] * 60}, index=range(100, 160))
    expectations = [
        gxe.ExpectColumnValuesToNotBeNull(column="country", **critical("country_known")),
        gxe.ExpectColumnValuesToBeInSet(column="user_id", value_set=["x"], **critical("reader_known")),
        gxe.ExpectColumnValuesToBeInSet(
            column="country", value_set=["KR", "US"], **critical("country_allowed")
        ),
        distributed_as_before("country", {"KR": 900, "US": 100}, 0.25, None),
    ]
    told: list[dict[str, list[int]]] = []

    def keep(failed: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[str]]:
        told.append({rule: list(labels) for rule, labels in failed.items()})
        return {rule: [f"t[0]@{label}" for label in labels[:2]] for rule, labels in failed.items()}

    outcomes: list[ExpectationOutcome] = []
    subject = Subject(
        "slice", lambda: gx.ExpectationSuite(name="s", expectations=expectations), lambda _: rows, keep
    )
    context = gx.get_context(mode="ephemeral")
    checkpoint, parameters = build_checkpoint(
        context, "gate", [subject], lambda found, _: outcomes.extend(found)
    )
    result = checkpoint.run(batch_parameters=parameters)
    assert told == [{"country_known": list(range(101, 160, 3)), "reader_known": list(range(100, 160))}]
    by_rule = {outcome.expectation: outcome for outcome in outcomes}
    assert by_rule["country_known"].offsets == ("t[0]@101", "t[0]@104")
    assert by_rule["reader_known"].describe() == (
        "[critical] reader_known on slice.user_id: 60 of 60 rows; at t[0]@100, t[0]@101"
    )
    assert by_rule["country_allowed"].offsets == ()
    written = "".join(file.read_text(errors="replace") for file in docs.parent.rglob("*.*") if file.is_file())
    for everything in (str(result.describe_dict()), written):
        assert "unexpected_index_list" not in everything
        assert PERSON not in everything
    assert "country is distributed as in 1,000 earlier rows: PSI at most 0.25, or noise" in written
    assert "0.250 allowed; moved most: US 10.0% -&gt; 50.0%" in written or "US 10.0% -> 50.0%" in written


def test_only_a_gate_of_one_subject_is_told_its_rows() -> None:
    import great_expectations as gx

    subjects = [
        Subject("a", lambda: None, lambda _: None),
        Subject("b", lambda: None, lambda _: None, failing_rows=lambda failed: {}),
    ]
    with pytest.raises(ValueError, match="gate g: only a gate of one subject"):
        build_checkpoint(gx.get_context(mode="ephemeral"), "g", subjects, lambda *_: None)


def test_ids_that_lead_to_a_reader_are_in_no_sample_page_or_error(docs: Path) -> None:
    """Events by their id, repeats of an event, and a column on which the check itself breaks."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    from include.gx.rules import critical

    rows = pd.DataFrame(
        {
            "event_id": [f"{PERSON}-1"] * 2,
            "repeated_event_id": [None, f"{PERSON}-1"],
            "session_id": [PERSON, 7],
        }
    ).astype(object)
    expectations = [
        gxe.ExpectColumnValuesToBeUnique(column="event_id", **critical("event_once")),
        gxe.ExpectColumnValuesToBeNull(column="repeated_event_id", **critical("no_repeat")),
        gxe.ExpectColumnValuesToBeBetween(column="session_id", min_value=1, **critical("cannot_be_checked")),
    ]
    outcomes: list[ExpectationOutcome] = []
    subject = Subject(
        "slice", lambda: gx.ExpectationSuite(name="s", expectations=expectations), lambda _: rows
    )
    checkpoint, parameters = build_checkpoint(
        gx.get_context(mode="ephemeral"), "gate", [subject], lambda found, _: outcomes.extend(found)
    )
    checkpoint.run(batch_parameters=parameters)
    told = {outcome.expectation: outcome for outcome in outcomes}
    assert [told[rule].unexpected_count for rule in ("event_once", "no_repeat")] == [2, 1]
    assert told["cannot_be_checked"].error == "not shown, because it may quote a personal id"
    assert all(outcome.blocks for outcome in outcomes)
    written = "".join(file.read_text(errors="replace") for file in docs.parent.rglob("*.*") if file.is_file())
    assert "event_once" in written
    slack = "\n".join(outcome.describe() for outcome in outcomes)
    results = "\n".join(str(outcome.observed_json()) for outcome in outcomes)
    assert [text for text in (written, slack, results) if PERSON in text] == []
