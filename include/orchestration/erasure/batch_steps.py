"""The batch side: archive, published features, marts.

Each function is idempotent and may be killed at any moment and repeated. In this order: the stream has erased him;
features__model has rebuilt the marts; `erase_from_marts`; `erase_from_features`. `erase_from_archive` may come at any
time. Training examples and served features do not exist yet: nothing is to be done there.
"""

import json
import logging
from collections.abc import Callable, Iterable
from typing import Final

import psycopg

from include.common.erasure import archive as slice_erasure
from include.common.erasure import publications as publication_erasure
from include.common.erasure.erasures import Erasure, find_erasure, record_step
from include.common.hive.metastore import Metastore, open_metastore
from include.common.hive.tables import SLICE_TABLES
from include.common.names import Conn, Dag, Hive
from include.common.postgres import connect
from include.orchestration.job_environment import data_dir, erasure_key, features_dsn, metastore_uri
from include.orchestration.model import erasure as mart_erasure

log = logging.getLogger(__name__)
ARCHIVE: Final = "archive"
FEATURES: Final = "features"
MARTS: Final = "marts"
"""Names of the steps in ops.erasure_steps."""


class ErasureForgottenError(RuntimeError):
    """The erasure is proven, so nobody knows any more whose it was: request it again."""


def erase_from_archive(*, erasure_id: int, database: str = Hive.DATABASE) -> dict[str, int]:
    """Raw, quarantined and staged events become empty dead letters, dead letters that name him lose their bytes.

    Returns records by store. Raises OSError where a slice is being staged at that moment: repeat it.
    """

    def work(connection: psycopg.Connection, metastore: Metastore, user_id: str) -> dict[str, int]:
        data = data_dir()
        stores = slice_erasure.ArchiveStores(connection, metastore, data / "warehouse", data / "staging")
        return slice_erasure.erase_reader(stores, user_id)

    removed = _with_stores(erasure_id, ARCHIVE, database, work)
    _refresh_tables(f"{database}.{table.name}" for table in SLICE_TABLES)
    return removed


def erase_from_features(*, erasure_id: int, database: str = Hive.DATABASE) -> dict[str, int]:
    """Session features, daily features and feature history, all days, older folders included; returns rows by table.

    Days that a run of features__backfill has staged are removed if they may hold him. Raises OSError where it stages one
    at that moment: repeat it.
    """

    def work(connection: psycopg.Connection, metastore: Metastore, user_id: str) -> dict[str, int]:
        for folder in publication_erasure.remove_rebuilt_days(data_dir() / "staging", user_id):
            log.info("removed: %s, which a run of %s has left", folder.name, Dag.BACKFILL)
        return publication_erasure.erase_reader(connection, metastore, data_dir() / "warehouse", user_id)

    removed = _with_stores(erasure_id, FEATURES, database, work)
    _refresh_tables(f"{database}.{table.name}" for table in publication_erasure.TABLES_OF_READERS)
    return removed


def erase_from_marts(*, erasure_id: int) -> dict[str, int]:
    """What a rebuild of the marts leaves; returns rows by table. Raises ReaderInMartsError before the rebuild."""
    with connect(features_dsn(), application_name=Dag.MODEL, autocommit=True) as connection:
        erasure, user_id = _subject(connection, erasure_id)
        removed = {"ops.mart_changes": mart_erasure.erase_reader(connection, user_id)}
        _record(connection, erasure, MARTS, removed)
    return removed


def _with_stores(
    erasure_id: int,
    store: str,
    database: str,
    work: Callable[[psycopg.Connection, Metastore, str], dict[str, int]],
) -> dict[str, int]:
    application = Dag.ARCHIVE if store == ARCHIVE else Dag.PUBLISH_BATCH
    with (
        connect(features_dsn(), application_name=application, autocommit=True) as connection,
        open_metastore(metastore_uri(), database) as metastore,
    ):
        erasure, user_id = _subject(connection, erasure_id)
        removed = work(connection, metastore, user_id)
        _record(connection, erasure, store, removed)
    return removed


def _subject(connection: psycopg.Connection, erasure_id: int) -> tuple[Erasure, str]:
    erasure = find_erasure(connection, erasure_key(), erasure_id)
    if erasure.user_id is None:
        raise ErasureForgottenError(
            f"erasure {erasure_id} is proven and its subject forgotten: request it again to repeat it"
        )
    return erasure, erasure.user_id


def _record(connection: psycopg.Connection, erasure: Erasure, store: str, removed: dict[str, int]) -> None:
    log.info("erasure %d, %s: %s", erasure.erasure_id, store, removed)
    record_step(connection, erasure.erasure_id, store, sum(removed.values()), json.dumps(removed))


def _refresh_tables(names: Iterable[str]) -> None:
    """The Thrift Server remembers which files a partition has; it is another program than the one that moved them."""
    from airflow.providers.apache.hive.hooks.hive import HiveServer2Hook

    hook = HiveServer2Hook(hiveserver2_conn_id=Conn.HIVESERVER2)
    for name in names:
        hook.run(f"REFRESH TABLE {name}")
