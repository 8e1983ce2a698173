"""One at a time changes which files a Hive table's partitions show: an advisory lock in PostgreSQL.

The archive holds it while it places a slice, maintenance while it points a partition somewhere else or removes
folders. Readers need no lock. It ends with the database session, so no crash leaves it behind.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from include.common.hive.schema import HiveTable

_CLASS = 0x48495645
"""First half of the keys, so that they are no other lock's."""


@contextmanager
def table_lock(connection: psycopg.Connection, *tables: HiveTable) -> Iterator[None]:
    """Hold the locks of `tables`; waits for them, always in the same order. `connection` must autocommit."""
    held: list[str] = []
    try:
        for name in sorted(table.name for table in tables):
            connection.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (_CLASS, name))
            held.append(name)
        yield
    finally:
        if not connection.closed:
            for name in reversed(held):
                connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", (_CLASS, name))
