"""Beginning, swapping, dropping and rolling back a generation: each one transaction over libpq, without Airflow.

The seam with the drivers is the generation's row: a micro-batch commits under FOR SHARE of it and writes where its
status says. Whoever changes a status waits for the micro-batch at hand, and the next one sees the change.
"""

import itertools
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from include.common.names import Dag, Pg
from include.common.postgres import connect
from include.orchestration.roll_out import tables

if TYPE_CHECKING:
    from include.spark_jobs.stream_sessionize.generations import Plan

Offsets = dict[str, int]
CURRENT, SHADOW, RETIRED = Pg.REALTIME_SCHEMA, Pg.REALTIME_SHADOW_SCHEMA, Pg.REALTIME_RETIRED_SCHEMA
SCHEMA_OF = {"current": CURRENT, "shadow": SHADOW, "retired": RETIRED}
"""Status -> the schema of a generation's rows; a dropped one has none."""
_BETWEEN = "realtime_moving"
"""Exists inside a roll-back's transaction only."""
_APPLICATION = Dag.ROLL_OUT
_FIND: LiteralString = """
SELECT generation, status, checkpoint, rules, run_id, status_since, coalesce(
    (SELECT end_offsets FROM ops.stream_batches AS batch
     WHERE batch.generation = made.generation ORDER BY batch_id DESC LIMIT 1),
    rules -> 'start_offsets')
FROM ops.stream_generations AS made
"""


class RollOutError(RuntimeError):
    """It cannot be done as asked, or not now; nothing was changed, and the message says the mend."""


@dataclass(frozen=True)
class Entry:
    """A row of ops.stream_generations. `reached`: the next offsets that it will read."""

    number: int
    status: str
    checkpoint: str
    plan: "Plan"
    run_id: str | None
    status_since: Any
    reached: Offsets
    copied_to: int
    """Ledger position of its predecessor up to which rows were copied from it."""


@dataclass(frozen=True)
class Patience:
    """Seconds: for the shadow to reach where the current one stands, for readers to let go, and for one lock.

    A lock is waited for far shorter than PostgreSQL's deadlock_timeout (1 s): where the swap and a reader wait for each
    other the swap gives way and tries again.
    """

    level_s: float = 60.0
    readers_s: float = 600.0
    lock_s: float = 0.1


def _entry(row: tuple[Any, ...]) -> Entry:
    from include.spark_jobs.stream_sessionize.generations import Plan

    stored = row[3]
    return Entry(
        row[0], row[1], row[2], Plan.from_stored(stored), row[4], row[5], row[6], stored.get("copied_to", -1)
    )


def find(connection: psycopg.Connection, number: int) -> Entry:
    """Generation `number`; raises RollOutError for one that there is not."""
    row = connection.execute(_FIND + "WHERE generation = %s", (number,)).fetchone()
    if row is None:
        raise RollOutError(f"there is no generation {number} in {Pg.STREAM_GENERATIONS}")
    return _entry(row)


def with_status(connection: psycopg.Connection, status: str) -> Entry | None:
    """The generation with `status` current, shadow or retired; None where there is none."""
    row = connection.execute(_FIND + "WHERE status = %s", (status,)).fetchone()
    return None if row is None else _entry(row)


def current(connection: psycopg.Connection) -> Entry:
    """The current generation; raises RollOutError where the stream has not begun."""
    found = with_status(connection, "current")
    if found is None:
        raise RollOutError(f"there is no generation yet: unpause {Dag.SESSIONIZE}, it makes the first one")
    return found


def is_level(candidate: Mapping[str, int], with_: Mapping[str, int]) -> bool:
    """Has `candidate` read every partition at least as far? (Partition -> next offset.)"""
    return all(candidate.get(partition, 0) >= offset for partition, offset in with_.items())


def publishing_from(plan: "Plan", point_ms: int | None) -> "Plan":
    """The plan of a generation whose own readings are those of sessions that begin at `point_ms` or later."""
    return replace(plan, publish_from_ms=point_ms)


def begin(dsn: str, run_id: str, plan: "Plan", start: Offsets) -> int:
    """Make a shadow generation: its row, its tables, and the rows before `plan.publish_from_ms`; returns its number.

    Repeated with the same `run_id` it returns the one that it made. Raises RollOutError where another shadow is there.
    """
    with connect(dsn, application_name=_APPLICATION) as connection:
        # one look at the current rows: sums and readings must fit
        connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        connection.execute("LOCK TABLE ops.stream_generations IN SHARE ROW EXCLUSIVE MODE")
        shadow = with_status(connection, "shadow")
        if shadow is not None:
            if shadow.run_id == run_id:
                return shadow.number
            raise RollOutError(f"generation {shadow.number} is a shadow already, of run {shadow.run_id}")
        before = current(connection)
        row = connection.execute(
            "SELECT (SELECT max(generation) + 1 FROM ops.stream_generations), coalesce(max(position), 0)"
            " FROM ops.stream_batches WHERE generation = %s",
            (before.number,),
        ).fetchone()
        number, position = row or (0, 0)
        rules = plan.stored(start) | {"follows": before.number, "copied_to": position}
        connection.execute(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules, run_id)"
            " VALUES (%s, 'shadow', %s, %s, %s)",
            (number, f"generation={number}", Jsonb(rules), run_id),
        )
        tables.make_alike(connection, SHADOW, CURRENT)
        if plan.publish_from_ms is not None:
            _copy_before(connection, number, plan.publish_from_ms)
        return int(number)


def _copy_before(connection: psycopg.Connection, number: int, point_ms: int) -> None:
    own = ("generation", "batch_id", "ledger_position")
    others = [name for name in tables.columns(connection, CURRENT, "session_features") if name not in own]
    # position 0 is before every cut
    copy = sql.SQL(
        "INSERT INTO {} ({columns}, generation, batch_id, ledger_position) SELECT {columns}, {}, -1, 0"
        " FROM {} WHERE session_start_ms < {}"
    ).format(
        sql.Identifier(SHADOW, "session_features"),
        number,
        sql.Identifier(CURRENT, "session_features"),
        point_ms,
        columns=sql.SQL(", ").join(map(sql.Identifier, others)),
    )
    connection.execute(copy)
    tables.run_file(connection, "copy_users", number, point_ms)
    tables.run_file(connection, "copy_episodes", number, point_ms)
    tables.analyze(connection, SHADOW)


def drop(dsn: str, number: int) -> Entry:
    """Drop a shadow generation's rows; its ledger stays. Safe to repeat. Raises RollOutError for another's."""
    with connect(dsn, application_name=_APPLICATION) as connection:
        _lock_row(connection, number)
        entry = find(connection, number)
        if entry.status == "dropped":
            return entry
        if entry.status != "shadow":
            raise RollOutError(f"generation {number} is {entry.status}: only a shadow can be dropped")
        tables.drop(connection, SHADOW)
        _set_status(connection, number, "dropped")
        return entry


@dataclass(frozen=True)
class Swap:
    """What a swap did. `held_s`: how long the streams could not commit; `closed_s`: how long readers waited."""

    retired: int
    dropped: int | None
    held_s: float
    closed_s: float


def swap(dsn: str, number: int, patience: Patience | None = None) -> Swap | None:
    """Make shadow or retired generation `number` the current one, in one transaction; None where it is already.

    The current generation is kept as the retired one; the one that was retired before is dropped when a shadow comes
    in. A shadow is swapped in only where it has read at least as far as the current one, which is held meanwhile: no
    reader sees a number go back in time. Raises RollOutError, TablesError; nothing is changed then.
    """
    patience = patience or Patience()
    deadline = time.monotonic() + patience.readers_s
    for attempt in itertools.count():
        try:
            with connect(dsn, application_name=_APPLICATION) as connection:
                return _swap(connection, number, patience, again=attempt > 0)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() > deadline:
                raise RollOutError(
                    f"something reads {CURRENT} or {Pg.STREAM_GENERATIONS} without a pause for {patience.readers_s:.0f} s "
                    f"({error.diag.message_primary}): look for a long transaction in pg_stat_activity, end it, clear "
                    f"this task"
                ) from error
            time.sleep(random.uniform(0.02, min(1.0, 0.05 * 2**attempt)))  # noqa: S311  not in step with readers
    raise AssertionError("unreachable")


def _swap(connection: psycopg.Connection, number: int, patience: Patience, *, again: bool) -> Swap | None:
    began = time.monotonic()
    before = current(connection)
    if before.number == number:
        return None
    connection.execute("SET LOCAL lock_timeout TO '60s'")  # a micro-batch may be at hand
    _lock_row(connection, before.number)
    candidate = find(connection, number)
    if candidate.status not in ("shadow", "retired"):
        raise RollOutError(f"generation {number} is {candidate.status}: it has no rows to swap in")
    if candidate.status == "shadow":
        _await_level(connection, number, patience.level_s)
    _lock_row(connection, number)
    if candidate.status == "shadow":
        _check_copied(connection, candidate)
    source = SCHEMA_OF[candidate.status]
    tables.check_alike(connection, CURRENT, source)
    views = tables.views_on(connection, CURRENT)
    closing = time.monotonic()
    connection.execute(sql.SQL("SET LOCAL lock_timeout TO {}").format(f"{patience.lock_s * 1000:.0f}ms"))
    tables.lock_out_readers(connection, CURRENT, views, shuffled=again)
    dropped = _move(connection, candidate.status)
    for view in views:
        view.replace(connection)
    _set_status(connection, before.number, "retired")
    _set_status(connection, number, "current")
    connection.commit()
    ended = time.monotonic()
    return Swap(before.number, dropped, round(ended - began, 3), round(ended - closing, 3))


def _move(connection: psycopg.Connection, status: str) -> int | None:
    """Move the tables; returns the generation that was dropped for it."""
    if status == "retired":  # the two change places
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(_BETWEEN)))
        tables.move(connection, CURRENT, _BETWEEN)
        tables.move(connection, RETIRED, CURRENT)
        tables.move(connection, _BETWEEN, RETIRED)
        connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(_BETWEEN)))
        _free_status(connection)
        return None
    old = with_status(connection, "retired")
    if old is not None:
        tables.drop(connection, RETIRED)
        _set_status(connection, old.number, "dropped")
    tables.move(connection, CURRENT, RETIRED)
    tables.move(connection, SHADOW, CURRENT)
    return None if old is None else old.number


def _free_status(connection: psycopg.Connection) -> None:
    # at most one is retired (a unique index): it is for an instant a shadow, of which there is at most one, too
    if with_status(connection, "shadow") is not None:
        raise RollOutError("a shadow generation is there: swap it in or drop it before rolling back")
    connection.execute("UPDATE ops.stream_generations SET status = 'shadow' WHERE status = 'retired'")


def _await_level(connection: psycopg.Connection, number: int, within_s: float) -> None:
    """Wait until the shadow's ledger stands where the (held) current one does; READ COMMITTED sees it move."""
    aim = current(connection).reached
    deadline = time.monotonic() + within_s
    while not is_level(find(connection, number).reached, aim):
        if time.monotonic() > deadline:
            raise RollOutError(
                f"generation {number} did not reach {aim}, where the current one stands, within {within_s:.0f} s: is "
                f"its driver running (task run_shadow)? Clear this task once it is level again"
            )
        time.sleep(0.05)


def _check_copied(connection: psycopg.Connection, candidate: Entry) -> None:
    point_ms = candidate.plan.publish_from_ms
    if point_ms is None:
        return
    row = connection.execute(
        """
        SELECT count(*) FROM realtime.session_features AS old
        WHERE old.session_start_ms < %s AND old.ledger_position > %s AND NOT EXISTS (
            SELECT FROM realtime_shadow.session_features AS copy
            WHERE (copy.session_id, copy.session_start_ms, copy.episode_id)
                = (old.session_id, old.session_start_ms, old.episode_id) AND NOT copy.is_final
        )
        """,
        (point_ms, candidate.copied_to),
    ).fetchone()
    if row and row[0]:
        raise RollOutError(
            f"{row[0]} readings of sessions that began before the new generation's own changed since they were copied: "
            f"drop it and roll out again"
        )


def _lock_row(connection: psycopg.Connection, number: int) -> None:
    connection.execute("SELECT FROM ops.stream_generations WHERE generation = %s FOR UPDATE", (number,))


def _set_status(connection: psycopg.Connection, number: int, status: str) -> None:
    connection.execute(
        "UPDATE ops.stream_generations SET status = %s, status_since = clock_timestamp() WHERE generation = %s",
        (status, number),
    )
