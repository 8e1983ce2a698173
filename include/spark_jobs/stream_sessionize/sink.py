"""What foreachBatch calls: a micro-batch's changes are collected here and written while Spark goes on to the next one.

Spark lists a micro-batch as done when it has been collected, and PostgreSQL commits it beside the next one: the processor
of the one and the disk of the other need not wait for each other. So the ledger may be one micro-batch behind Spark's
commit log, never more: the next one waits here. After a crash Spark is taken back to where the ledger stands
(`rewind.py`). Why, and what it gains: docs/adr/0031.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from include.spark_jobs.stream_sessionize.changes import decode_tally, readings_from_ipc
from include.spark_jobs.stream_sessionize.generations import Generation, batch_offsets
from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch
from include.spark_jobs.stream_sessionize.progress import BucketClocks
from include.spark_jobs.stream_sessionize.writer import MicroBatchWriter, ms_since

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_KEPT_PHASES = 200


class MicroBatchSink:
    """Has `writer` write one micro-batch at a time, `behind` Spark's back or, if not, before Spark goes on.

    `failure` is why a micro-batch could not be written: no other one is then. `collected_at` (time.monotonic()) is when the
    newest one had come from the Python workers.
    """

    def __init__(
        self, writer: MicroBatchWriter, topic: str, generation: Generation, *, behind: bool = True
    ) -> None:
        self._writer = writer
        self._topic = topic
        self._generation = generation
        self._behind = behind
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._at_hand: Future[None] | None = None
        self._phases: dict[int, dict[str, int]] = {}
        self.clocks = BucketClocks()
        self.collected_at = time.monotonic()
        self.failure: BaseException | None = None

    def __call__(self, output: "DataFrame", batch_id: int) -> None:
        """Collect `output` (`changes.OUTPUT_SCHEMA`), wait for the micro-batch before, and have this one written.

        Raises `failure` if that one failed (or this one, where nothing is written behind): the query then fails.
        """
        started = time.monotonic()
        rows = output.toArrow().to_pydict()
        self.collected_at = time.monotonic()
        phases = {"writer.collect": ms_since(started)}
        started = time.monotonic()
        self.wait()
        self._raise_if_failed()
        phases["writer.wait"] = ms_since(started)
        try:
            start, end = batch_offsets(self._generation, self._topic, batch_id)
            tallies = [decode_tally(raw) for raw in rows["tally"]]
            batch = MicroBatch(batch_id, start, end, readings_from_ipc(rows["upserts"]), tallies)
        except BaseException as error:
            self.failure = error
            raise
        self.clocks.advance(batch_id, rows["bucket"], [tally.clock_ms for tally in tallies])
        self._at_hand = self._thread.submit(self._write, batch, phases)
        if not self._behind:
            started = time.monotonic()
            self.wait()
            self._raise_if_failed()
            self._phases[batch_id]["writer.wait"] += ms_since(started)

    def phases(self, batch_id: int) -> dict[str, int] | None:
        """Durations in ms of a recent micro-batch's phases; None before it is written.

        `writer.collect` is Spark at work, `writer.wait` Spark waiting for the writer; both are in Spark's `addBatch`.
        """
        return self._phases.get(batch_id)

    def wait(self) -> None:
        """Return when nothing is being written; whether it was written is in `failure`."""
        if self._at_hand is not None:
            wait([self._at_hand])

    def close(self) -> None:
        """Let what is being written come to its end, and close the connection."""
        self._thread.shutdown()
        self._writer.close()

    def _write(self, batch: MicroBatch, phases: dict[str, int]) -> None:
        try:
            self._writer.write(batch)
        except BaseException as error:  # noqa: BLE001 - told to whoever looks: `failure`
            self.failure = error
            return
        kept = list(self._phases.items())[-_KEPT_PHASES:]
        self._phases = {**dict(kept), batch.batch_id: {**phases, **self._writer.phases}}

    def _raise_if_failed(self) -> None:
        if self.failure is not None:
            raise self.failure
