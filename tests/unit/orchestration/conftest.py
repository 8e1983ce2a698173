"""The one supervised driver of a test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from include.orchestration.supervised_spark.driver import Driver, Patience
from include.orchestration.supervised_spark.driver_files import DriverFiles


@pytest.fixture
def make_driver(tmp_path: Path, project_root: Path) -> Iterator[Callable[..., Driver]]:
    """`make_driver(grace_s=20)`: the one driver of the folder; whatever still runs at the end is killed."""

    def make(grace_s: float = 20.0) -> Driver:
        files = DriverFiles(tmp_path / "drivers", "test")
        files.create()
        return Driver(files, project_root, Patience(grace_s=grace_s, stall_after_s=5, startup_s=5))

    yield make
    record = make().files.record()
    for identity in () if record is None else (record.launcher, record.driver):
        process = identity.process() if identity else None
        if process is not None:
            for member in [*process.children(recursive=True), process]:
                member.kill()
