"""Rows of `realtime` that have not changed for long leave it, as ops__maintain asks, and progress of micro-batches as old;
the driver does it beside the query.

The tables are walked once, by ranges of pages, a transaction each, so that no index is needed and a micro-batch waits for
a range at the most. A killed driver's next run walks them again and finds less. Sums of readers and episodes keep what
they have counted, until nobody has read for so long that their rows go, too.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import sql

from include.common.names import Pg
from include.spark_jobs.stream_sessionize.generations import Generation

PAGES = 2048
"""16 MB: some 50,000 readings."""
_SLICE_S = 0.3

OLD_READING = sql.SQL(
    "(is_final OR batch_id = -1) AND committed_at < %(changed_before)s AND ledger_position <= %(up_to_position)s"
)
"""Which readings go (batch_id -1: copied from the generation before, and written by nobody any more)."""
_RANGE = sql.SQL("ctid >= %(first)s::tid AND ctid < %(last)s::tid")
_READINGS = sql.SQL("DELETE FROM realtime.session_features WHERE {} AND {}").format(_RANGE, OLD_READING)
_READERS = sql.SQL(
    "DELETE FROM realtime.user_features AS row WHERE {} AND committed_at < %(changed_before)s"
    " AND NOT EXISTS (SELECT FROM realtime.session_features AS reading WHERE reading.user_id = row.user_id)"
).format(_RANGE)
_EPISODES = sql.SQL(
    "DELETE FROM realtime.episode_features AS row WHERE {} AND committed_at < %(changed_before)s"
    " AND NOT EXISTS (SELECT FROM realtime.session_features AS reading WHERE reading.episode_id = row.episode_id)"
).format(_RANGE)
_PROGRESS = sql.SQL("DELETE FROM ops.stream_progress WHERE {} AND observed_at < %(changed_before)s").format(
    _RANGE
)
TABLES: tuple[tuple[str, str, sql.Composed], ...] = (
    ("readings", Pg.SESSION_FEATURES, _READINGS),
    ("readers", Pg.USER_FEATURES, _READERS),
    ("episodes", Pg.EPISODE_FEATURES, _EPISODES),
    ("progress_rows", Pg.STREAM_PROGRESS, _PROGRESS),
)
"""Column of ops.prunings, table, statement; readings first, as the others ask for them."""
_NEXT: LiteralString = """
SELECT request_id, changed_before, up_to_position FROM ops.prune_requests AS request
WHERE generation = %s AND NOT EXISTS (
    SELECT FROM ops.prunings AS done WHERE done.request_id = request.request_id AND done.finished_at IS NOT NULL
)
ORDER BY request_id LIMIT 1
"""
_FINISHED: LiteralString = "UPDATE ops.prunings SET finished_at = clock_timestamp() WHERE request_id = %s"
_STATUS: LiteralString = "SELECT status FROM ops.stream_generations WHERE generation = %s FOR UPDATE"
_ADD: LiteralString = """
INSERT INTO ops.prunings AS done (request_id, readings, readers, episodes, progress_rows, readings_pruned_at)
VALUES (
    %(id)s, %(readings)s, %(readers)s, %(episodes)s, %(progress_rows)s,
    CASE WHEN %(readings)s > 0 THEN clock_timestamp() END
)
ON CONFLICT (request_id) DO UPDATE SET
    readings = done.readings + excluded.readings,
    readers = done.readers + excluded.readers,
    episodes = done.episodes + excluded.episodes,
    progress_rows = done.progress_rows + excluded.progress_rows,
    readings_pruned_at = coalesce(excluded.readings_pruned_at, done.readings_pruned_at)
"""
_NOTHING = {column: 0 for column, _, _ in TABLES}


@dataclass(frozen=True)
class Request:
    """What ops__maintain asks for: rows that changed last before a time, readings up to a ledger position."""

    request_id: int
    changed_before: datetime
    up_to_position: int


class Pruning:
    """One driver's share. A shadow has nothing to prune: its rows count once it is the current generation."""

    def __init__(
        self,
        connection: psycopg.Connection,
        generation: Generation,
        pages: int = PAGES,
        slice_s: float = _SLICE_S,
    ) -> None:
        self._connection = connection
        self._generation = generation
        self._pages = pages
        self._slice_s = slice_s
        self._work: Iterator[None] | None = None

    def advance(self) -> None:
        """Go on for a fraction of a second, if there is something to do."""
        until = time.monotonic() + self._slice_s
        if self._work is None:
            request = self._next() if self._generation.status == "current" else None
            if request is None:
                return
            self._work = self._prune(request)
        for _ in self._work:
            if time.monotonic() >= until:
                return
        self._work = None

    def _next(self) -> Request | None:
        row = self._connection.execute(_NEXT, (self._generation.number,)).fetchone()
        return None if row is None else Request(*row)

    def _prune(self, request: Request) -> Iterator[None]:
        print(
            f"stream_sessionize: pruning {request.request_id}: rows older than {request.changed_before}",
            flush=True,
        )
        for column, table, statement in TABLES:
            for first in range(0, self._pages_of(table), self._pages):
                if not self._remove(request, column, statement, first):
                    return
                yield
        self._connection.execute(_FINISHED, (request.request_id,))
        print(f"stream_sessionize: pruning {request.request_id}: done", flush=True)

    def _pages_of(self, table: str) -> int:
        row = self._connection.execute(
            "SELECT pg_relation_size(%s::text::regclass) / current_setting('block_size')::int", (table,)
        ).fetchone()
        return 1 if row is None else max(int(row[0]), 1)  # an empty table, too, makes a row of ops.prunings

    def _remove(self, request: Request, column: str, statement: sql.Composed, first: int) -> bool:
        """One range of pages, alone as `erased_rows`; False where another generation stands in `realtime` now."""
        with self._connection.transaction():
            row = self._connection.execute(_STATUS, (self._generation.number,)).fetchone()
            if row is None or row[0] != "current":
                return False
            removed = self._connection.execute(
                statement,
                {
                    "first": f"({first},0)",
                    "last": f"({first + self._pages},0)",
                    "changed_before": request.changed_before,
                    "up_to_position": request.up_to_position,
                },
            ).rowcount
            self._connection.execute(_ADD, {"id": request.request_id, **_NOTHING, column: removed})
        return True
