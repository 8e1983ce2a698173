"""Micro-batches are written behind Spark's back, one at a time, and a failure is never overlooked."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from include.spark_jobs.stream_sessionize.changes import Tally, encode_tally
from include.spark_jobs.stream_sessionize.generations import Generation, Plan
from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch
from include.spark_jobs.stream_sessionize.progress import ProgressRecorder
from include.spark_jobs.stream_sessionize.sink import MicroBatchSink

TOPIC = "events"


class Output:
    """A DataFrame of one bucket's changes."""

    def toArrow(self) -> pa.Table:
        tally = Tally([], [], accepted=1, duplicates=0, dead_letters=0, max_kafka_ms=5, clock_ms=7)
        return pa.table({"bucket": [3], "upserts": [b""], "tally": [encode_tally(tally)]})


class Writer:
    """Takes as long as the test likes, and fails if it is told to."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.fails = False
        self.began: list[int] = []
        self.written: list[int] = []
        self.at_once = 0
        self.closed = False
        self.phases: dict[str, int] = {}

    def write(self, batch: MicroBatch) -> bool:
        self.began.append(batch.batch_id)
        self.at_once = max(self.at_once, len(self.began) - len(self.written))
        assert self.may_end.wait(20)
        if self.fails:
            raise OSError("no space left")
        self.phases = {"writer.commit": batch.batch_id}
        self.written.append(batch.batch_id)
        return True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.may_end.set()


def sink_of(writer: Any, checkpoint: Path, *, behind: bool = True) -> MicroBatchSink:
    (checkpoint / "offsets").mkdir()
    for number in range(4):
        entry = ["v1", "{}", json.dumps({TOPIC: {"0": number + 1}})]
        (checkpoint / "offsets" / str(number)).write_text("\n".join(entry))
    generation = Generation(1, checkpoint, {"0": 0}, Plan())
    return MicroBatchSink(writer, TOPIC, generation, behind=behind)


class Call(threading.Thread):
    """Spark's call for one micro-batch, in a thread of its own; `error` is what it raised."""

    def __init__(self, sink: MicroBatchSink, batch_id: int) -> None:
        super().__init__(daemon=True)
        self.error: OSError | None = None
        self._sink = sink
        self._batch_id = batch_id
        self.start()

    def run(self) -> None:
        output: Any = Output()
        try:
            self._sink(output, self._batch_id)
        except OSError as error:
            self.error = error


def test_spark_goes_on_while_a_micro_batch_is_written_and_waits_at_the_next(
    writer: Writer, tmp_path: Path
) -> None:
    sink = sink_of(writer, tmp_path)
    first = Call(sink, 0)
    first.join(20)
    assert not first.is_alive()
    assert writer.written == []
    second = Call(sink, 1)
    second.join(0.3)
    assert second.is_alive(), "two micro-batches were ahead of the ledger"
    assert writer.began in ([], [0])
    writer.may_end.set()
    second.join(20)
    sink.wait()
    assert writer.written == [0, 1]
    assert writer.at_once == 1
    assert sink.clocks.after(1)[0] is not None
    sink.close()
    assert writer.closed


def test_a_micro_batch_that_must_not_be_behind_is_written_before_spark_goes_on(
    writer: Writer, tmp_path: Path
) -> None:
    sink = sink_of(writer, tmp_path, behind=False)
    first = Call(sink, 0)
    first.join(0.3)
    assert first.is_alive()
    writer.may_end.set()
    first.join(20)
    assert not first.is_alive()
    assert writer.written == [0]


@pytest.mark.parametrize("behind", [True, False])
def test_a_failure_is_told_at_once_and_nothing_is_written_after_it(
    writer: Writer, tmp_path: Path, behind: bool
) -> None:
    sink = sink_of(writer, tmp_path, behind=behind)
    writer.fails = True
    writer.may_end.set()
    first = Call(sink, 0)
    first.join(20)
    sink.wait()
    assert isinstance(sink.failure, OSError)
    assert (first.error is None) is behind
    second = Call(sink, 1)
    second.join(20)
    assert second.error is sink.failure
    assert writer.began == [0]


def test_closing_waits_for_what_is_being_written(writer: Writer, tmp_path: Path) -> None:
    sink = sink_of(writer, tmp_path)
    Call(sink, 0).join(20)
    closing = threading.Thread(target=sink.close, daemon=True)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    assert not writer.closed
    writer.may_end.set()
    closing.join(20)
    assert writer.written == [0]
    assert writer.closed


class Told:
    """A StreamingQueryProgress; counts how often it was read."""

    def __init__(self, batch_id: int, second: int, rows: int = 9) -> None:
        self._batch_id = batch_id
        self._rows = rows
        self._timestamp = f"2026-06-01T00:00:{second:02}.000Z"
        self.read = 0

    def timestamp(self) -> str:
        return self._timestamp

    def json(self) -> str:
        self.read += 1
        return json.dumps(
            {
                "batchId": self._batch_id, "timestamp": self._timestamp, "numInputRows": self._rows,
                "durationMs": {"triggerExecution": 50}, "sources": [{}], "stateOperators": [],
            }
        )  # fmt: skip


class Query:
    """A query that has told this, as far as Spark knows."""

    def __init__(self, *told: Told) -> None:
        self.told = list(told)

    @property
    def _jsq(self) -> "Query":
        return self

    def recentProgress(self) -> list[Told]:
        return self.told


class Connection:
    """Keeps what is inserted."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, int]]] = []

    def execute(self, query: str, values: tuple[Any, ...]) -> None:
        self.rows.append((values[1], values[3].obj))


def test_progress_is_stored_once_a_micro_batch_is_written_and_has_all_phases(
    writer: Writer, tmp_path: Path
) -> None:
    sink = sink_of(writer, tmp_path)
    connection: Any = Connection()
    query: Any = Query(Told(0, 1), Told(1, 2))
    recorder = ProgressRecorder(connection, 1, TOPIC, sink.phases, sink.clocks.after)
    Call(sink, 0).join(20)
    assert recorder.record(query) == 0
    writer.may_end.set()
    sink.wait()
    assert recorder.record(query) == 1
    Call(sink, 1).join(20)
    sink.wait()
    assert recorder.record(query) == 1
    assert [batch_id for batch_id, _ in connection.rows] == [0, 1]
    for batch_id, durations in connection.rows:
        assert durations["writer.commit"] == batch_id
        assert durations.keys() == {"triggerExecution", "writer.collect", "writer.wait", "writer.commit"}


def test_what_spark_tells_of_an_idle_query_is_read_once() -> None:
    connection: Any = Connection()
    query: Any = Query(Told(0, 0), *(Told(1, 10 * n, rows=0) for n in range(1, 5)))
    recorder = ProgressRecorder(connection, 1, TOPIC, lambda batch_id: {}, lambda batch_id: (None, None))
    assert [recorder.record(query) for _ in range(5)] == [1, 0, 0, 0, 0]
    assert [told.read for told in query.told] == [1, 1, 1, 1, 1]
    query.told += [Told(1, 50), Told(2, 55, rows=0)]
    assert [recorder.record(query) for _ in range(5)] == [1, 0, 0, 0, 0]
    assert [told.read for told in query.told] == [1] * 7
    assert [batch_id for batch_id, _ in connection.rows] == [0, 1]
