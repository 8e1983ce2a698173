"""Beginning and dropping a generation: each one transaction over libpq, without Airflow.

The seam with the drivers is the generation's row: a micro-batch commits under FOR SHARE of it and writes
where its status says. Whoever changes a status waits for the micro-batch at hand, and the next one sees the
change.
"""

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
APPLICATION = Dag.ROLL_OUT
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


def records_behind(candidate: Entry, before: Entry, ends: Mapping[str, int]) -> int:
    """Records that `candidate` has still to read to where `before` stands.

    `ends` are the topic's (partition -> next offset): where it was made anew, `before` stands beyond them.
    """
    return sum(
        max(0, min(offset, ends.get(partition, offset)) - candidate.reached.get(partition, 0))
        for partition, offset in before.reached.items()
    )


def publishing_from(plan: "Plan", point_ms: int | None) -> "Plan":
    """The plan of a generation whose own readings are those of sessions that begin at `point_ms` or later."""
    return replace(plan, publish_from_ms=point_ms)


def begin(dsn: str, run_id: str, plan: "Plan", start: Offsets) -> int:
    """Make a shadow generation: its row, its tables, and the rows before `plan.publish_from_ms`; returns its
    number.

    Repeated with the same `run_id` it returns the one that it made. Raises RollOutError where another shadow
    is there.
    """
    with connect(dsn, application_name=APPLICATION) as connection:
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
    """Drop a shadow generation's rows; its ledger stays. Safe to repeat. Raises RollOutError for
    another's."""
    with connect(dsn, application_name=APPLICATION) as connection:
        lock_row(connection, number)
        entry = find(connection, number)
        if entry.status == "dropped":
            return entry
        if entry.status != "shadow":
            raise RollOutError(f"generation {number} is {entry.status}: only a shadow can be dropped")
        tables.drop(connection, SHADOW)
        set_status(connection, number, "dropped")
        return entry


def lock_row(connection: psycopg.Connection, number: int) -> None:
    """Wait for the generation's micro-batch at hand, and hold its next one until this transaction ends."""
    connection.execute("SELECT FROM ops.stream_generations WHERE generation = %s FOR UPDATE", (number,))


def set_status(connection: psycopg.Connection, number: int, status: str) -> None:
    """Change a generation's status; its driver sees it at its next commit."""
    connection.execute(
        "UPDATE ops.stream_generations SET status = %s, status_since = clock_timestamp() WHERE generation = %s",
        (status, number),
    )
