"""A warm-up that fails is told and hurts nobody; that it works is seen in tests/integration/test_stream.py."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from include.spark_jobs.stream_sessionize.generations import Generation, Plan
from include.spark_jobs.stream_sessionize.query import MicroBatchPlan
from include.spark_jobs.stream_sessionize.warm_up import start_warm_up

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class BrokenSpark:
    """A session that does nothing but fail."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def range(self, *_: int) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error", [PySparkException("no more Python workers\nat line 1"), Py4JError("no more Python workers")]
)
def test_its_failure_is_one_line_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    plan = MicroBatchPlan(Generation(1, tmp_path, {"0": 0}, Plan()))
    thread = start_warm_up(cast("SparkSession", BrokenSpark(error)), plan)
    assert thread.daemon, "one that waits for ever would keep the driver from ending"
    thread.join(10)
    assert capsys.readouterr().out == "stream_sessionize: no warm-up: no more Python workers\n"
