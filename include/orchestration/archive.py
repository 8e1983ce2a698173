"""Tasks of events__archive: fix a slice's offsets, gate what was staged, publish it or put it in quarantine.

The functions that end in `_files` do the work on plain paths and are tested without Airflow; the others
take connections and XCom to them.
"""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from include.common.archive import placing as slice_placing
from include.common.archive.accounting import check_slice_accounting
from include.common.archive.quarantined_rows import (
    read_failed_rows,
    sample_offsets,
    stage_quarantined,
    write_failed_rows,
)
from include.common.archive.slice_files import StagedSlice
from include.common.archive.slices import (
    Slice,
    SliceError,
    finished_before,
    load_slice,
    mark_published,
    mark_quarantined,
)
from include.common.archive.slices import record_slice as record_offsets
from include.common.erasure.erasures import erased_readers
from include.common.erasure.staged_slices import erase_staged, keep_empty
from include.common.hive.files import data_files
from include.common.hive.metastore import Metastore, open_metastore
from include.common.hive.schema import HiveTable, location_of
from include.common.hive.table_lock import table_lock
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS
from include.common.kafka.offsets import watermarks
from include.common.names import Dag, Pg
from include.common.postgres import connect
from include.common.thresholds import in_force
from include.orchestration.gate_history.history import slice_history
from include.orchestration.job_environment import (
    data_dir,
    erasure_key,
    events_topic,
    features_dsn,
    kafka_client_config,
    metastore_uri,
)
from include.orchestration.lineage import hive_table, tell

if TYPE_CHECKING:
    import pandas as pd
    import psycopg
    from airflow.sdk import Context

    from include.gx.checkpoints import FailingRows, Subject

log = logging.getLogger(__name__)

GATE = "raw_events"
MAX_RECORDS = 1_500_000
"""Most records of a slice: what the gate can hold in memory (about 1.5 kB each). A backlog takes several runs."""
KEEP_STAGED = timedelta(days=1)
TABLES: Final = (RAW_EVENTS, QUARANTINED_EVENTS, DEAD_LETTERS)
_APPLICATION = Dag.ARCHIVE
RECORD_TASK, STAGE_TASK, GATE_TASK = "record_slice", "archive_slice", "gate_raw"


@dataclass(frozen=True)
class Stores:
    """What placing a slice works on."""

    connection: "psycopg.Connection"
    metastore: Metastore
    data: Path
    erasure_key: bytes = field(default=b"", repr=False)
    """By which erased readers are told; needed as soon as there is one."""

    @property
    def warehouse(self) -> Path:
        """Root of the Hive tables."""
        return self.data / "warehouse"

    def staged(self, piece: Slice) -> StagedSlice:
        """Where the slice is staged."""
        return StagedSlice.of(self.data / "staging", piece.slice_id)

    def place(self, table: HiveTable, piece: Slice, staged: Path | None) -> int:
        """Make the table show `staged` as all there is of the slice (None: nothing of it); returns rows."""
        return slice_placing.place_slice(self.metastore, table, self.warehouse, piece, staged)

    def files(self, table: HiveTable, piece: Slice) -> list[Path]:
        """Files that readers of the table see and that hold rows of the slice; a compacted one holds others', too."""
        return slice_placing.shown_files(self.metastore, table, self.warehouse, piece)

    def check_placed(self, piece: Slice) -> None:
        """produced = archived + quarantined + dead letters, in what readers see now. Raises SliceAccountingError."""
        slice_placing.check_placed(self.metastore, TABLES, self.warehouse, piece)


Work = Callable[[Stores, Slice], dict[str, Any]]
"""Places a slice; returns its counts. It holds the tables' locks (`with_slice`)."""


def record_slice(*, run_id: str, max_records: int = MAX_RECORDS) -> str | None:
    """Fix this run's offsets; the slice's id, or None where nothing new was produced (the run ends there)."""
    topic = events_topic()
    held = watermarks(kafka_client_config(), topic)
    with connect(features_dsn(), application_name=_APPLICATION, autocommit=True) as connection:
        piece = record_offsets(connection, run_id, topic, held, max_records)
    if piece is None:
        log.info("nothing new on %s", topic)
        return None
    log.info("slice %s: %d records, %s to %s", piece.slice_id, piece.produced, piece.start, piece.end)
    return piece.slice_id


def raw_gate_subjects(context: "Context") -> "list[Subject]":
    """What gate_raw checks: the slice that this run staged."""
    from include.gx.checkpoints import Subject
    from include.gx.suites.raw_events import DRIFT_COLUMNS, RawGateLimits, build_suite, raw_frame

    slice_id = context["ti"].xcom_pull(task_ids=RECORD_TASK)
    staged = StagedSlice.of(data_dir() / "staging", slice_id)
    staged.check_whole()
    with connect(features_dsn(), application_name=_APPLICATION, autocommit=True) as connection:
        episodes, thresholds = reference_of_gate(connection)
        history = slice_history(connection, slice_id, GATE, DRIFT_COLUMNS, thresholds)
    frame = raw_frame(data_files(staged.events), data_files(staged.dead_letters), episodes)
    limits = RawGateLimits.of(thresholds)
    return [
        Subject(
            f"{GATE}_{slice_id}",
            lambda: build_suite(limits, history),
            lambda gx_context: frame,
            failing_rows=keep_failing_rows(frame, staged, events_topic()),
        )
    ]


def keep_failing_rows(frame: "pd.DataFrame", staged: StagedSlice, topic: str) -> "FailingRows":
    """`Subject.failing_rows` of the raw gate: writes them beside the staged slice, for quarantine."""

    def keep(failed: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[str]]:
        import pyarrow as pa

        keys = frame[["kafka_partition", "kafka_offset"]]
        write_failed_rows(
            staged.failed_rows,
            {
                name: pa.Table.from_pandas(keys.loc[list(labels)], preserve_index=False)
                for name, labels in failed.items()
            },
        )
        return sample_offsets(read_failed_rows(staged.failed_rows, failed), topic)

    return keep


def reference_of_gate(connection: "psycopg.Connection") -> tuple[dict[str, str | None], dict[str, float]]:
    """Genre by known episode id, and the thresholds in force; raises SliceError where no reference was loaded."""
    rows = connection.execute(
        f"SELECT DISTINCT ON (episode_id) episode_id, genre FROM {Pg.EPISODE_METADATA} "  # noqa: S608  a constant
        "ORDER BY episode_id, valid_from DESC"
    )
    episodes: dict[str, str | None] = dict(rows.fetchall())
    if not episodes:
        raise SliceError(f"{Pg.EPISODE_METADATA} is empty: run DAG reference__load, then clear this task")
    return episodes, in_force(connection)


def publish_slice(*, slice_id: str) -> dict[str, Any]:
    """Publish the staged slice; returns its counts."""
    counts = with_stores(slice_id, publish_slice_files)
    _tell_placed(RAW_EVENTS)
    return counts


def quarantine_slice(*, slice_id: str) -> dict[str, Any]:
    """Put the slice that gate_raw refused into quarantine; skipped where the gate failed for another reason."""
    from airflow.sdk import get_current_context
    from airflow.sdk.exceptions import AirflowSkipException

    failed = refused_expectations(get_current_context())
    if not failed:
        raise AirflowSkipException("gate_raw gave no verdict on this slice: mend what failed and clear it")
    counts = with_stores(slice_id, lambda stores, piece: quarantine_slice_files(stores, piece, failed))
    _tell_placed(QUARANTINED_EVENTS)
    return counts


def refused_expectations(context: "Context") -> list[str]:
    """Names of the critical expectations that this try's gate found failed; empty without a verdict."""
    from include.orchestration.gates import FAILED_KEY

    ti, run = context["ti"], context["dag_run"]
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[GATE_TASK], run_ids=[run.run_id])
    # an upstream failure leaves the verdict of an earlier try in XCom
    if states.get(run.run_id, {}).get(GATE_TASK) != "failed":
        return []
    return list(ti.xcom_pull(task_ids=GATE_TASK, key=FAILED_KEY) or [])


def publish_slice_files(stores: Stores, piece: Slice) -> dict[str, Any]:
    """Move staged events to raw_events and dead letters to dead_letters. Safe to repeat.

    Raises SliceError, SliceAccountingError (an offset missing or double): nothing then counts as published.
    """
    staged = _ready_staged(stores, piece)
    archived = stores.place(RAW_EVENTS, piece, staged.events)
    stores.place(QUARANTINED_EVENTS, piece, None)
    dead_letters = stores.place(DEAD_LETTERS, piece, staged.dead_letters)
    stores.check_placed(piece)
    mark_published(stores.connection, piece, archived, dead_letters)
    return counts_of(piece, archived=archived, quarantined=0, dead_letters=dead_letters)


def quarantine_slice_files(stores: Stores, piece: Slice, failed_expectations: list[str]) -> dict[str, Any]:
    """Move staged events to quarantined_events, out of raw_events, and dead letters to dead_letters."""
    staged = _ready_staged(stores, piece)
    failed_rows = read_failed_rows(staged.failed_rows, failed_expectations)
    shutil.rmtree(staged.quarantined, ignore_errors=True)
    stage_quarantined(staged.events, staged.quarantined, failed_expectations, failed_rows)
    stores.place(RAW_EVENTS, piece, None)
    quarantined = stores.place(QUARANTINED_EVENTS, piece, staged.quarantined)
    dead_letters = stores.place(DEAD_LETTERS, piece, staged.dead_letters)
    stores.check_placed(piece)
    mark_quarantined(
        stores.connection,
        piece,
        quarantined,
        dead_letters,
        gate=GATE,
        failed_expectations=failed_expectations,
        sample_offsets=sample_offsets(failed_rows, piece.topic),
    )
    return counts_of(piece, archived=0, quarantined=quarantined, dead_letters=dead_letters)


def remove_old_staging(stores: Stores, now: datetime) -> None:
    """Delete staged files of slices that ended more than KEEP_STAGED ago, unless they were staged anew since."""
    moment = now - KEEP_STAGED
    for slice_id in finished_before(stores.connection, moment):
        staged = StagedSlice.of(stores.data / "staging", slice_id)
        if staged.folder.exists() and staged.folder.stat().st_mtime < moment.timestamp():
            staged.remove()


def with_stores(slice_id: str, work: Work) -> dict[str, Any]:
    """Open the stores and do `work` on the slice (`with_slice`); returns what it returns."""
    with (
        connect(features_dsn(), application_name=_APPLICATION, autocommit=True) as connection,
        open_metastore(metastore_uri()) as metastore,
    ):
        stores = Stores(connection, metastore, data_dir(), erasure_key())
        counts = with_slice(stores, slice_id, work)
        remove_old_staging(stores, datetime.now(UTC))
    log.info("slice %s: %s", slice_id, counts)
    return counts


def with_slice(stores: Stores, slice_id: str, work: Work) -> dict[str, Any]:
    """Do `work(stores, slice)` while nobody else changes what the archive's tables show; returns its counts."""
    with table_lock(stores.connection, *TABLES):
        return work(stores, load_slice(stores.connection, slice_id))


def _tell_placed(events: HiveTable) -> None:
    tell(
        reads=[location_of(data_dir() / "staging")],
        writes=[hive_table(events.name), hive_table(DEAD_LETTERS.name)],
    )


def _ready_staged(stores: Stores, piece: Slice) -> StagedSlice:
    """What is staged, less readers that were erased since; whole, and with every offset."""
    staged = stores.staged(piece)
    staged.check_whole()
    # under the tables' locks: an erasure that is not seen here has yet to come to the archive's tables itself
    if erased := erased_readers(stores.connection, stores.erasure_key):
        erase_staged(staged, erased.__contains__)
        keep_empty(staged, stores.files(DEAD_LETTERS, piece))
    check_slice_accounting(piece, [*data_files(staged.events), *data_files(staged.dead_letters)])
    return staged


def counts_of(piece: Slice, **counts: int) -> dict[str, Any]:
    """What became of the slice's records."""
    return {"slice_id": piece.slice_id, "produced": piece.produced, **counts}
