"""The writer: a landing file and one PostgreSQL transaction a micro-batch.

The transaction checks that this generation may write (the current one `realtime`, a shadow `realtime_shadow`) and
loads the changes by ADBC's COPY while the landing file is written beside it. Once that is on the disk, it claims
(generation, batch_id) in the ledger, removes re-keyed rows, upserts the others, folds the differences into users and
episodes and keeps late events. A micro-batch that the ledger already lists is not applied again, so a repeat after a
crash between this commit and Spark's changes nothing.
"""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from include.common.names import Pg
from include.spark_jobs.stream_sessionize.changes import late_to_arrow, removed_to_arrow
from include.spark_jobs.stream_sessionize.generations import (
    SCHEMAS,
    Generation,
    SupersededError,
)
from include.spark_jobs.stream_sessionize.landing import LandingFile, write_landing
from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch
from include.spark_jobs.stream_sessionize.statements import APPLY, OLD_ROWS, TEMPORARY_TABLES, statements


class LedgerError(RuntimeError):
    """The ledger contradicts this micro-batch or generation: nothing was written; the message says why."""


class MicroBatchWriter:
    """Applies micro-batches of one generation, in order; holds one connection and opens it again if lost. `phases` has
    the durations (ms) of the newest one."""

    def __init__(self, dsn: str, landing_dir: Path, topic: str, generation: Generation) -> None:
        self._dsn = dsn
        self._landing_dir = landing_dir
        self._topic = topic
        self._generation = generation
        self._connection: Any = None
        self.phases: dict[str, int] = {}
        self.on_commit: Callable[[MicroBatch], None] | None = None

    def write(self, batch: MicroBatch) -> bool:
        """Land and commit `batch`; False where the ledger has it already.

        Raises LedgerError, SupersededError, OSError (landing) or adbc_driver_manager.Error. Nothing counts then,
        unless only the answer to COMMIT was lost: the ledger tells at the next start.
        """
        batch = batch.from_start(self._generation.plan.publish_from_ms).one_row_a_key()
        self.phases = {}
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                applied = self._apply(cursor, batch)
            started = time.monotonic()
            connection.commit()
            self._clock("commit", started)
        except BaseException:
            # also on interrupt: a half-done transaction must not be continued by the next micro-batch
            self.close()
            raise
        if applied and self.on_commit is not None:
            self.on_commit(batch)
        return applied

    def close(self) -> None:
        """Close the connection, rolling back what is open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Any:
        from adbc_driver_postgresql import dbapi

        if self._connection is None:
            self._connection = dbapi.connect(self._dsn)
            with self._connection.cursor() as cursor:
                for name in TEMPORARY_TABLES:
                    cursor.execute(statements()[name])
            self._connection.commit()
        return self._connection

    def _apply(self, cursor: Any, batch: MicroBatch) -> bool:
        texts = statements(self._schema(cursor))
        if self._is_known(cursor, batch):
            return False
        has_rows = bool(batch.upserts.num_rows or batch.total_deletes)
        with ThreadPoolExecutor(1, thread_name_prefix="landing") as beside:
            landing = beside.submit(self._land, batch)
            if has_rows:
                self._load(cursor, batch, texts)
        position = self._claim(cursor, batch, landing.result())
        if has_rows:
            values = (self._generation.number, batch.batch_id, position)
            for name, parameters in APPLY:
                self._run(cursor, name, texts, *values[:parameters])
        if batch.total_late:
            late = late_to_arrow(batch.tallies, self._topic, self._generation.number, batch.batch_id)
            schema, table = Pg.LATE_EVENTS.split(".")
            cursor.adbc_ingest(table, late, mode="append", db_schema_name=schema)
        return True

    def _land(self, batch: MicroBatch) -> LandingFile:
        import pyarrow.compute as pc

        started = time.monotonic()
        final = batch.upserts.filter(pc.field("is_final"))
        landing = write_landing(self._landing_dir, self._generation.number, batch.batch_id, final)
        self._clock("landing", started)
        return landing

    def _schema(self, cursor: Any) -> str:
        """Where this generation's rows stand now; a swap waits for this lock. Raises SupersededError, LedgerError."""
        cursor.execute(
            f"SELECT status FROM {Pg.STREAM_GENERATIONS} WHERE generation = $1 FOR SHARE",  # noqa: S608  a constant
            parameters=(self._generation.number,),
        )
        row = cursor.fetchone()
        if row is None:
            raise LedgerError(f"generation {self._generation.number} is not in {Pg.STREAM_GENERATIONS}")
        if row[0] not in SCHEMAS:
            raise SupersededError(
                f"generation {self._generation.number} is {row[0]}: only the current one and a shadow may commit"
            )
        return SCHEMAS[row[0]]

    def _is_known(self, cursor: Any, batch: MicroBatch) -> bool:
        """Whether the ledger lists the micro-batch; raises LedgerError if it does with other offsets."""
        cursor.execute(
            f"SELECT start_offsets::text, end_offsets::text FROM {Pg.STREAM_BATCHES}"  # noqa: S608  a constant
            " WHERE generation = $1 AND batch_id = $2",
            parameters=(self._generation.number, batch.batch_id),
        )
        known = cursor.fetchone()
        if known is None:
            return False
        start, end = map(json.loads, known)
        if (start, end) != (batch.start, batch.end):
            raise LedgerError(
                f"micro-batch {batch.batch_id} of generation {self._generation.number} is in the ledger with offsets "
                f"{start} to {end}, Spark now plans {batch.start} to {batch.end}: checkpoint and database are of "
                f"different runs. Restore the checkpoint, or start a new generation (docs/runbooks/stream_sessionize.md)"
            )
        return True

    def _claim(self, cursor: Any, batch: MicroBatch, landing: LandingFile) -> int:
        newest_ms = max((tally.max_kafka_ms for tally in batch.tallies), default=-1)
        oldest_ms = min(
            (tally.min_kafka_ms for tally in batch.tallies if tally.min_kafka_ms >= 0), default=-1
        )
        cursor.execute(
            f"INSERT INTO {Pg.STREAM_BATCHES} (generation, batch_id, start_offsets, end_offsets, landing_path,"  # noqa: S608  a constant
            " landing_rows, landing_sha256, events, dead_letters, duplicates, late_events, rows_upserted,"
            " rows_deleted, max_kafka_at, min_kafka_at, erased_events) VALUES ($1, $2, $3::text::jsonb, $4::text::jsonb, $5, $6, $7, $8, $9,"
            " $10, $11, $12, $13, to_timestamp(nullif($14::bigint, -1) / 1000.0),"
            " to_timestamp(nullif($15::bigint, -1) / 1000.0), $16) RETURNING position",
            parameters=(
                self._generation.number,
                batch.batch_id,
                json.dumps(batch.start),
                json.dumps(batch.end),
                landing.path,
                landing.rows,
                landing.sha256,
                batch.total_records,
                batch.total("dead_letters"),
                batch.total("duplicates"),
                batch.total_late,
                batch.upserts.num_rows,
                batch.total_deletes,
                newest_ms,
                oldest_ms,
                batch.total("erased"),
            ),
        )
        return int(cursor.fetchone()[0])

    def _load(self, cursor: Any, batch: MicroBatch, texts: Mapping[str, str]) -> None:
        started = time.monotonic()
        cursor.adbc_ingest("staged", batch.upserts, mode="append", temporary=True)
        if batch.total_deletes:
            cursor.adbc_ingest("removed", removed_to_arrow(batch.tallies), mode="append", temporary=True)
        self._clock("copy", started)
        self._run(cursor, OLD_ROWS, texts)

    def _run(self, cursor: Any, name: str, texts: Mapping[str, str], *parameters: int) -> None:
        started = time.monotonic()
        cursor.execute(texts[name], parameters=parameters or None)
        self._clock(name, started)

    def _clock(self, phase: str, started: float) -> None:
        self.phases[f"writer.{phase}"] = ms_since(started)


def ms_since(started: float) -> int:
    """Milliseconds since `started`, a time.monotonic()."""
    return round((time.monotonic() - started) * 1000)
