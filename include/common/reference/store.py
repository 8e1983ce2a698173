"""Writing schema `reference`: a whole reference in one transaction, versioned by validity interval.

Slowly changing dimension type 2: a row is valid in [valid_from, valid_to), the open one until infinity. Loading what
is there already changes nothing. The only caller is DAG reference__load, the schema's one writer.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg

from include.common.names import Dag, Pg
from include.common.postgres import connect
from include.common.reference.doubtful import store_warnings
from include.common.reference.files import Reference
from include.common.thresholds import in_force

_SQL = Path(__file__).parent / "sql"
LOCK_KEY: Final = 0x52454645  # "REFE"
"""Advisory lock that a load holds: who has it shared reads all of a load, or nothing."""
_LOADS: Final = {
    Pg.TITLES: "load_titles",
    Pg.EPISODE_METADATA: "load_episode_metadata",
    Pg.COUNTRY_TIME_ZONES: "load_country_time_zones",
    Pg.EXPERIMENTS: "load_experiments",
    Pg.THRESHOLDS: "load_thresholds",
}
_REMOVED_SHARE: Final = "reference_removed_share"
_CHANGED_SHARE: Final = "reference_changed_share"
_FREE_ROWS: Final = "reference_free_rows"
LIMITS: Final = (_REMOVED_SHARE, _CHANGED_SHARE, _FREE_ROWS)
"""Thresholds that bound what a load may do unasked."""


class ReferenceStoreError(RuntimeError):
    """The database cannot take a reference; the message has the mend."""


class MassChangeError(ReferenceStoreError):
    """The load would remove or change more than it may unasked, as a truncated export does; nothing was changed."""


@dataclass(frozen=True)
class Changes:
    """What a load did to one table, in rows; `examples` has some keys of each kind of change."""

    table: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    examples: tuple[str, ...] = ()

    @property
    def known(self) -> int:
        """Rows in force before the load."""
        return self.unchanged + self.changed + self.removed

    @property
    def is_empty(self) -> bool:
        """Whether the table stays as it was."""
        return not self.added + self.changed + self.removed

    def describe(self) -> str:
        """One line for a log."""
        counts = (
            f"{self.added} added, {self.changed} changed, {self.removed} removed, {self.unchanged} unchanged"
        )
        return f"{self.table}: {counts}" + (f" ({'; '.join(self.examples)})" if self.examples else "")


@dataclass(frozen=True)
class Load:
    """What a load did, or would do: changes by table; those that exceed a limit, and what looks wrong, as sentences."""

    changes: list[Changes]
    mass_changes: list[str]
    warnings: list[str]


def load_reference(
    dsn: str, reference: Reference, *, dry_run: bool = False, allow_mass_change: bool = False
) -> Load:
    """Make `reference` the open version of each table, in one transaction; returns what changed.

    A new key is valid from -infinity, so that readings of before its first load find it; a new version of a known
    key from the moment of the load. A threshold that is not given keeps its value. `dry_run` rolls all back.
    Raises ReferenceStoreError where the database is not migrated, MassChangeError unless `allow_mass_change`,
    PostgresUnreachableError.
    """
    with connect(dsn, application_name=Dag.REFERENCE_LOAD, autocommit=True) as connection:
        # before the transaction, whose now() dates all rows: a load that waited for another is not dated before it
        connection.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
        try:
            with connection.transaction(force_rollback=dry_run):
                limits = in_force(connection)  # before the load: none lifts its own limit
                _stage(connection, reference)
                changes = [_apply(connection, table, name) for table, name in _LOADS.items()]
                too_many = mass_changes(changes, limits)
                if too_many and not allow_mass_change:
                    raise MassChangeError(
                        f"nothing was changed: this load would {'; '.join(too_many)}. Is the export complete? If it is "
                        f"meant, trigger again with allow_mass_change, or set the limits in thresholds.csv "
                        f"({_REMOVED_SHARE}, {_CHANGED_SHARE})"
                    )
                return Load(changes, too_many, store_warnings(connection))
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise ReferenceStoreError(
                f"{error.diag.message_primary}: run DAG ops__migrate_store, then this one again"
            ) from error


def mass_changes(changes: Iterable[Changes], limits: Mapping[str, float]) -> list[str]:
    """A sentence for each kind of change that exceeds its share of a table's rows in force, by thresholds' names."""
    found = []
    for it in changes:
        # the offsets of half the world change twice a year, with its clocks
        changed = 0 if it.table == Pg.COUNTRY_TIME_ZONES else it.changed
        for verb, rows, limit in (
            ("remove", it.removed, limits[_REMOVED_SHARE]),
            ("change", changed, limits[_CHANGED_SHARE]),
        ):
            if rows > limits[_FREE_ROWS] and rows > limit * it.known:
                examples = next((text for text in it.examples if text.startswith(verb)), "")
                found.append(
                    f"{verb} {rows} of {it.known} rows of {it.table}, more than {limit:.0%} ({examples})"
                )
    return found


def _stage(connection: psycopg.Connection, reference: Reference) -> None:
    connection.execute(_statement("create_staged"))
    row = connection.execute("SELECT now()").fetchone()
    if row is None:
        raise RuntimeError("SELECT gave no row")
    load_time: datetime = row[0]
    _copy(connection, "staged_titles", ((it.title_id, it.name, it.genre, it.tags) for it in reference.titles))
    _copy(
        connection,
        "staged_episodes",
        (
            (it.episode_id, it.title_id, it.episode_number, it.rating, it.launch_date)
            for it in reference.episodes
        ),
    )
    _copy(
        connection,
        "staged_country_time_zones",
        ((it.country, it.time_zone, it.utc_offset_minutes(load_time)) for it in reference.country_time_zones),
    )
    _copy(
        connection,
        "staged_experiments",
        ((it.experiment, it.variant, it.share) for it in reference.experiments),
    )
    _copy(
        connection,
        "staged_thresholds",
        ((it.name, it.value, it.unit, it.meaning, it.is_given) for it in reference.thresholds),
    )


def _copy(connection: psycopg.Connection, table: LiteralString, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY pg_temp.{table} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.execute(f"ANALYZE pg_temp.{table}")


def _apply(connection: psycopg.Connection, table: str, name: str) -> Changes:
    changes = Changes(table)
    for change, count, keys in connection.execute(_statement(name)).fetchall():
        changes = replace(changes, **{change: count})
        if change != "unchanged":
            shown = ", ".join(keys) + (", ..." if count > len(keys) else "")
            changes = replace(changes, examples=(*changes.examples, f"{change} {shown}"))
    return changes


def _statement(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text()
