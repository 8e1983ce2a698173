"""The outbox `ops.mart_changes`: rows of the marts that changed, waiting to be added to a history in Hive.

Triggers fill it in the transaction that publishes a cut (migration feature_histories), so no cut is missed. The
publisher adds what waits to the histories, which say themselves which publications they hold; what they hold is
taken out of the outbox once the counts that readers see were compared.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from include.common.hive.files import data_files
from include.common.hive.metastore import Metastore
from include.common.hive.table_lock import table_lock
from include.common.hive.tables import MART_HISTORIES

PUBLICATION_ID = "publication_id"


@dataclass(frozen=True)
class MartPublication:
    """One publication of the marts that changed `rows` rows of one of them, as it waits in the outbox."""

    publication_id: int
    cut_id: int
    known_at: datetime
    rows: int

    @property
    def dt(self) -> str:
        """Partition of the history: UTC date of `known_at`."""
        return f"{self.known_at.astimezone(UTC):%Y-%m-%d}"


def waiting_publications(connection: psycopg.Connection, mart: str) -> list[MartPublication]:
    """Publications with changes of `mart` in the outbox, oldest first."""
    rows = connection.execute(
        "SELECT publication_id, publication.cut_id, publication.known_at, count(*)"
        " FROM ops.mart_changes INNER JOIN ops.mart_publications AS publication USING (publication_id)"
        " WHERE mart = %s GROUP BY publication_id, publication.cut_id, publication.known_at ORDER BY publication_id",
        (mart,),
    )
    return [MartPublication(*row) for row in rows]


def remove_erased_changes(connection: psycopg.Connection, is_erased: Callable[[str], bool]) -> int:
    """Take changes of erased readers out of the outbox, so that they come to no history; returns rows.

    Waits for nobody; call it where the histories' locks are held.
    """
    waiting = connection.execute(
        "SELECT DISTINCT features ->> 'user_id' FROM ops.mart_changes WHERE features ? 'user_id'"
    ).fetchall()
    erased = [row[0] for row in waiting if is_erased(row[0])]
    return connection.execute(
        "DELETE FROM ops.mart_changes WHERE features ->> 'user_id' = ANY(%s)", (erased,)
    ).rowcount


def held_publications(folder: Path, wanted: Iterable[int]) -> set[int]:
    """Which of `wanted` have rows in the history's files in `folder`.

    Reads the column only of row groups whose statistics allow for one: of new publications footers alone.
    """
    import pyarrow.parquet as pq

    left, held = set(wanted), set[int]()
    for path in data_files(folder):
        with pq.ParquetFile(path) as file:
            column = file.schema_arrow.get_field_index(PUBLICATION_ID)
            groups = [
                number
                for number in range(file.num_row_groups)
                if _may_hold(file.metadata.row_group(number).column(column).statistics, left)
            ]
            if groups:
                held |= left & set(file.read_row_groups(groups, [PUBLICATION_ID])[0].unique().to_pylist())
        left -= held
    return held


def _may_hold(statistics: Any, wanted: set[int]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return bool(wanted)
    return any(statistics.min <= number <= statistics.max for number in wanted)


def remove_from_outbox(connection: psycopg.Connection, metastore: Metastore) -> dict[str, int]:
    """Take out what the histories hold, and changes that no publication made; returns rows removed by mart.

    Waits for a publisher at work. `connection` must autocommit.
    """
    removed = {}
    with table_lock(connection, *MART_HISTORIES.values()):
        for mart, table in MART_HISTORIES.items():
            waiting = waiting_publications(connection, mart)
            places = metastore.locations(table, [(dt,) for dt in sorted({it.dt for it in waiting})])
            held = {
                number
                for dt in {it.dt for it in waiting}
                if (folder := places.get((dt,)))
                for number in held_publications(folder, [it.publication_id for it in waiting if it.dt == dt])
            }
            removed[mart] = connection.execute(
                "DELETE FROM ops.mart_changes AS change WHERE mart = %s AND (publication_id = ANY(%s) OR NOT EXISTS"
                " (SELECT FROM ops.mart_publications AS known WHERE known.publication_id = change.publication_id))",
                (mart, sorted(held)),
            ).rowcount
    return removed
