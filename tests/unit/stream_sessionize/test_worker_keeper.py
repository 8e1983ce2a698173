"""When a Python worker is used so that none is ended; that they live on is seen in tests/integration/test_stream_silence.py."""

import time
from typing import TYPE_CHECKING, cast

import pytest
from py4j.protocol import Py4JError

from include.spark_jobs.stream_sessionize import worker_keeper
from include.spark_jobs.stream_sessionize.worker_keeper import WorkerKeeper, as_they_are

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Spark:
    """A session whose jobs are counted; they fail with `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.jobs = 0
        self._error = error

    def range(self, *_: int) -> "Spark":
        return self

    def mapInArrow(self, function: object, schema: str) -> "Spark":
        assert (function, schema) == (as_they_are, "id BIGINT")
        return self

    def collect(self) -> None:
        self.jobs += 1
        if self._error is not None:
            raise self._error


def keeper_of(spark: Spark) -> WorkerKeeper:
    return WorkerKeeper(cast("SparkSession", spark))


def test_a_worker_is_used_when_none_was_for_a_while_and_then_not_for_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    spark = Spark()
    keeper = keeper_of(spark)
    for passed, collected_at, jobs in (
        (29.0, 0.0, 0),
        (31.0, 1_005.0, 0),  # a micro-batch went through five seconds after the start
        (36.0, 1_005.0, 1),
        (37.0, 1_005.0, 1),
        (65.0, 1_005.0, 1),
        (66.0, 1_005.0, 2),
        (95.0, 1_090.0, 2),
    ):
        now = 1_000.0 + passed
        keeper.advance(collected_at)
        keeper.join(10)
        assert spark.jobs == jobs, passed


def test_a_failure_is_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker_keeper, "KEEP_AFTER_S", 0.0)
    keeper = keeper_of(Spark(Py4JError("no more Python workers\nat line 1")))
    keeper.advance(0.0)
    keeper.join(10)
    assert capsys.readouterr().out == (
        "stream_sessionize: Python workers are not kept: no more Python workers\n"
    )
