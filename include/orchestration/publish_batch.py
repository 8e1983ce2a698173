"""Tasks of features__publish_batch that follow the Spark job: what to wait for, are the counts right, clean up."""

import logging
from typing import Any

from include.common.hive.mart_changes import remove_from_outbox
from include.common.hive.metastore import open_metastore
from include.common.hive.publications import Publication, latest_publications, remove_unreferenced_folders
from include.common.hive.tables import PUBLISHED_TABLES
from include.common.names import Conn, Dag, Hive
from include.common.postgres import connect
from include.orchestration.job_environment import data_dir, features_dsn, metastore_uri

log = logging.getLogger(__name__)

_APPLICATION = Dag.PUBLISH_BATCH


class PublicationMismatchError(RuntimeError):
    """Readers see another number of rows than was published; the message says where and the mend."""


def list_partitions(*, run_id: str, database: str = Hive.DATABASE) -> list[str]:
    """Partitions that the run published, as NamedHivePartitionSensor names them; empty ends the run."""
    names = [f"{database}.{entry.hive_table}/{entry.partition}" for entry in _published(run_id)]
    log.info("published: %s", ", ".join(names) or "nothing")
    return names


def verify_counts(*, run_id: str, database: str = Hive.DATABASE) -> dict[str, int]:
    """Count what HiveServer2 sees in each partition of the run; returns rows by partition.

    Raises PublicationMismatchError where a count differs from ops.publications.
    """
    from airflow.providers.apache.hive.hooks.hive import HiveServer2Hook

    hook = HiveServer2Hook(hiveserver2_conn_id=Conn.HIVESERVER2)
    published = _published(run_id)
    counts: dict[str, int] = {}
    for table in PUBLISHED_TABLES:
        entries = [entry for entry in published if entry.hive_table == table.name]
        if entries:
            counts |= _count(hook, database, entries)
    faults = [
        f"{name}: published {wanted}, readable {counts.get(name, 0)}"
        for name, wanted in (
            (f"{entry.hive_table}/{entry.partition}", entry.row_count) for entry in published
        )
        if counts.get(name, 0) != wanted
    ]
    if faults:
        raise PublicationMismatchError(
            f"{'; '.join(faults)}. Clear the DAG run: it writes new folders and points the partitions at them"
        )
    log.info("readable as published: %s", counts)
    return counts


def remove_old_folders() -> list[str]:
    """Delete partition folders that neither a partition nor the last two publications name."""
    removed = []
    with (
        connect(features_dsn(), application_name=_APPLICATION, autocommit=True) as connection,
        open_metastore(metastore_uri()) as metastore,
    ):
        for table in PUBLISHED_TABLES:
            removed += remove_unreferenced_folders(connection, metastore, table, data_dir() / "warehouse")
    return [str(folder) for folder in removed]


def remove_brought_changes() -> dict[str, int]:
    """Take changes of the marts that the histories hold out of the outbox; returns rows by mart."""
    with (
        connect(features_dsn(), application_name=_APPLICATION, autocommit=True) as connection,
        open_metastore(metastore_uri()) as metastore,
    ):
        removed = remove_from_outbox(connection, metastore)
    log.info("in the histories, out of the outbox: %s", removed)
    return removed


def _published(run_id: str) -> list[Publication]:
    with connect(features_dsn(), application_name=_APPLICATION, autocommit=True) as connection:
        return latest_publications(connection, run_id)


def _count(hook: Any, database: str, entries: list[Publication]) -> dict[str, int]:
    table = f"{database}.{entries[0].hive_table}"
    # the Thrift Server remembers where partitions were; it is another Spark than the one that moved them
    hook.run(f"REFRESH TABLE {table}")
    dates = ", ".join(f"'{entry.partition.removeprefix('dt=')}'" for entry in entries)
    rows = hook.get_records(f"SELECT dt, count(*) FROM {table} WHERE dt IN ({dates}) GROUP BY dt")  # noqa: S608  names of ours
    return {f"{entries[0].hive_table}/dt={dt}": int(count) for dt, count in rows}
