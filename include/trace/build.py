"""Follows an address from the served row back to the raw events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from include.common.erasure.erasures import ErasedReaders
from include.common.hive.metastore import MetastoreError
from include.common.hive.tables import DAILY_MARTS, SESSION_FEATURES
from include.common.names import Pg
from include.trace import recompute
from include.trace.address import SERVING_SCHEMA, TABLES, Address, Kind
from include.trace.chain import Chain, Check, Cut, Row, Shown
from include.trace.hive_rows import HiveReader
from include.trace.raw_side import follow_readings, follow_record
from include.trace.store import Store

DEFAULT_LIMIT: Final = 20
_DAY = timedelta(days=1)


class TraceError(LookupError):
    """There is no such row or column; the message says where it was looked for and what to do."""


@dataclass(frozen=True)
class Sources:
    """Where links are looked up. `hive` opens the batch store when it is needed; raises MetastoreError."""

    store: Store
    topic: str
    kafka: Mapping[str, str]
    hive: Callable[[], HiveReader]
    erased: ErasedReaders = field(default_factory=ErasedReaders)
    """Whose records are not shown, though Kafka still holds them."""


def trace(address: Address, sources: Sources, *, limit: int = DEFAULT_LIMIT, every_id: bool = False) -> Chain:
    """The chain of a row or value. `limit`: most readings that are listed, and followed to their events.

    Personal ids stand in it only where the address has them, unless `every_id`. Raises TraceError, MetastoreError (for
    a row of Hive), KafkaUnreachableError and KafkaRangeError (for a record that only Kafka may hold).
    """
    shown = Shown(frozenset(address.key), every_id)
    try:
        return _Tracer(address, sources, limit, shown).trace()
    except psycopg.errors.UndefinedTable as error:
        raise TraceError(f"{error.diag.message_primary}: run DAG ops__migrate_store") from error


class _Tracer:
    def __init__(self, address: Address, sources: Sources, limit: int, shown: Shown) -> None:
        self.asked = address
        self.address = _source_of(address, sources.store) if address.table.kind is Kind.VIEW else address
        self.sources = sources
        self.store = sources.store
        self.limit = limit
        self.shown = shown

    def trace(self) -> Chain:
        kind = self.address.table.kind
        if kind is Kind.RECORD:
            return self._record()
        row = self._row()
        chain = Chain(str(self.asked), self.address.table.name, self.asked.column, self.shown.row(row))
        if kind is Kind.READING:
            self._reading(chain, row)
        elif kind is Kind.SUMS:
            self._sums(chain, row)
        else:
            self._mart(chain, row)
        chain.value = self._value(chain, row)
        return chain

    # --- the served row

    @property
    def _of_hive(self) -> bool:
        return self.address.table.name.startswith("hive.")

    def _row(self) -> Row:
        condition = self.address.condition()
        if not self._of_hive:
            row = self.store.find(self.address.table.name, condition)
        elif self.address.table.kind is Kind.READING:
            row = self._hive_reading(condition)
        else:
            row = self._hive_mart(condition)
        if row is None:
            raise TraceError(
                f"{self.address.table.name} has no row {condition}. Ids are compared by code point; a row appears when "
                f"the stream, features__model or features__publish_batch has written it"
            )
        column = self.address.column
        if column is not None and column not in row and self.asked.table.kind is not Kind.VIEW:
            raise TraceError(f"{self.address.table.name} has no column {column!r}. It has: {', '.join(row)}")
        return row

    def _hive_reading(self, condition: Mapping[str, Any]) -> Row | None:
        # a reading begins with or after its session, within the day that a session may last
        first = datetime.fromtimestamp(condition["session_start_ms"] / 1000, UTC)
        days = {(f"{first + _DAY * n:%Y-%m-%d}",) for n in range(2)}
        return self._first(SESSION_FEATURES.name, days, condition)

    def _hive_mart(self, condition: Mapping[str, Any]) -> Row | None:
        keys = {name: value for name, value in condition.items() if name != "dt"}
        return self._first(self.address.table.name.partition(".")[2], {(condition["dt"],)}, keys)

    def _first(self, table: str, days: set[tuple[str]], keys: Mapping[str, Any]) -> Row | None:
        tables = {known.name: known for known in (SESSION_FEATURES, *DAILY_MARTS.values())}
        where = " AND ".join(f"{name} = ${name}" for name in keys)
        query = f"SELECT * FROM rows WHERE {where}"  # noqa: S608  names of ours
        return next(iter(self.sources.hive().rows(tables[table], days, query, keys)), None)

    def _value(self, chain: Chain, row: Row) -> Any:
        column = self.asked.column
        if column is None:
            return None
        if self.asked.table.kind is not Kind.VIEW:
            return self.shown.value(column, row[column])
        served = self.store.find(self.asked.table.name, self.asked.condition())
        if served is None:
            raise TraceError(f"{self.asked.table.name} has no row {self.asked.condition()}")
        value = served[column]
        if column in row:
            same = value == row[column]
            chain.checks.insert(0, Check(column, value, row[column], same, self.address.table.name))
        return self.shown.value(column, value)

    # --- by kind

    def _reading(self, chain: Chain, row: Row) -> None:
        if self._of_hive:
            self._publication(chain, f"dt={row['started_at'].astimezone(UTC):%Y-%m-%d}")
        else:
            chain.notes.append(
                "rows of realtime pass no gate: the event contract holds for each of their records"
            )
        chain.batches = self.store.batches([(row["generation"], row["ledger_position"])])
        follow_readings(chain, [row], self.sources, self.shown, alone=True)

    def _publication(self, chain: Chain, partition: str) -> None:
        table = self.address.table.name.partition(".")[2]
        chain.publication = self.store.publication(table, partition)
        if chain.publication is None:
            chain.notes.append(f"ops.publications knows no publication of {table}/{partition}")
        else:
            self._cut(chain, self.store.cut(chain.publication.cut_id))

    def _cut(self, chain: Chain, cut: Cut | None) -> None:
        chain.cut = cut
        if cut is None:
            chain.notes.append("ops.model_cuts no longer has its cut")
        else:
            chain.gates = self.store.gates([cut.run_id])

    def _sums(self, chain: Chain, row: Row) -> None:
        condition = self.address.condition()
        chain.notes.append(
            "rows of realtime pass no gate: the event contract holds for each of their records"
        )
        chain.readings_from = Pg.SESSION_FEATURES
        text = recompute.statement(recompute.SUMS_SQL)
        found = self.store.aggregate(text, Pg.REALTIME_SCHEMA, condition, None)
        chain.readings_total = found["readings_active"] + found["readings_closed"]
        chain.checks = recompute.check_sums(row, found)
        if self.asked.column is not None and self.asked.column.startswith("realtime_"):
            view = self.store.find(self.asked.table.name, self.asked.condition()) or {}
            rates = recompute.rates_of_sums(found)
            if self.asked.column in rates:
                name = self.asked.column
                chain.checks.insert(0, recompute.check_value(name, view.get(name), rates[name]))
        self._follow(chain, self.store.readings(Pg.REALTIME_SCHEMA, condition, None, self.limit))

    def _mart(self, chain: Chain, row: Row) -> None:
        mart = self.address.table.mart
        condition = {name: value for name, value in self.address.condition().items() if name != "dt"}
        if self._of_hive:
            self._publication(chain, f"dt={self.address.condition()['dt']}")
            self._cut(chain, self.store.cut(row["cut_id"]))
        else:
            self._cut(chain, self.store.published_cut())
        if chain.cut is None:
            return
        features = {name: value for name, value in row.items() if name not in {*condition, "cut_id", "as_of"}}
        readings, found = self._readings_of_cut(chain, chain.cut, condition, row["final_reading_count"])
        chain.readings_total = found["readings"]
        chain.checks = recompute.check_mart(mart, features, found, "")
        self._follow(chain, readings)

    def _readings_of_cut(
        self, chain: Chain, cut: Cut, condition: Mapping[str, Any], wanted: int
    ) -> tuple[list[Row], dict[str, Any]]:
        """Readings listed, and their counts and averages: from realtime, or from Hive what that keeps no more."""
        text = recompute.statement(recompute.MART_SQL)
        generation = self.store.generation(cut.generation)
        schema = None if generation is None else generation.schema
        found: dict[str, Any] = {"readings": -1}
        readings: list[Row] = []
        if schema is not None:
            chain.readings_from = f"{schema}.session_features"
            found = self.store.aggregate(text, schema, condition, cut)
            readings = self.store.readings(schema, condition, cut, self.limit)
        if found["readings"] == wanted:
            return readings, found
        try:
            hive = self.sources.hive()
        except MetastoreError as error:
            if schema is None:
                raise
            chain.notes.append(f"Hive's readings could not be looked at: {error}")
            return readings, found
        where = "".join(f" AND {name} = ${name}" for name in condition)
        values = {**condition, "generation": cut.generation, "position": cut.ledger_position}
        source = f"SELECT * FROM rows WHERE generation = $generation AND ledger_position <= $position{where}"  # noqa: S608  names of ours
        [older] = hive.rows(SESSION_FEATURES, None, f", readings AS ({source}) {text}", values) or [
            {"readings": 0}
        ]
        if older["readings"] <= found["readings"]:
            return readings, found
        chain.readings_from = f"hive.{SESSION_FEATURES.name}"
        listed = hive.rows(
            SESSION_FEATURES, None, f"{source} ORDER BY ended_at DESC LIMIT {self.limit}", values
        )
        return listed, older

    def _follow(self, chain: Chain, readings: list[Row]) -> None:
        chain.readings = [self.shown.row(reading) for reading in readings]
        if chain.readings_total > len(readings):
            chain.notes.append(
                f"{len(readings)} of {chain.readings_total} readings are listed and followed to their events: "
                f"a higher limit follows more"
            )
        follow_readings(chain, readings, self.sources, self.shown, alone=False)

    def _record(self) -> Chain:
        topic, partition, offset = self.asked.key
        chain = Chain(str(self.asked), self.asked.table.name, self.asked.column, {})
        found = follow_record(chain, self.sources, topic, int(partition), int(offset), self.shown)
        if not found:
            raise TraceError(
                f"neither Hive nor Kafka holds a record at {topic}[{partition}] offset {offset}: it was never produced, "
                f"or was not archived before Kafka's retention dropped it"
            )
        if self.asked.table.name == Pg.LATE_EVENTS and not chain.row.get("late"):
            raise TraceError(f"{topic}[{partition}] offset {offset} was not late in any generation")
        chain.value = None if self.asked.column is None else chain.row.get(self.asked.column)
        return chain


def _source_of(address: Address, store: Store) -> Address:
    """The table that a serving view takes the column from; raises TraceError."""
    view, column = address.table.name, address.column or ""
    if column not in store.columns(view):
        raise TraceError(f"{view} has no column {column!r}. It has: {', '.join(sorted(store.columns(view)))}")
    name = view.removeprefix(f"{SERVING_SCHEMA}.")
    for schema in (Pg.REALTIME_SCHEMA, Pg.MARTS_SCHEMA):
        table = TABLES.get(f"{schema}.{name}")
        known = store.columns(f"{schema}.{name}") if table else set()
        if schema == Pg.REALTIME_SCHEMA and column.startswith("realtime_"):
            known = known | {column}
        if schema == Pg.MARTS_SCHEMA and column.startswith("marts_"):
            known = known | {column}
        if table is not None and column in known:
            return Address(table, address.key, column)
    raise TraceError(f"{view}.{column} is joined from reference data or another mart: trace it there")
