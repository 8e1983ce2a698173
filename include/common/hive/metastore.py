"""The Hive metastore over Thrift: make tables, add partitions, point partitions at a new folder.

Each call costs milliseconds where the same statement through Spark SQL costs a Spark start. Pointing all
touched partitions of a table is one metastore transaction, so a reader sees all of them move or none.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from include.common.hive.partition_statistics import partition_statistics
from include.common.hive.schema import Column, HiveTable, PartitionValues, location_of, path_of
from include.common.names import Hive

_TIMEOUT_MS = 60_000
_INPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
_OUTPUT = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
_KEEP_STATISTICS = {"DO_NOT_UPDATE_STATS": "true"}
"""Else the metastore lists the folder itself at every call, and forgets the number of rows."""
_SERDE = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"


class MetastoreError(RuntimeError):
    """The metastore cannot be reached or holds something else than expected; says the mend."""


class Metastore:
    """Work on database `webtoon`. `client` is an open Thrift client (hmsclient, or the Hive provider's hook)."""

    def __init__(self, client: Any, database: str = Hive.DATABASE) -> None:
        self._client = client
        self.database = database

    def ensure_table(self, table: HiveTable, warehouse: Path) -> None:
        """Create database and table, or add the columns that a stored table lacks.

        Raises MetastoreError where a stored column has another type or the table lies elsewhere.
        """
        from hmsclient.genthrift.hive_metastore import ttypes

        location = location_of(table.location(warehouse))
        try:
            stored = self._client.get_table(self.database, table.name)
        except ttypes.NoSuchObjectException:
            self._create(table, warehouse, location)
            return
        self._check_stored(table, stored, location)
        known = {field.name for field in stored.sd.cols}
        missing = [column for column in table.columns if column.name not in known]
        if missing:
            stored.sd.cols = [*stored.sd.cols, *_fields(missing)]
            self._client.alter_table(self.database, table.name, stored)

    def locations(
        self, table: HiveTable, partitions: Sequence[PartitionValues]
    ) -> dict[PartitionValues, Path]:
        """Folder that each of `partitions` points at; absent ones are left out."""
        return {
            tuple(stored.values): path_of(stored.sd.location) for stored in self._stored(table, partitions)
        }

    def all_locations(self, table: HiveTable) -> dict[PartitionValues, Path]:
        """Folder of every partition of the table."""
        stored = self._client.get_partitions(self.database, table.name, -1)
        return {tuple(partition.values): path_of(partition.sd.location) for partition in stored}

    def point_partitions(self, table: HiveTable, folders: Mapping[PartitionValues, Path]) -> None:
        """Make each partition be what lies in its folder: added where new, pointed at it where not.

        Statistics of the files that are there go along in the same call, and the table's columns.
        """
        known = {tuple(stored.values): stored for stored in self._stored(table, list(folders))}
        parent = self._client.get_table(self.database, table.name)
        moved, added = [], []
        for values, folder in folders.items():
            statistics = {**partition_statistics(folder), **_KEEP_STATISTICS}
            stored = known.get(values)
            if stored is None:
                added.append(_partition(parent, self.database, values, location_of(folder), statistics))
                continue
            wanted = {**(stored.parameters or {}), **statistics}
            if stored.sd.location != location_of(folder) or stored.parameters != wanted:
                stored.sd = _descriptor(parent, location_of(folder))
                stored.parameters = wanted
                moved.append(stored)
        if moved:
            self._client.alter_partitions(self.database, table.name, moved)
        if added:
            self._add(table, added)

    def statistics(self, table: HiveTable, values: PartitionValues) -> dict[str, str]:
        """Parameters of one partition, its statistics among them; empty where there is no such partition."""
        stored = self._stored(table, [values])
        return dict(stored[0].parameters or {}) if stored else {}

    def descriptions(self) -> Iterator[tuple[str, str]]:
        """(name, all that is stored about it, partitions included) of every table of the database."""
        for name in self._client.get_all_tables(self.database):
            stored = self._client.get_table(self.database, name)
            partitions = self._client.get_partitions(self.database, name, -1) if stored.partitionKeys else []
            yield name, "\n".join(map(repr, [stored, *partitions]))

    def drop_partitions(self, table: HiveTable, partitions: Sequence[PartitionValues]) -> None:
        """Forget partitions; their folders stay. One that is not there is passed over."""
        for stored in self._stored(table, partitions):
            self._client.drop_partition(self.database, table.name, stored.values, False)

    def _add(self, table: HiveTable, added: list[Any]) -> None:
        from hmsclient.genthrift.hive_metastore import ttypes

        request = ttypes.AddPartitionsRequest(
            dbName=self.database, tblName=table.name, parts=added, ifNotExists=True, needResult=False
        )
        self._client.add_partitions_req(request)

    def _stored(self, table: HiveTable, partitions: Sequence[PartitionValues]) -> list[Any]:
        names = [table.partition_name(values) for values in partitions]
        if not names:
            return []
        return list(self._client.get_partitions_by_names(self.database, table.name, names))

    def _create(self, table: HiveTable, warehouse: Path, location: str) -> None:
        from hmsclient.genthrift.hive_metastore import ttypes

        database = ttypes.Database(
            self.database, "webtoon reading features", location_of(warehouse), {}, None, "webtoon", 1
        )
        with suppress(ttypes.AlreadyExistsException):  # made with the first of its tables
            self._client.create_database(database)
        table.location(warehouse).mkdir(parents=True, exist_ok=True)
        serde = ttypes.SerDeInfo(None, _SERDE, {"serialization.format": "1"})
        descriptor = ttypes.StorageDescriptor(
            cols=_fields(table.columns), location=location, inputFormat=_INPUT, outputFormat=_OUTPUT,
            compressed=False, numBuckets=-1, serdeInfo=serde, bucketCols=[], sortCols=[], parameters={},
        )  # fmt: skip
        created = ttypes.Table(
            tableName=table.name, dbName=self.database, owner="webtoon", sd=descriptor,
            partitionKeys=_fields(table.partitions), tableType="EXTERNAL_TABLE",
            parameters={"EXTERNAL": "TRUE", "comment": table.comment},
        )  # fmt: skip
        try:
            self._client.create_table(created)
        except ttypes.AlreadyExistsException:
            self.ensure_table(table, warehouse)  # made by somebody else at the same moment: check theirs

    def _check_stored(self, table: HiveTable, stored: Any, location: str) -> None:
        wanted = {column.name: column.type.value for column in table.columns}
        changed = [field.name for field in stored.sd.cols if wanted.get(field.name) != field.type]
        keys = [(field.name, field.type) for field in stored.partitionKeys]
        name = f"{self.database}.{table.name}"
        if changed or keys != [(column.name, column.type.value) for column in table.partitions]:
            raise MetastoreError(
                f"table {name} in the metastore differs from include.common.hive.tables in {', '.join(changed) or keys}. "
                f"Columns may be added; a changed or dropped one needs a new table"
            )
        if path_of(stored.sd.location) != path_of(location):
            raise MetastoreError(
                f"table {name} lies at {stored.sd.location}, not at {location}: is the data folder "
                f"(variable webtoon_data_dir, WEBTOON_DATA_DIR) the one of this metastore?"
            )


def _fields(columns: Sequence[Column]) -> list[Any]:
    from hmsclient.genthrift.hive_metastore import ttypes

    return [ttypes.FieldSchema(column.name, column.type.value, column.comment) for column in columns]


def _descriptor(parent: Any, location: str) -> Any:
    descriptor = copy.deepcopy(parent.sd)
    descriptor.location = location
    return descriptor


def _partition(
    parent: Any, database: str, values: PartitionValues, location: str, statistics: dict[str, str]
) -> Any:
    from hmsclient.genthrift.hive_metastore import ttypes

    return ttypes.Partition(
        values=list(values), dbName=database, tableName=parent.tableName, sd=_descriptor(parent, location),
        parameters=statistics,
    )  # fmt: skip


@contextmanager
def open_metastore(uri: str, database: str = Hive.DATABASE) -> Iterator[Metastore]:
    """Connect to `thrift://host:port`, to work on `database`. Raises MetastoreError that says what did not answer."""
    from hmsclient import HMSClient
    from thrift.protocol import TBinaryProtocol
    from thrift.transport import TSocket, TTransport

    parts = urlsplit(uri)
    if parts.scheme != "thrift" or not parts.hostname or not parts.port:
        raise MetastoreError(f"metastore address {uri!r} is not thrift://host:port (WEBTOON_METASTORE_URI)")
    socket = TSocket.TSocket(parts.hostname, parts.port)
    socket.setTimeout(_TIMEOUT_MS)
    client = HMSClient(iprot=TBinaryProtocol.TBinaryProtocol(TTransport.TBufferedTransport(socket)))
    try:
        client.open()
    except TTransport.TTransportException as error:
        raise MetastoreError(
            f"no Hive metastore answers at {uri} ({error}). Is it running (make status), and is "
            f"WEBTOON_METASTORE_URI (or connection metastore_default) right?"
        ) from error
    try:
        yield Metastore(client, database)
    finally:
        client.close()
