"""A running query's life in the driver: heartbeat, progress rows, graceful stop on SIGTERM."""

import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import psycopg

from include.spark_jobs.session import JobError
from include.spark_jobs.stream_sessionize.generations import SupersededError, last_planned_batch
from include.spark_jobs.stream_sessionize.progress import ProgressRecorder

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from include.spark_jobs.stream_sessionize.sink import MicroBatchSink

TICK_S = 0.5
STOP_LIMIT_S = 60.0
"""Longest wait for the micro-batch at hand, and for the warm-up; what is cut off then is repeated after the restart."""

_CONNECTION_LOST = ("08", "57")
"""SQLSTATE classes of a connection that broke, and of a server that is being stopped or starts."""
_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt)\b")


class StopRequest:
    """Set by SIGTERM or SIGINT, to Python or to the JVM above or below it (spark-submit's process is a JVM)."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._jvm_handler: _JvmSignalHandler | None = None

    @property
    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Ask to stop."""
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Wait for the request, at most `seconds`."""
        self._event.wait(seconds)

    def listen(self) -> None:
        """Take Python's SIGTERM and SIGINT; call it in the main thread."""

        def ask(signal_number: int, frame: FrameType | None) -> None:
            self.set()

        signal.signal(signal.SIGTERM, ask)
        signal.signal(signal.SIGINT, ask)

    def listen_in_jvm(self, spark: "SparkSession") -> None:
        """Take the JVM's SIGTERM, which would end Spark in the middle of a micro-batch."""
        from pyspark.java_gateway import ensure_callback_server_started

        gateway = spark.sparkContext._gateway
        ensure_callback_server_started(gateway)
        self._jvm_handler = _JvmSignalHandler(self)
        jvm_signals = gateway.jvm.sun.misc
        for name in ("TERM", "INT"):
            jvm_signals.Signal.handle(jvm_signals.Signal(name), self._jvm_handler)


class _JvmSignalHandler:
    """Python's implementation of the JVM's sun.misc.SignalHandler."""

    def __init__(self, request: StopRequest) -> None:
        self._request = request

    def handle(self, jvm_signal: Any) -> None:
        """Called by the JVM."""
        self._request.set()

    class Java:
        """What py4j reads."""

        implements = ("sun.misc.SignalHandler",)


class LostThreads:
    """Threads of the JVM that an exception has ended which nobody caught.

    Spark's executors end then; a driver in local mode goes on. But where a full disk ends the thread that serves a Python
    worker's state, the worker waits for its answer for ever, and the micro-batch with it.
    """

    def __init__(self) -> None:
        self.first: str | None = None

    def listen_in_jvm(self, spark: "SparkSession") -> None:
        """Be the JVM's handler of uncaught exceptions."""
        from pyspark.java_gateway import ensure_callback_server_started

        gateway = spark.sparkContext._gateway
        ensure_callback_server_started(gateway)
        gateway.jvm.java.lang.Thread.setDefaultUncaughtExceptionHandler(self)

    def uncaughtException(self, thread: Any, error: Any) -> None:  # noqa: N802  the JVM's name
        """Called by the JVM."""
        said = f"thread {thread.getName()} of the driver's JVM died of {error.toString()}"
        print(said, file=sys.stderr, flush=True)
        error.printStackTrace()
        if self.first is None:
            self.first = said

    def raise_if_any(self, query: "StreamingQuery") -> None:
        """Stop the query and raise JobError if a thread was lost."""
        if self.first is not None:
            query.stop()
            raise JobError(f"{self.first}; the micro-batch at hand is repeated after a restart")

    class Java:
        """What py4j reads."""

        implements = ("java.lang.Thread$UncaughtExceptionHandler",)


def supervise(
    query: "StreamingQuery",
    sink: "MicroBatchSink",
    recorder: ProgressRecorder,
    stop: StopRequest,
    heartbeat: Path | None,
    why_end: Callable[[], str | None],
    lost: LostThreads,
) -> None:
    """Touch `heartbeat` and store progress until the query ends, is asked to stop, or `why_end` has a reason.

    Whether the query failed, or what it gave the `sink`, is for the caller to look up. Raises JobError where the JVM lost a thread.
    """
    while query.isActive and not stop.is_set and sink.failure is None:
        lost.raise_if_any(query)
        if heartbeat is not None:
            heartbeat.touch()
        recorder.record(query)
        if (reason := why_end()) is not None:
            print(f"stream_sessionize: {reason}", flush=True)
            break
        stop.wait(TICK_S)
    recorder.record(query)


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Around the driver's own work: raise JobError for what PostgreSQL, the disk or Spark fail with."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except psycopg.OperationalError as error:
        if error.sqlstate is not None and error.sqlstate[:2] not in _CONNECTION_LOST:
            raise JobError(f"PostgreSQL: {reason(error)}") from error
        raise JobError(f"lost PostgreSQL ({reason(error)}): is it running (make status)?") from error
    except (
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedColumn,
    ) as error:
        raise JobError(
            f"the database is not migrated ({reason(error)}): run DAG ops__migrate_store, or python -m "
            "include.common.migrate"
        ) from error
    except (OSError, PySparkException, Py4JError) as error:
        raise JobError(reason(error)) from error


@contextmanager
def stopped_by_error(query: "StreamingQuery") -> Iterator[None]:
    """Stop the query where anything fails: no further micro-batch is given to a sink that is closed then."""
    try:
        yield
    except BaseException:
        query.stop()
        raise


def stop_after_batch(query: "StreamingQuery", checkpoint: Path) -> None:
    """Stop the query once the micro-batch at hand is done (or the limit has passed: then it is repeated)."""
    at_hand = last_planned_batch(checkpoint)
    deadline = time.monotonic() + STOP_LIMIT_S
    while query.isActive and time.monotonic() < deadline:
        if not query.status["isTriggerActive"] or (checkpoint / "commits" / str(at_hand)).exists():
            break
        time.sleep(0.02)
    query.stop()


def reason(error: BaseException) -> str:
    """The line that says what happened: of a Python worker's trace the last one, else the first, without py4j's own before
    an exception of the JVM."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("An error occurred while calling "):
        lines = [lines[1].removeprefix(": "), *lines[2:]]
    if not lines:
        return type(error).__name__
    if any(line.startswith("Traceback ") for line in lines):
        raised = [line for line in lines if _RAISED.match(line)]
        return raised[-1] if raised else lines[-1]
    return lines[0]


def raise_failure(query: "StreamingQuery", sink_failure: BaseException | None) -> None:
    """Raise JobError with one line if the query failed or what it gave the sink; the sink's error says more than Spark's.

    A SupersededError of the sink is raised as it is.
    """
    if isinstance(sink_failure, SupersededError):
        raise sink_failure
    if sink_failure is not None:
        raise JobError(f"the micro-batch cannot be written: {reason(sink_failure)}") from sink_failure
    failure = query.exception()
    if failure is not None:
        raise JobError(f"the query failed: {reason(failure)}") from failure
