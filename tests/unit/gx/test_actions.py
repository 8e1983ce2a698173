"""What a checkpoint leaves on disk and hands on: nothing personal, every outcome, only the newest results."""

from pathlib import Path

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
