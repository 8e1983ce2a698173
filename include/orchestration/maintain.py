"""Tasks of ops__maintain: small files put together, old partitions and landing files gone, leftovers removed.

Each is safe to repeat and to be killed. With `dry_run` each says what it would do and changes nothing. The
functions that end in `_in` do the work on open stores and are tested without Airflow.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from airflow.sdk import Param, get_current_context

from include.common.archive.compaction import CompactionLimits
from include.common.archive.table_compaction import compact_partition, plan_compaction
from include.common.hive.metastore import open_metastore
from include.common.hive.tables import SLICE_TABLES, TABLES
from include.common.hive.unreferenced_folders import sweep_folders
from include.common.names import Conn, Dag, Hive
from include.common.postgres import connect
from include.common.retention import (
    LANDING_DAYS,
    RETENTION,
    days_kept,
    drop_expired,
    expired_partitions,
    old_landing_files,
)
from include.orchestration.archive import Stores
from include.orchestration.job_environment import data_dir, features_dsn, metastore_uri

log = logging.getLogger(__name__)

_APPLICATION = Dag.MAINTAIN
_LIMITS = CompactionLimits()
SETTLE_HOURS = 2
"""Longer than a failed archive run is retried: a slice placed again costs a rewrite of what it was put into."""

PARAMS: Final = {
    "dry_run": Param(
        False, type="boolean", title="Dry run",
        description="Say in the logs what would be put together, dropped and removed, and change nothing.",
    ),
    "settle_hours": Param(
        SETTLE_HOURS, type="number", minimum=0, maximum=720, title="Leave slices alone for, hours",
        description="Files of slices that ended later than this stay as they are.",
    ),
    "min_files": Param(
        _LIMITS.min_files, type="integer", minimum=2, maximum=10_000, title="Small files worth a rewrite",
        description="A partition with fewer is left as it is. Small is less than half of 128 MB.",
    ),
}  # fmt: skip
"""The trigger form."""


@dataclass(frozen=True)
class Options:
    """What the form says. `settle`: how long ago a slice must have ended for its files to be put together."""

    dry_run: bool = False
    settle: timedelta = timedelta(hours=SETTLE_HOURS)
    limits: CompactionLimits = _LIMITS

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Self:
        """The form of a run."""
        limits = replace(_LIMITS, min_files=params["min_files"])
        return cls(params["dry_run"], timedelta(hours=params["settle_hours"]), limits)


def compact_tables() -> list[str]:
    """Put small files together; returns partitions with their number of files before and after."""
    return _run(compact_tables_in)


def drop_expired_partitions() -> list[str]:
    """Drop partitions that are older than their table's policy; returns them."""
    return _run(drop_expired_partitions_in)


def remove_landing_files() -> int:
    """Remove landing files that are published and older than the policy; returns their number."""
    return len(_run(remove_landing_files_in))


def refresh_readers() -> None:
    """Tell the Thrift Server that partitions have moved: it remembers files, and they are removed in a day."""
    from airflow.providers.apache.hive.hooks.hive import HiveServer2Hook

    if Options.of(get_current_context()["params"]).dry_run:
        return
    hook = HiveServer2Hook(hiveserver2_conn_id=Conn.HIVESERVER2)
    for table in TABLES:
        hook.run(f"REFRESH TABLE {Hive.DATABASE}.{table.name}")


def remove_unreferenced_folders() -> list[str]:
    """Remove folders that no partition has pointed at for a day; returns them."""
    return _run(remove_unreferenced_folders_in)


def compact_tables_in(stores: Stores, options: Options, now: datetime) -> list[str]:
    """As `compact_tables`. Raises CompactionError at the first partition that cannot be put together."""
    done = []
    for table in SLICE_TABLES:
        plans = plan_compaction(
            stores.connection, stores.metastore, table, now - options.settle, options.limits
        )
        for plan in plans:
            name = f"{table.name}/{table.partition_name(plan.values)}"
            if options.dry_run:
                done.append(f"{name}: {len(plan.inputs)} small files of {plan.bytes} bytes")
                continue
            result = compact_partition(
                stores.connection, stores.metastore, table, stores.warehouse, plan, options.limits
            )
            log.info("%s", result)
            if result.files_after:
                done.append(f"{name}: {result.files_before} -> {result.files_after} files")
    return done


def drop_expired_partitions_in(stores: Stores, options: Options, now: datetime) -> list[str]:
    """As `drop_expired_partitions`."""
    days = days_kept(stores.connection)
    gone = []
    for table, policy in RETENTION.items():
        if policy is None:
            continue
        if options.dry_run:
            partitions = expired_partitions(stores.metastore, table, days[policy], now)
        else:
            partitions = drop_expired(stores.connection, stores.metastore, table, days[policy], now)
        gone += [f"{table.name}/{table.partition_name(values)}" for values in partitions]
    return gone


def remove_landing_files_in(stores: Stores, options: Options, now: datetime) -> list[str]:
    """As `remove_landing_files`, by path."""
    landing = stores.data / "landing"
    files = old_landing_files(stores.connection, landing, days_kept(stores.connection)[LANDING_DAYS], now)
    log.info("%d landing files, %d bytes", len(files), sum(file.bytes for file in files))
    if not options.dry_run:
        for file in files:
            file.path.unlink(missing_ok=True)
    return [str(file.path) for file in files]


def remove_unreferenced_folders_in(stores: Stores, options: Options, now: datetime) -> list[str]:
    """As `remove_unreferenced_folders`."""
    removed = []
    for table in TABLES:
        removed += sweep_folders(
            stores.connection, stores.metastore, table, stores.warehouse, now, dry_run=options.dry_run
        )
    return [str(folder) for folder in removed]


def _run(work: Callable[[Stores, Options, datetime], list[str]]) -> list[str]:
    options = Options.of(get_current_context()["params"])
    with (
        connect(features_dsn(), application_name=_APPLICATION, autocommit=True) as connection,
        open_metastore(metastore_uri()) as metastore,
    ):
        stores = Stores(connection, metastore, data_dir())
        for table in TABLES:
            metastore.ensure_table(table, stores.warehouse)
        found = work(stores, options, datetime.now(UTC))
    for line in found:
        log.info("%s%s", "would be done: " if options.dry_run else "", line)
    return found
