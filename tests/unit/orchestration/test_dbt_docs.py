"""dbt's docs page is built again only when the manifest is another one."""

from pathlib import Path

import pytest

from include.orchestration.dbt.docs import find_change, record_build


def test_without_a_docs_folder_there_is_nothing_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEBTOON_DOCS_DIR", raising=False)
    monkeypatch.delenv("WEBTOON_STATE_DIR", raising=False)
    assert find_change() is False


def test_a_page_is_old_once_the_manifest_changes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text("{}")
    (tmp_path / "docs" / "dbt").mkdir(parents=True)
    monkeypatch.setenv("WEBTOON_DOCS_DIR", str(tmp_path / "docs"))
    monkeypatch.setenv("WEBTOON_DBT_MANIFEST", str(manifest))
    assert find_change() is True
    record_build()
    assert find_change() is False
    manifest.write_text('{"changed": 1}')
    assert find_change() is True
