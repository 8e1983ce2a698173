"""What the stream's command line says and leaves when it cannot go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest

from include.spark_jobs.stream_sessionize import job
from include.spark_jobs.stream_sessionize.supervision import ended_without_postgres, told_without_postgres

if TYPE_CHECKING:
    from pyspark.sql.streaming import StreamingQuery

LOST = psycopg.OperationalError("server closed the connection unexpectedly\n\tThis probably means ...")


@contextmanager
def lost_while_it_is_used(*_: Any, **__: Any) -> Iterator[object]:
    yield object()


def loses_it(*_: Any) -> None:
    raise LOST


def test_a_start_that_loses_postgres_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WEBTOON_POSTGRES_DSN", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("WEBTOON_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("WEBTOON_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(job, "kafka_source", lambda _: {})
    monkeypatch.setattr(job, "starting_offsets", lambda *_: {"webtoon_user_events": {"0": 0}})
    monkeypatch.setattr(job, "connect", lost_while_it_is_used)
    monkeypatch.setattr(job, "find_generation", loses_it)
    assert job.main([]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        "stream_sessionize: lost PostgreSQL (server closed the connection unexpectedly): is it running (make status)?"
    )


class Query:
    """A running query, as far as it is asked."""

    def __init__(self) -> None:
        self.stopped = 0

    def stop(self) -> None:
        self.stopped += 1


def test_a_query_that_loses_postgres_is_stopped_before_it_is_told() -> None:
    query = Query()
    with (
        pytest.raises(job.JobError, match=r"lost PostgreSQL"),
        told_without_postgres(),
        ended_without_postgres(cast("StreamingQuery", query)),
    ):
        raise LOST
    assert query.stopped == 1
    with ended_without_postgres(cast("StreamingQuery", query)):
        pass
    assert query.stopped == 1
