"""Rows of erased readers leave PostgreSQL and the landing, a transaction each.

It holds the generation's row as a micro-batch does, but alone: no micro-batch folds the same rows meanwhile, and no swap
moves the tables. PostgreSQL's come before the query begins, as its first micro-batches remove rows of open sessions, too;
the landing's beside the query, as there may be many files to look into.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from include.common.erasure.erasures import Erasure, record_step
from include.common.names import Pg
from include.spark_jobs.stream_sessionize.generations import SCHEMAS, Generation, SupersededError
from include.spark_jobs.stream_sessionize.landing import LandingFile, write_landing
from include.spark_jobs.stream_sessionize.statements import APPLY, OLD_ROWS, TEMPORARY_TABLES, statements

if TYPE_CHECKING:
    import pyarrow as pa

_STORED: Final = SCHEMAS | {"retired": Pg.REALTIME_RETIRED_SCHEMA}


@dataclass(frozen=True)
class Listed:
    """A landing file that the ledger lists."""

    generation: int
    batch_id: int
    path: str


@dataclass
class Landed:
    """What the landing holds of erased readers: the files, the number of readings by user_id, their sessions, and those
    of the sessions in which somebody else reads, too."""

    files: list[Listed] = field(default_factory=list)
    readings: dict[str, int] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)

    def take(self, file: Listed, table: "pa.Table", user_ids: Sequence[str]) -> None:
        """Look through one file."""
        theirs = set(user_ids)
        pairs = list(
            zip(table.column("user_id").to_pylist(), table.column("session_id").to_pylist(), strict=True)
        )
        found = [(user_id, session_id) for user_id, session_id in pairs if user_id in theirs]
        if not found:
            return
        self.files.append(file)
        for user_id, session_id in found:
            self.readings[user_id] = self.readings.get(user_id, 0) + 1
            self.sessions.add(session_id)
        self.shared |= {session_id for user_id, session_id in pairs if user_id not in theirs} & self.sessions


def rows_step(generation: int) -> str:
    """Name in ops.erasure_steps of what this module does for a generation."""
    return f"stream_rows_{generation}"


def generations_of(connection: psycopg.Connection, generation: Generation) -> dict[int, str]:
    """Generations whose rows and files this driver removes, and their status: its own, and those that have no driver if
    it is the current one."""
    found: dict[int, str] = dict(
        connection.execute(f"SELECT generation, status FROM {Pg.STREAM_GENERATIONS}").fetchall()  # noqa: S608  a constant
    )
    own = found.get(generation.number, "unknown")
    if own not in SCHEMAS:
        raise SupersededError(f"generation {generation.number} is {own}")
    if own == "shadow":
        return {generation.number: own}
    return {number: status for number, status in found.items() if status != "shadow"}


def search_landing(
    connection: psycopg.Connection,
    landing_dir: Path,
    generations: Mapping[int, str],
    user_ids: Sequence[str],
    landed: Landed,
) -> Iterator[None]:
    """Fill `landed` from the listed files, and yield after each, as there may be many. A file's statistics say of most
    that a reader cannot be in it."""
    import pyarrow.parquet as pq

    rows = connection.execute(
        f"SELECT generation, batch_id, landing_path FROM {Pg.STREAM_BATCHES}"  # noqa: S608  a constant
        " WHERE landing_path IS NOT NULL AND generation = ANY(%s) ORDER BY position",
        (list(generations),),
    ).fetchall()
    for file in (Listed(*row) for row in rows):
        try:
            with pq.ParquetFile(landing_dir / file.path) as parquet:
                if any(_may_hold(parquet.metadata, user_id) for user_id in user_ids):
                    landed.take(file, parquet.read(["user_id", "session_id"]), user_ids)
        except FileNotFoundError:  # published, and removed by ops__maintain
            continue
        yield


def _may_hold(metadata: Any, user_id: str) -> bool:
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        column = next(
            it for it in map(group.column, range(group.num_columns)) if it.path_in_schema == "user_id"
        )
        statistics = column.statistics
        if statistics is None or not statistics.has_min_max or statistics.min <= user_id <= statistics.max:
            return True
    return False


def remove_rows(
    connection: psycopg.Connection,
    landing_dir: Path,
    generation: Generation,
    erasures: Sequence[Erasure],
    landed: Landed,
) -> set[str]:
    """Remove the readers' rows and rewrite what `landed` names, in one transaction; the old files go after it.

    Adds to ops.erasure_steps (`rows_step`) how much it was; repeated it finds nothing more. Returns
    the sessions that were theirs alone. Raises SupersededError.
    """
    with connection.transaction():
        connection.execute(
            f"SELECT FROM {Pg.STREAM_GENERATIONS} WHERE generation = %s FOR UPDATE",
            (generation.number,),
        )
        counts: dict[str, dict[str, int]] = {it.digest: {} for it in erasures}
        digests = {it.user_id: it.digest for it in erasures if it.user_id is not None}
        sessions = set(landed.sessions)
        shared = set(landed.shared)
        for number, status in generations_of(connection, generation).items():
            schema = _STORED.get(status)
            if schema is None or not _exists(connection, schema):
                continue
            for user_id, readings in _remove_from(
                connection, schema, number, list(digests), sessions
            ).items():
                counts[digests[user_id]][f"{schema}_readings"] = readings
            shared |= _still_read(connection, schema, sessions)
        late = _remove_late(connection, list(digests), list(sessions - shared))
        for user_id, readings in landed.readings.items():
            counts[digests[user_id]]["landing_readings"] = readings
        for file in landed.files:
            _list(connection, file, _rewritten(landing_dir, file, list(digests)))
        together = {"late_events": late, "landing_files": len(landed.files), "shared_sessions": len(shared)}
        for erasure in erasures:
            _record(connection, erasure, rows_step(generation.number), counts[erasure.digest], together)
    return sessions - shared


def _record(
    connection: psycopg.Connection,
    erasure: Erasure,
    store: str,
    counts: Mapping[str, int],
    together: Mapping[str, int],
) -> None:
    """Add to what earlier passes removed; of `together` only late events are rows."""
    row = connection.execute(
        f"SELECT detail FROM {Pg.ERASURE_STEPS} WHERE erasure_id = %s AND store = %s",  # noqa: S608  constants
        (erasure.erasure_id, store),
    ).fetchone()
    before: dict[str, int] = {} if row is None else row[0]
    found = {**counts, **together}
    detail = {name: before.get(name, 0) + found.get(name, 0) for name in before | found}
    detail["shared_sessions"] = max(before.get("shared_sessions", 0), found["shared_sessions"])
    removed = sum(counts.values()) + together["late_events"]
    record_step(connection, erasure.erasure_id, store, removed, json.dumps(detail))


def _exists(connection: psycopg.Connection, schema: str) -> bool:
    row = connection.execute("SELECT to_regclass(%s)", (f"{schema}.session_features",)).fetchone()
    return row is not None and row[0] is not None


def _remove_from(
    connection: psycopg.Connection, schema: str, generation: int, user_ids: list[str], sessions: set[str]
) -> dict[str, int]:
    """Number of readings that were removed by user_id; their session ids are added to `sessions`."""
    table = sql.Identifier(schema, "session_features")
    found = connection.execute(
        sql.SQL(
            "SELECT user_id, count(*), array_agg(DISTINCT session_id) FROM {} WHERE user_id = ANY(%s) GROUP BY user_id"
        ).format(table),
        (user_ids,),
    ).fetchall()
    texts = statements(schema)
    connection.execute("DROP TABLE IF EXISTS pg_temp.staged, pg_temp.removed, pg_temp.old_rows")
    for name in TEMPORARY_TABLES:
        connection.execute(texts[name].encode())
    connection.execute(
        sql.SQL(
            "INSERT INTO pg_temp.removed SELECT session_id, session_start_ms, episode_id FROM {} WHERE user_id = ANY(%s)"
        ).format(table),
        (user_ids,),
    )
    row = connection.execute(
        f"SELECT coalesce(max(batch_id), 0) FROM {Pg.STREAM_BATCHES} WHERE generation = %s",  # noqa: S608  a constant
        (generation,),
    ).fetchone()
    values = (generation, row[0] if row else 0, 0)
    connection.execute(texts[OLD_ROWS].encode())
    for name, parameters in APPLY:
        psycopg.RawCursor(connection).execute(texts[name].encode(), values[:parameters] or None)
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE user_id = ANY(%s)").format(sql.Identifier(schema, "user_features")),
        (user_ids,),
    )
    for _, _, theirs in found:
        sessions.update(theirs)
    return {user_id: count for user_id, count, _ in found}


def _remove_late(connection: psycopg.Connection, user_ids: list[str], sessions: list[str]) -> int:
    """Rows that do not say whose they are go by session."""
    return connection.execute(
        f"DELETE FROM {Pg.LATE_EVENTS} WHERE user_id = ANY(%s) OR (user_id IS NULL AND session_id = ANY(%s))",  # noqa: S608  a constant
        (user_ids, sessions),
    ).rowcount


def _still_read(connection: psycopg.Connection, schema: str, sessions: set[str]) -> set[str]:
    rows = connection.execute(
        sql.SQL("SELECT DISTINCT session_id FROM {} WHERE session_id = ANY(%s)").format(
            sql.Identifier(schema, "session_features")
        ),
        (list(sessions),),
    )
    return {row[0] for row in rows}


def _rewritten(landing_dir: Path, file: Listed, user_ids: list[str]) -> LandingFile:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetFile(landing_dir / file.path) as parquet:
        table = parquet.read()
    kept = table.filter(pc.invert(pc.is_in(table.column("user_id"), pa.array(user_ids, pa.string()))))
    return write_landing(landing_dir, file.generation, file.batch_id, kept)


def _list(connection: psycopg.Connection, file: Listed, rewritten: LandingFile) -> None:
    connection.execute(
        f"UPDATE {Pg.STREAM_BATCHES} SET landing_path = %s, landing_rows = %s, landing_sha256 = %s"  # noqa: S608  a constant
        " WHERE generation = %s AND batch_id = %s",
        (rewritten.path, rewritten.rows, rewritten.sha256, file.generation, file.batch_id),
    )


def sweep_landing(
    connection: psycopg.Connection, landing_dir: Path, generations: Mapping[int, str], before: float
) -> int:
    """Remove files of `generations` that the ledger does not list and that are older than `before` (epoch seconds), when
    the query began, which lands nothing of erased readers: what was rewritten, and what a killed driver left."""
    removed = 0
    for number in generations:
        listed = {
            row[0]
            for row in connection.execute(
                f"SELECT landing_path FROM {Pg.STREAM_BATCHES} WHERE generation = %s AND landing_path IS NOT NULL",  # noqa: S608  a constant
                (number,),
            )
        }
        for path in (landing_dir / f"generation={number}").glob("*"):
            if path.relative_to(landing_dir).as_posix() in listed:
                continue
            with suppress(FileNotFoundError):  # ops__maintain removes some of them, too
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
    return removed
