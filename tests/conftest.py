"""Settings of every test: reproducible property tests, no telemetry, nothing of the caller's Airflow."""

import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.hypothesis_profiles import load_profile

PROJECT_ROOT = Path(__file__).resolve().parent.parent

KEPT = ("WEBTOON_KEEP_TEST_STATE",)
for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "WEBTOON_")) and name not in KEPT]:
    del os.environ[name]  # a shell that joined the demo stack must not lead tests into it
_TMP = PROJECT_ROOT / ".cache" / "tmp"
_TMP.mkdir(parents=True, exist_ok=True)
os.environ.update(
    {
        # nothing outside the project's folder
        "TMPDIR": str(_TMP),
        "PYTEST_DEBUG_TEMPROOT": str(_TMP),
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "false",
        "ASTRONOMER_COSMOS__TELEMETRY": "False",
        "SCARF_ANALYTICS": "false",
        "AIRFLOW_HOME": str(PROJECT_ROOT / ".cache" / "airflow-home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "PYTHONPATH": str(PROJECT_ROOT),
    }
)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["AIRFLOW_HOME"] += f"-{os.environ['PYTEST_XDIST_WORKER']}"
tempfile.tempdir = None
load_profile()


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder with pyproject.toml."""
    return PROJECT_ROOT


_SHARED = ("airflow_stack", "archive_story", "poisoned_topic")
"""Fixtures of the whole run that are too dear to be made by each process."""
_FIRST = ("tests/integration/faults/", "tests/integration/", "tests/dags/", "tests/unit/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `-n` what takes longest comes first: a process takes the next group when it has done one."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: (_turn(item.location[0]), item.location[0]))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """With `-n`: see Groups."""
    config.option.loadscopereorder = False
    return Groups(config, log)


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # published without types
    """The tests of a file stay in one process and in order, and so do the files that share a dear fixture.

    (`--dist loadgroup` does as much by marks, but not with pytest 9.2, which does not take the group that xdist 3.8 adds
    to a test's id.)
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid.split("::", 1)[0])


@cache
def _group(file: str) -> str:
    text = (PROJECT_ROOT / file).read_text()
    return next((fixture for fixture in _SHARED if fixture in text), file)


def _turn(file: str) -> int:
    group = _group(file)
    if group in _SHARED:
        return _SHARED.index(group) - len(_SHARED)
    return next((at for at, folder in enumerate(_FIRST) if file.startswith(folder)), len(_FIRST))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a failed test at once, not only at the end of a long run."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\nfailed ({report.when}): {report.nodeid}", file=sys.stderr, flush=True)
