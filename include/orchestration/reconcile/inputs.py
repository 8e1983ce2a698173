"""What a look at any day rests on, read from the stores. features__backfill plans by it, too."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from include.common.backfills import newest_backfills
from include.common.erasure.erasures import erased_readers
from include.common.hive.metastore import Metastore
from include.common.hive.tables import SESSION_FEATURES, SLICE_TABLES
from include.common.names import Dag
from include.common.retention import RAW_EVENTS_DAYS, days_kept
from include.orchestration.reconcile import published as store
from include.orchestration.reconcile.archive import read_archive
from include.orchestration.reconcile.day import Inputs
from include.orchestration.reconcile.duck import row_count
from include.orchestration.reconcile.engine import Source
from include.orchestration.reconcile.model import Day, ReconcileError

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Stores:
    """What is compared. `connection` is in autocommit."""

    connection: psycopg.Connection
    metastore: Metastore
    warehouse: Path
    topic: str
    erasure_key: bytes = field(default=b"", repr=False)
    """By which erased readers are told; needed as soon as there is one."""


def read_inputs(stores: Stores, duck: "duckdb.DuckDBPyConnection") -> Inputs:
    """One look at all stores. Raises ReconcileError where nothing was published yet."""
    ensure_tables(stores)
    # in this order: what PostgreSQL lists is in Hive, and what Hive holds beyond it is seen to be ahead
    published = store.find_published(stores.connection, stores.topic)
    if published is None:
        raise ReconcileError(
            f"no session_features were published yet: run {Dag.MODEL}, {Dag.PUBLISH_BATCH} follows it"
        )
    archived_rows = store.archived_rows(stores.connection)
    episodes, backfills = store.episode_versions(stores.connection), newest_backfills(stores.connection)
    locations, archive = session_locations(stores), read_archive(stores.metastore)
    # after the look at the archive: what it has lost by then is older
    oldest = datetime.now(UTC) - timedelta(days=days_kept(stores.connection)[RAW_EVENTS_DAYS])
    source = Source(
        stores.topic,
        archive,
        lambda generation, from_ms, to_ms, day: store.late_events(
            stores.connection, stores.topic, generation, from_ms, to_ms, day
        ),
        is_whole=row_count(duck, archive.all_files()) >= archived_rows,
        kept_from_ms=Day(oldest.date()).from_ms,
    )
    erased = erased_readers(stores.connection, stores.erasure_key)
    return Inputs(source, published, locations, episodes, backfills, erased)


def ensure_tables(stores: Stores) -> None:
    """Nothing may have been quarantined yet."""
    for table in (*SLICE_TABLES, SESSION_FEATURES):
        stores.metastore.ensure_table(table, stores.warehouse)


def session_locations(stores: Stores) -> dict[str, Path]:
    """Folder of every partition of session_features, by dt."""
    return {dt: path for (dt,), path in stores.metastore.all_locations(SESSION_FEATURES).items()}
