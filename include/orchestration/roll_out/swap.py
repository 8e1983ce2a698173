"""Swapping a generation in, or back: one transaction, under two running drivers and any number of readers."""

import itertools
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from include.common.names import Pg
from include.common.postgres import connect
from include.orchestration.roll_out import tables
from include.orchestration.roll_out.generations import (
    APPLICATION,
    CURRENT,
    RETIRED,
    SCHEMA_OF,
    SHADOW,
    Entry,
    RollOutError,
    current,
    find,
    lock_row,
    records_behind,
    set_status,
    with_status,
)

_BETWEEN = "realtime_moving"
"""Exists inside a roll-back's transaction only."""


@dataclass(frozen=True)
class Patience:
    """Seconds: for the shadow to reach where the current one stands, the same while that one is held, for
    readers to let go, and for one lock.

    A lock is waited for far shorter than PostgreSQL's deadlock_timeout (1 s): where the swap and a reader
    wait for each other the swap gives way and tries again.
    """

    level_s: float = 60.0
    held_s: float = 10.0
    readers_s: float = 600.0
    lock_s: float = 0.1


@dataclass(frozen=True)
class Swap:
    """What a swap did. `held_s`: how long the streams could not commit; `closed_s`: how long readers
    waited."""

    retired: int
    dropped: int | None
    held_s: float
    closed_s: float


def swap(
    dsn: str,
    number: int,
    patience: Patience | None = None,
    *,
    ends: Mapping[str, int] | None = None,
    check_retired: Callable[[Entry], None] = lambda entry: None,
) -> Swap | None:
    """Make shadow or retired generation `number` the current one, in one transaction; None where it is
    already.

    The current generation is kept as the retired one; the one that was retired before is dropped when a
    shadow comes in. A shadow is swapped in only where it has read at least as far as the current one, which
    is held meanwhile: no reader sees a number go back in time (`ends`: see `records_behind`). `check_retired` is asked of a
    retired one once nobody can remove its checkpoint any more, and raises where it cannot go on. Raises
    RollOutError, TablesError; nothing is changed then.
    """
    patience = patience or Patience()
    deadline = time.monotonic() + patience.readers_s
    for attempt in itertools.count():
        try:
            with connect(dsn, application_name=APPLICATION) as connection:
                return _swap(connection, number, patience, ends or {}, check_retired, again=attempt > 0)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() > deadline:
                raise RollOutError(
                    f"something reads {CURRENT} or {Pg.STREAM_GENERATIONS} without a pause for {patience.readers_s:.0f} s "
                    f"({error.diag.message_primary}): look for a long transaction in pg_stat_activity, end it, clear "
                    f"this task"
                ) from error
            time.sleep(random.uniform(0.01, 0.2))  # noqa: S311  not in step with readers
    raise AssertionError("unreachable")


def _swap(
    connection: psycopg.Connection,
    number: int,
    patience: Patience,
    ends: Mapping[str, int],
    check_retired: Callable[[Entry], None],
    *,
    again: bool,
) -> Swap | None:
    before = current(connection)
    if before.number == number:
        return None
    if find(connection, number).status == "shadow":
        _await_level(connection, number, ends, patience.level_s)
    connection.execute("SET LOCAL lock_timeout TO '60s'")  # a micro-batch may be at hand
    lock_row(connection, before.number)
    held = time.monotonic()
    candidate = find(connection, number)
    if candidate.status not in ("shadow", "retired"):
        raise RollOutError(f"generation {number} is {candidate.status}: it has no rows to swap in")
    if candidate.status == "shadow":
        _await_level(connection, number, ends, patience.held_s)
    lock_row(connection, number)
    if candidate.status == "shadow":
        _check_copied(connection, candidate)
    else:
        check_retired(candidate)
    source = SCHEMA_OF[candidate.status]
    tables.check_alike(connection, CURRENT, source)
    views = tables.views_on(connection, CURRENT)
    closing = time.monotonic()
    connection.execute(sql.SQL("SET LOCAL lock_timeout TO {}").format(f"{patience.lock_s * 1000:.0f}ms"))
    tables.lock_out_readers(connection, CURRENT, views, shuffled=again)
    dropped = _move(connection, candidate.status)
    for view in views:
        view.replace(connection)
    set_status(connection, before.number, "retired")
    set_status(connection, number, "current")
    _begin_erasures_anew(connection, number, before.number)
    connection.commit()
    ended = time.monotonic()
    return Swap(before.number, dropped, round(ended - held, 3), round(ended - closing, 3))


def _begin_erasures_anew(connection: psycopg.Connection, number: int, retired: int) -> None:
    """Erasures that `number` has done with and `retired` has not: the driver of the current generation does the retired one's
    part, too, and this one did not know of that."""
    from include.spark_jobs.stream_sessionize.forgetting import STORE, generation_step

    connection.execute(
        f"DELETE FROM {Pg.ERASURE_STEPS} AS done WHERE store = %s AND NOT EXISTS ("  # noqa: S608  a constant
        f"SELECT FROM {Pg.ERASURE_STEPS} AS other WHERE other.erasure_id = done.erasure_id AND other.store IN (%s, %s))",
        (generation_step(number), generation_step(retired), STORE),
    )


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
        set_status(connection, old.number, "dropped")
    tables.move(connection, CURRENT, RETIRED)
    tables.move(connection, SHADOW, CURRENT)
    return None if old is None else old.number


def _free_status(connection: psycopg.Connection) -> None:
    # at most one is retired (a unique index): it is for an instant a shadow, of which there is at most one, too
    if with_status(connection, "shadow") is not None:
        raise RollOutError("a shadow generation is there: swap it in or drop it before rolling back")
    connection.execute("UPDATE ops.stream_generations SET status = 'shadow' WHERE status = 'retired'")


def _await_level(
    connection: psycopg.Connection, number: int, ends: Mapping[str, int], within_s: float
) -> None:
    """Wait until the shadow's ledger stands where the current one does now; READ COMMITTED sees it move."""
    before = current(connection)
    deadline = time.monotonic() + within_s
    while records_behind(find(connection, number), before, ends):
        if time.monotonic() > deadline:
            raise RollOutError(
                f"generation {number} did not reach {before.reached}, where the current one stands, within "
                f"{within_s:.0f} s: is its driver running (task run_shadow)? Clear this task once it is level again"
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
