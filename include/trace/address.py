"""Which value is traced: `<table>/<key>/...[/<column>]`, as in `marts.user_features/u42/user_exit_rate`.

A key that holds a `/` is written with `%2F` (each part is percent-decoded).
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote

from include.common.hive.tables import DAILY_MARTS
from include.common.names import MARTS, Hive, Pg

READING_KEY: Final = ("session_id", "session_start_ms", "episode_id")
RECORD_KEY: Final = ("topic", "kafka_partition", "kafka_offset")
MART_KEYS: Final = {
    "user_features": ("user_id",),
    "episode_features": ("episode_id",),
    "segment_features": ("country", "device"),
}
"""Primary key of each mart."""
SERVING_SCHEMA: Final = "serving"
KAFKA: Final = "kafka.record"
_WHOLE_NUMBERS: Final = {"session_start_ms", "kafka_partition", "kafka_offset"}


class AddressError(ValueError):
    """The address names no value that can be traced; the message says what was wrong and the right form."""


class Kind(StrEnum):
    """How a row is traced."""

    READING = "reading"
    """One reading, from the events of its session."""
    SUMS = "sums"
    """A reader's or episode's sums of readings, folded by the stream."""
    MART = "mart"
    """Derived from the final readings of a cut."""
    RECORD = "record"
    """One record of the topic: accepted, quarantined, dead letter or late."""
    VIEW = "view"
    """A serving view: whichever of the others its column comes from."""


@dataclass(frozen=True)
class Table:
    """A table whose rows can be traced; `key` are its key columns in the order of the address."""

    name: str
    kind: Kind
    key: tuple[str, ...]

    @property
    def form(self) -> str:
        """How an address of it is written."""
        return "/".join((self.name, *(f"<{column}>" for column in self.key))) + "[/<column>]"

    @property
    def mart(self) -> str:
        """Name of the mart that the row is of, or was of; raises KeyError for what is no mart."""
        name = self.name.partition(".")[2]
        daily = {table.name: mart for mart, table in DAILY_MARTS.items()}
        return {**daily, **{mart: mart for mart in MARTS}}[name]


def _tables() -> dict[str, Table]:
    keys = {"session_features": READING_KEY, **MART_KEYS}
    found = [
        Table(Pg.SESSION_FEATURES, Kind.READING, READING_KEY),
        Table(Pg.USER_FEATURES, Kind.SUMS, ("user_id",)),
        Table(Pg.EPISODE_FEATURES, Kind.SUMS, ("episode_id",)),
        *(Table(f"{Pg.MARTS_SCHEMA}.{mart}", Kind.MART, MART_KEYS[mart]) for mart in MARTS),
        *(Table(f"{SERVING_SCHEMA}.{view}", Kind.VIEW, key) for view, key in keys.items()),
        Table(f"hive.{Hive.SESSION_FEATURES}", Kind.READING, READING_KEY),
        *(
            Table(f"hive.{table.name}", Kind.MART, ("dt", *MART_KEYS[mart]))
            for mart, table in DAILY_MARTS.items()
            if mart in MART_KEYS
        ),
        *(
            Table(f"hive.{name}", Kind.RECORD, RECORD_KEY)
            for name in (Hive.RAW_EVENTS, Hive.QUARANTINED_EVENTS, Hive.DEAD_LETTERS)
        ),
        Table(Pg.LATE_EVENTS, Kind.RECORD, RECORD_KEY),
        Table(KAFKA, Kind.RECORD, RECORD_KEY),
    ]
    return {table.name: table for table in found}


TABLES: Final = _tables()
"""Everything that can be traced, by name."""


@dataclass(frozen=True)
class Address:
    """A row, or one value of it. `key` is as typed, in the order of the table's key columns."""

    table: Table
    key: tuple[str, ...]
    column: str | None = None

    def __str__(self) -> str:
        """The form that `parse_address` reads."""
        column = () if self.column is None else (self.column,)
        return "/".join((self.table.name, *(quote(part, safe="") for part in self.key), *column))

    def condition(self) -> dict[str, str | int]:
        """Key column -> value, whole numbers as such."""
        return {
            name: int(value) if name in _WHOLE_NUMBERS else value
            for name, value in zip(self.table.key, self.key, strict=True)
        }


def parse_address(text: str) -> Address:
    """Read an address; raises AddressError."""
    name, *parts = text.strip().split("/")
    table = TABLES.get(name)
    if table is None:
        forms = "\n  ".join(table.form for table in TABLES.values())
        raise AddressError(f"{name!r} is no table that can be traced. These can:\n  {forms}")
    parts = [unquote(part) for part in parts]
    if len(parts) not in (len(table.key), len(table.key) + 1) or not all(parts):
        raise AddressError(
            f"{text!r} does not have the form {table.form}. A key that holds a / is written with %2F"
        )
    address = Address(table, tuple(parts[: len(table.key)]), next(iter(parts[len(table.key) :]), None))
    for column, value in zip(table.key, address.key, strict=True):
        _check(column, value, text)
    if table.kind is Kind.VIEW and address.column is None:
        raise AddressError(
            f"{text!r} names no column. A serving view takes counts and last-seen values from {Pg.REALTIME_SCHEMA} and "
            f"derived ones from {Pg.MARTS_SCHEMA}: add the one that is meant, {table.form}"
        )
    return address


def _check(column: str, value: str, text: str) -> None:
    if column in _WHOLE_NUMBERS and not value.removeprefix("-").isdecimal():
        raise AddressError(f"{text!r}: {column} is a whole number, not {value!r}")
    if column == "dt":
        try:
            date.fromisoformat(value)
        except ValueError as error:
            raise AddressError(f"{text!r}: dt is a UTC date such as 2026-11-24, not {value!r}") from error
