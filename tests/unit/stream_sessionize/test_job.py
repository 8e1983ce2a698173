"""What the stream's command line says and leaves when it cannot go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
import pytest
from py4j.protocol import Py4JError

from include.spark_jobs.stream_sessionize import job
from include.spark_jobs.stream_sessionize.supervision import stopped_by_error, told_in_one_line

if TYPE_CHECKING:
    from pyspark.sql.streaming import StreamingQuery

LOST = psycopg.OperationalError("server closed the connection unexpectedly\n\tThis probably means ...")
NOT_MIGRATED = (
    'the database is not migrated (relation "ops.erasures" does not exist): run DAG ops__migrate_store, or '
    "python -m include.common.migrate"
)
NO_SCHEMA = NOT_MIGRATED.replace('relation "ops.erasures"', 'schema "ops"')
SHUT_DOWN = "lost PostgreSQL (terminating connection): is it running (make status)?"


class JvmError(Py4JError):
    """As an exception of the JVM that PySpark has no class for is printed."""

    def __str__(self) -> str:
        return (
            "An error occurred while calling o94.start.\n: java.io.IOException: No space left on device\n"
            "\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)\n"
        )


@contextmanager
def connected(*_: Any, **__: Any) -> Iterator[object]:
    yield object()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LOST, "lost PostgreSQL (server closed the connection unexpectedly): is it running (make status)?"),
        (
            psycopg.errors.UndefinedTable('relation "ops.erasures" does not exist\nLINE 1: SELECT ...'),
            NOT_MIGRATED,
        ),
        (psycopg.errors.InvalidSchemaName('schema "ops" does not exist'), NO_SCHEMA),
        (psycopg.errors.AdminShutdown("terminating connection"), SHUT_DOWN),
        (
            psycopg.errors.DiskFull('could not extend file "base/5"'),
            'PostgreSQL: could not extend file "base/5"',
        ),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (JvmError(), "java.io.IOException: No space left on device"),
    ],
)
def test_what_a_start_fails_with_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    error: Exception,
    said: str,
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setenv("WEBTOON_POSTGRES_DSN", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("WEBTOON_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("WEBTOON_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(job, "kafka_source", lambda _: {})
    monkeypatch.setattr(job, "starting_offsets", lambda *_: {"webtoon_user_events": {"0": 0}})
    monkeypatch.setattr(job, "connect", connected)
    monkeypatch.setattr(job, "find_generation", fails)
    assert job.main([]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"stream_sessionize: {said}"


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
        told_in_one_line(),
        stopped_by_error(cast("StreamingQuery", query)),
    ):
        raise LOST
    assert query.stopped == 1
    with stopped_by_error(cast("StreamingQuery", query)):
        pass
    assert query.stopped == 1
