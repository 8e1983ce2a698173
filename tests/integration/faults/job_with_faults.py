"""The stream's job, struck by the faults of a plan: `spark-submit` runs this in the place of job.py.

The job is imported as it is. What is wrapped are calls that mark a phase: a strike happens in the driver, at the
phase, and kills at once, so no timing of the test decides where it lands. Each is noted before.
"""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pyarrow as pa
from adbc_driver_manager.dbapi import Cursor

from include.common.settings import require
from include.spark_jobs.stream_sessionize import job, writer
from include.spark_jobs.stream_sessionize.landing import LandingFile
from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch
from include.spark_jobs.stream_sessionize.sink import MicroBatchSink
from include.spark_jobs.stream_sessionize.writer import MicroBatchWriter
from tests.integration.faults.plan import FILLER, Fault, Hit, Kind, Phase, Plan
from tests.integration.stream_support import python_workers

LEAST_ROWS_OF_A_COPY = 100
"""Half of fewer might stay in libpq's buffer, and PostgreSQL would not be in the middle of anything."""
_LIMIT_S = 10.0


class Striker:
    """Counts how often phases are passed, and strikes when a fault is due."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._faults = deque(plan.faults)
        self._passes = 0
        self.checkpoint = Path()

    def next_is(self, phase: Phase, *kinds: Kind) -> bool:
        """Whether the next fault is of `phase` and one of `kinds` (any, where none is given)."""
        return bool(self._faults) and self._faults[0].phase is phase and (
            not kinds or self._faults[0].kind in kinds
        )  # fmt: skip

    def pass_through(
        self, phase: Phase, batch_id: int, look: Callable[[], dict[str, Any] | None] = dict
    ) -> None:
        """Micro-batch `batch_id` passes `phase`: strike if it is time to. `look` gives the hit's detail, None where the
        phase is not reached after all."""
        if not self.next_is(phase):
            return
        self._passes += 1
        if self._passes < self._faults[0].passes:
            return
        detail = look()
        if detail is None:
            return
        workers: list[psutil.Process] = []
        if self._faults[0].kind is Kind.WORKER:
            workers = python_workers(os.getsid(0))
            if not workers:
                return
            detail["workers"] = [worker.pid for worker in workers]
        fault, self._passes = self._faults.popleft(), 0
        self._plan.note(Hit(fault.kind, phase, batch_id, detail))
        print(f"job_with_faults: {fault} strikes micro-batch {batch_id}", flush=True)
        self._strike(fault, workers)

    def _strike(self, fault: Fault, workers: Sequence[psutil.Process]) -> None:
        if fault.kind is Kind.DRIVER:
            os.killpg(os.getpgrp(), signal.SIGKILL)  # spark-submit's JVM leads the group
            signal.pause()
        elif fault.kind is Kind.WORKER:
            for worker in workers:  # all: one alone may be idle at this moment
                worker.kill()
        elif fault.kind is Kind.DISK_FULL:
            fill_disk(self.checkpoint.parent / FILLER)
        else:
            kill_family(self._plan.pids[fault.kind])


def kill_family(pid: int) -> None:
    """kill -9 of a server and all its children at once; returns when they are gone."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(family, timeout=_LIMIT_S)
    if alive:
        raise RuntimeError(f"kill -9 did not end {alive}")


def fill_disk(path: Path) -> None:
    """Write `path` until its disk has no byte left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:  # no space for so much
                continue


def state_commits(checkpoint: Path, version: int) -> dict[str, tuple[int, int]]:
    """Changelogs that state stores have committed for `version`: partition -> (inode, time of the file)."""
    found = {}
    for folder in (checkpoint / "state" / "0").glob("[0-9]*"):
        for path in folder.glob(f"{version}*.changelog"):
            if path.name.split(".")[0].split("_")[0] == str(version):
                stat = path.stat()
                found[folder.name] = (stat.st_ino, stat.st_mtime_ns)
    return found


def watch_state_commit(striker: Striker, version: int, stores: int, done: threading.Event) -> None:
    """Pass the phase when some of `stores` have committed `version` (again, if it is a repeat) and some have not."""
    before = state_commits(striker.checkpoint, version)
    while not done.is_set():
        now = state_commits(striker.checkpoint, version)
        fresh = sorted(partition for partition, mark in now.items() if before.get(partition) != mark)
        if 0 < len(fresh) < stores:
            detail = {"committed": fresh, "stores": stores}
            striker.pass_through(Phase.STATE_COMMIT, version - 1, partial(dict[str, Any], detail))
            return
        time.sleep(0.0005)


def not_yet_in_spark(striker: Striker, batch_id: int) -> dict[str, Any] | None:
    """None where Spark has listed the micro-batch as done already."""
    listed = _spark_lists(striker, batch_id)
    return None if listed else {"spark_lists_it": listed}


def _spark_lists(striker: Striker, batch_id: int) -> bool:
    return (striker.checkpoint / "commits" / str(batch_id)).exists()


def spark_committed(striker: Striker, batch_id: int) -> dict[str, Any] | None:
    """Wait until Spark lists the micro-batch as done: it does not wait for PostgreSQL."""
    return {} if _await(partial(_spark_lists, striker, batch_id)) else None


def overtaken(striker: Striker, batch_id: int, stores: int) -> dict[str, Any] | None:
    """Wait until all `stores` have committed the micro-batch after this one; None where there is no next one."""
    found = partial(state_commits, striker.checkpoint, batch_id + 2)
    return (
        {"committed": sorted(found()), "stores": stores} if _await(lambda: len(found()) == stores) else None
    )


def _await(has_come: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + _LIMIT_S
    while not (come := has_come()) and time.monotonic() < deadline:
        time.sleep(0.002)
    return come


def halves(striker: Striker, batch_id: int, dsn: str, table: pa.Table) -> pa.RecordBatchReader:
    """`table` in two parts; between them, once PostgreSQL has taken bytes of the first, it is mid-COPY."""

    def part() -> Iterator[pa.RecordBatch]:
        middle = table.num_rows // 2
        yield from table.slice(0, middle).combine_chunks().to_batches()
        striker.pass_through(
            Phase.COPY,
            batch_id,
            lambda: {"rows": table.num_rows, "rows_sent": middle, "bytes_taken": bytes_taken(dsn, "staged")},
        )
        yield from table.slice(middle).combine_chunks().to_batches()

    return pa.RecordBatchReader.from_batches(table.schema, part())


def bytes_taken(dsn: str, temporary_table: str) -> int:
    """Bytes that the COPY that runs into a temporary table has read; waits for the first."""
    query = (
        "SELECT max(copy.bytes_processed) FROM pg_stat_progress_copy AS copy"
        " INNER JOIN pg_class AS class ON class.oid = copy.relid WHERE class.relname = %s"
    )
    deadline = time.monotonic() + _LIMIT_S
    with psycopg.connect(dsn, autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute(query, (temporary_table,)).fetchone()
            if row is not None and row[0]:
                return int(row[0])
            time.sleep(0.001)
    raise RuntimeError(f"no COPY into {temporary_table} has read a byte")


def install(striker: Striker) -> None:
    """Wrap the calls that mark phases; methods are replaced on purpose, which is what the ignores below are for."""
    dsn = require("WEBTOON_POSTGRES_DSN")
    call, write, ingest, land = (
        MicroBatchSink.__call__, MicroBatchWriter.write, Cursor.adbc_ingest, writer.write_landing,  # type: ignore[attr-defined]
    )  # fmt: skip
    being_written = -1

    def called(self: MicroBatchSink, output: Any, batch_id: int) -> None:
        striker.checkpoint = self._generation.checkpoint
        done = threading.Event()
        if striker.next_is(Phase.STATE_COMMIT, Kind.DISK_FULL):
            striker.pass_through(Phase.STATE_COMMIT, batch_id)
        elif striker.next_is(Phase.STATE_COMMIT):
            stores = self._generation.plan.state_partitions
            threading.Thread(
                target=watch_state_commit, args=(striker, batch_id + 1, stores, done), daemon=True
            ).start()
        try:
            call(self, output, batch_id)
        finally:
            done.set()
        if striker.next_is(Phase.COMMITTED):
            self.wait()  # as where PostgreSQL is faster than Spark

    def written(self: MicroBatchWriter, batch: MicroBatch) -> bool:
        nonlocal being_written
        being_written = batch.batch_id
        stores = self._generation.plan.state_partitions
        if striker.next_is(Phase.BEHIND) or striker.next_is(Phase.OVERTAKEN):
            self._connect()  # a connection made after the kill would find the server up again, and commit
        striker.pass_through(Phase.BEHIND, being_written, partial(spark_committed, striker, being_written))
        striker.pass_through(
            Phase.OVERTAKEN, being_written, partial(overtaken, striker, being_written, stores)
        )
        applied = write(self, batch)
        if applied:
            striker.pass_through(
                Phase.COMMITTED, being_written, partial(not_yet_in_spark, striker, being_written)
            )
        return applied

    def landed(*arguments: Any) -> LandingFile:
        landing = land(*arguments)
        if landing.path is not None:
            striker.pass_through(
                Phase.LANDING, being_written, lambda: {"path": landing.path, "rows": landing.rows}
            )
        return landing

    def ingested(self: Cursor, table_name: str, data: pa.Table, *arguments: Any, **options: Any) -> int:
        if table_name == "staged" and data.num_rows >= LEAST_ROWS_OF_A_COPY and striker.next_is(Phase.COPY):
            return int(
                ingest(self, table_name, halves(striker, being_written, dsn, data), *arguments, **options)
            )
        return int(ingest(self, table_name, data, *arguments, **options))

    MicroBatchSink.__call__ = called  # type: ignore[method-assign]
    MicroBatchWriter.write = written  # type: ignore[method-assign]
    Cursor.adbc_ingest = ingested
    writer.write_landing = landed  # type: ignore[attr-defined,assignment]


if __name__ == "__main__":
    install(Striker(Plan.from_env()))
    sys.exit(job.main())
