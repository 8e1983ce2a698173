"""Opens the stores of one trace."""

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache

import psycopg

from include.common.erasure.erasures import erased_readers, erasure_key
from include.common.hive.metastore import MetastoreError, open_metastore
from include.common.names import Hive
from include.common.postgres import connect
from include.common.settings import Settings
from include.trace.address import Address
from include.trace.build import DEFAULT_LIMIT, Sources, TraceError, trace
from include.trace.chain import Chain
from include.trace.hive_rows import HiveReader
from include.trace.store import Store


def trace_with(
    settings: Settings,
    address: Address,
    *,
    limit: int = DEFAULT_LIMIT,
    every_id: bool = False,
    database: str = Hive.DATABASE,
    kafka: Mapping[str, str] | None = None,
    key: bytes | None = None,
) -> Chain:
    """The chain of `address`; raises what `build.trace` does, and PostgresUnreachableError.

    `key` tells erased readers; None: that of WEBTOON_ERASURE_KEY. `kafka` is librdkafka's configuration where the brokers' addresses alone are not enough. The metastore is asked when Hive is needed for the first time.
    """
    with ExitStack() as opened:
        connection = opened.enter_context(connect(settings.postgres_dsn, application_name="trace"))

        @cache
        def hive() -> HiveReader:
            if not settings.metastore_uri:
                raise MetastoreError("no Hive metastore is known: set WEBTOON_METASTORE_URI")
            metastore = opened.enter_context(open_metastore(settings.metastore_uri))
            metastore.database = database
            return HiveReader(metastore)

        client = kafka or {"bootstrap.servers": settings.bootstrap_servers}
        try:
            erased = erased_readers(connection, erasure_key(required=False) if key is None else key)
        except psycopg.errors.UndefinedTable as error:
            raise TraceError(f"{error.diag.message_primary}: run DAG ops__migrate_store") from error
        connection.commit()
        sources = Sources(Store(connection), settings.events_topic, client, hive, erased)
        return trace(address, sources, limit=limit, every_id=every_id)
