"""What Airflow imports from plugins/ by name: pages that are mounted where their menu entry leads, and the callback."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from airflow.plugins_manager import AirflowPlugin

from include.orchestration import deadlines
from include.orchestration.pages.lazy_app import LazyApp

PAGES = {
    "freshness_page": "FreshnessPlugin",
    "gate_history": "GateHistoryPlugin",
    "stream_progress": "StreamProgressPlugin",
}
CALLBACKS = "deadline_callbacks"


@pytest.fixture
def plugins(project_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """plugins/ on the import path, as Airflow has it."""
    monkeypatch.syspath_prepend(project_root / "plugins")
    return project_root / "plugins"


def load(name: str) -> ModuleType:
    return importlib.import_module(name)


def test_every_module_is_known_here(plugins: Path) -> None:
    assert {path.stem for path in plugins.glob("*.py")} == {*PAGES, CALLBACKS}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_made_late_and_mounted_where_its_menu_entry_leads(plugins: Path, name: str) -> None:
    plugin = getattr(load(name), PAGES[name])
    assert issubclass(plugin, AirflowPlugin)
    (mounted,), (entry,) = plugin.fastapi_apps, plugin.external_views
    assert isinstance(mounted["app"], LazyApp), (
        "every Airflow process imports plugins: nothing is made at import"
    )
    assert entry["href"] == f"{mounted['url_prefix']}/"
    assert entry["category"] == "browse"
    assert f"/{entry['url_route']}" == mounted["url_prefix"]


def test_the_callback_is_where_deadlines_name_it(plugins: Path) -> None:
    module, function = deadlines.CALLBACK.rsplit(".", 1)
    assert module == CALLBACKS
    assert getattr(load(module), function) is deadlines.tell_missed_deadline
