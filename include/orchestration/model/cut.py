"""What a run of `features__model` reads: one ledger position, and the published cut that it is computed from.

The base is the newest published cut: rows of readers, episodes and segments without a reading since are as they were.
Where that does not hold the marts are rebuilt wholly, and the cut says why (docs/adr/0026). Plain functions over a libpq
DSN. `ops.model_cuts` is written here and in `publication`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row, dict_row

from include.common.names import Dag, Pg
from include.common.postgres import connect
from include.common.reference.store import LOCK_KEY
from include.dbt.command import model_version

_APPLICATION = Dag.MODEL

_FIND_CUT: LiteralString = """
SELECT cut_id, generation, ledger_position, as_of, fixed_at, published_at IS NOT NULL AS was_published,
       NOT EXISTS (SELECT FROM ops.model_cuts AS later WHERE later.cut_id > cut.cut_id) AS is_newest
FROM ops.model_cuts AS cut WHERE run_id = %(run_id)s
"""
_NEWER_PUBLISHED: LiteralString = """
SELECT max(cut_id) FROM ops.model_cuts
WHERE published_at IS NOT NULL AND cut_id > %(cut_id)s
"""
_LEDGER: LiteralString = """
SELECT batch.generation, batch.position
FROM ops.stream_batches AS batch
JOIN ops.stream_generations AS generation USING (generation)
WHERE generation.status = 'current'
ORDER BY batch.position DESC LIMIT 1
"""
_BASE: LiteralString = """
SELECT cut_id, generation, ledger_position, as_of, fixed_at, status, popularity_epoch, model_version
FROM ops.model_cuts WHERE published_at IS NOT NULL ORDER BY published_at DESC LIMIT 1
"""
_AS_OF: LiteralString = """
SELECT greatest(%(base_as_of)s, max(ended_at)) FROM realtime.session_features
WHERE is_final AND generation = %(generation)s
    AND ledger_position > %(base_position)s AND ledger_position <= %(ledger_position)s
"""
# the popularity settings in force at a time; the epoch begins a period of one window, at most 200 half-lives long, so
# that 2 ^ (age / half-life) stays far from what a double can hold
_SETTINGS: LiteralString = """
SELECT array_agg((name, value)::text ORDER BY name) FROM reference.thresholds
WHERE starts_with(name, 'popularity_') AND valid_from <= %(at)s AND %(at)s < valid_to
"""
_EPOCH: LiteralString = """
SELECT to_timestamp(floor(extract(epoch FROM %(as_of)s::timestamptz) / period_s) * period_s)
FROM (
    SELECT least(
        max(value) FILTER (WHERE name = 'popularity_window_days') * 86400,
        max(value) FILTER (WHERE name = 'popularity_half_life_hours') * 3600 * 200
    )::numeric AS period_s
    FROM reference.thresholds WHERE valid_from <= %(at)s AND %(at)s < valid_to
) AS setting
"""
_REFERENCE_CHANGED_THE_PAST: LiteralString = """
SELECT EXISTS (
    SELECT FROM reference.episode_metadata AS version
    JOIN marts.episode_features AS read USING (episode_id)
    WHERE read.final_reading_count > 0 AND (
        (version.loaded_at > %(fixed_at)s AND version.valid_from <= %(as_of)s)
        OR (version.changed_at > %(fixed_at)s AND version.valid_to <= %(as_of)s)
    )
)
"""
_PRUNED_SINCE: LiteralString = """
SELECT EXISTS (SELECT FROM ops.prunings WHERE readings_pruned_at > %(fixed_at)s)
"""
_IS_CURRENT: LiteralString = """
SELECT FROM ops.stream_generations WHERE generation = %(generation)s AND status = 'current' FOR SHARE
"""
_OPEN_NEW: LiteralString = """
INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, fixed_at, base_cut_id, rebuild_reason,
                            popularity_epoch, model_version)
VALUES (%(run_id)s, %(generation)s, %(ledger_position)s, %(as_of)s, 'open', %(at)s, %(base_cut_id)s,
        %(rebuild_reason)s, %(epoch)s, %(model_version)s)
RETURNING cut_id
"""
_REOPEN: LiteralString = """
-- published_at stays: until this run publishes again, marts hold this very cut
UPDATE ops.model_cuts
SET status = 'open', base_cut_id = %(base_cut_id)s, rebuild_reason = %(rebuild_reason)s,
    popularity_epoch = %(epoch)s, model_version = %(model_version)s
WHERE run_id = %(run_id)s
RETURNING cut_id
"""


class NothingToModelError(RuntimeError):
    """There is no cut to make, and why; the run has nothing to do and skips."""


@dataclass(frozen=True)
class Cut:
    """One ledger position that gate and dbt read up to: final rows of `generation` up to `ledger_position`.

    `as_of` is the newest event time among them (ISO 8601 with offset). Readings up to `base_position` were gated and
    published before; it is -1, and `rebuild_reason` says why, where the marts are rebuilt wholly.
    """

    cut_id: int
    generation: int
    ledger_position: int
    as_of: str
    base_position: int = -1
    rebuild_reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For XCom."""
        return asdict(self)

    @property
    def is_rebuild(self) -> bool:
        """Are the marts rebuilt wholly (dbt's --full-refresh)?"""
        return self.rebuild_reason is not None


@dataclass(frozen=True)
class _Base:
    """The newest published cut."""

    cut_id: int
    generation: int
    ledger_position: int
    as_of: datetime
    fixed_at: datetime
    status: str
    popularity_epoch: datetime | None
    model_version: str | None


def fix_cut(dsn: str, run_id: str, *, rebuild: bool = False) -> Cut:
    """Fix what this run reads, once: a repeated call with the same `run_id` returns the same position, reopened.

    Cuts that an earlier run left open are marked rejected (at most one is open). `rebuild`: rebuild the marts wholly,
    whatever is known. Raises NothingToModelError where the stream has committed nothing yet, no reading is final yet,
    a newer cut was published since this run fixed its own (publishing it now would turn the marts back), or its
    generation was swapped out since.
    """
    with connect(dsn, application_name=_APPLICATION) as connection:
        # one fixer at a time; readers are not held up
        connection.execute("LOCK TABLE ops.model_cuts IN SHARE ROW EXCLUSIVE MODE")
        # a load of reference that goes on is waited for, so that none is dated before fixed_at and seen after it
        connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (LOCK_KEY,))
        found = _find(connection, run_id)
        # the stream, which prunes, is waited for: what it notes as pruned is there, or dated after `at`
        connection.execute(f"SELECT FROM {Pg.STREAM_GENERATIONS} WHERE status = 'current' FOR SHARE")
        at = found["fixed_at"] if found else _value(connection, "SELECT clock_timestamp()")
        connection.execute("UPDATE ops.model_cuts SET status = 'rejected' WHERE status = 'open'")
        if found is None:
            ledger = connection.execute(_LEDGER).fetchone()
            if ledger is None:
                raise NothingToModelError("the stream has not committed a micro-batch yet: nothing to model")
            generation, position = ledger
        else:
            generation, position = found["generation"], found["ledger_position"]
        with connection.cursor(row_factory=class_row(_Base)) as cursor:
            base = cursor.execute(_BASE).fetchone()
        reason = "the form asked for it" if rebuild else _why_rebuild(connection, base, found, generation, at)
        known = base if reason is None else None
        as_of = found["as_of"] if found else _newest_end(connection, generation, position, known)
        if as_of is None:
            raise NothingToModelError(
                f"no reading is final yet at ledger position {position}: nothing to model"
            )
        epoch = _value(connection, _EPOCH, as_of=as_of, at=at)
        if known and known.popularity_epoch != epoch:
            reason, known = f"a new period of popularity began at {epoch:%Y-%m-%d %H:%M} UTC", None
        row = {
            "run_id": run_id, "generation": generation, "ledger_position": position, "as_of": as_of, "at": at,
            "base_cut_id": known.cut_id if known else None, "rebuild_reason": reason, "epoch": epoch,
            "model_version": model_version(),
        }  # fmt: skip
        cut_id = _value(connection, _REOPEN if found else _OPEN_NEW, **row)
        base_position = known.ledger_position if known else -1
        return Cut(cut_id, generation, position, as_of.isoformat(), base_position, reason)


def _find(connection: psycopg.Connection, run_id: str) -> dict[str, Any] | None:
    """The cut that this run fixed before; raises NothingToModelError where it can no longer be published."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(_FIND_CUT, {"run_id": run_id}).fetchone()
    if found is None:
        return None
    newer = _value(connection, _NEWER_PUBLISHED, cut_id=found["cut_id"])
    if newer is not None:
        raise NothingToModelError(
            f"cut {newer} was published after this run fixed cut {found['cut_id']}; "
            f"clearing it would turn the marts back: trigger a new run instead"
        )
    if not is_current(connection, found["generation"]):
        raise NothingToModelError(
            f"cut {found['cut_id']} is of generation {found['generation']}, which {Dag.ROLL_OUT} has swapped out since: "
            f"trigger a new run instead"
        )
    return found


def _why_rebuild(
    connection: psycopg.Connection,
    base: _Base | None,
    found: dict[str, Any] | None,
    generation: int,
    at: datetime,
) -> str | None:
    """Why the candidate of `base` cannot be gone on from; None where it can."""
    if base is None:
        return "no cut is published yet"
    if base.generation != generation:
        return f"the published marts are of generation {base.generation}, the stream's current one is {generation}"
    if base.model_version != model_version():
        return "the dbt project is another than that of the published cut"
    if found and (found["was_published"] or not found["is_newest"]):
        return "the run was cleared after its cut was published, or another one was fixed"
    if base.status != "published":
        return "the published cut was opened again and not published since"
    if _value(connection, _SETTINGS, at=base.fixed_at) != _value(connection, _SETTINGS, at=at):
        return "settings of popularity have changed"
    if _value(connection, _REFERENCE_CHANGED_THE_PAST, fixed_at=base.fixed_at, as_of=base.as_of):
        return "reference has changed for readings that were published"
    if _value(connection, _PRUNED_SINCE, fixed_at=base.fixed_at):
        return "readings that were published have been pruned"
    if _value(connection, "SELECT to_regclass('marts_candidate.int_model_cut')") is None:
        return "there is no candidate to go on from"
    left = connection.execute("SELECT cut_id, is_full_refresh FROM marts_candidate.int_model_cut").fetchone()
    if left is None or (left[1] and left[0] != base.cut_id):
        return "a rebuild before was not published"
    return None


def _newest_end(
    connection: psycopg.Connection, generation: int, position: int, base: _Base | None
) -> datetime | None:
    """Newest event time of the cut; with a base only what became final since is looked at."""
    found: datetime | None = _value(
        connection,
        _AS_OF,
        generation=generation,
        ledger_position=position,
        base_position=base.ledger_position if base else -1,
        base_as_of=base.as_of if base else None,
    )
    return found


def _value(connection: psycopg.Connection, query: LiteralString, **parameters: Any) -> Any:
    """The one value of a query's first row, None without a row."""
    row = connection.execute(query, parameters or None).fetchone()
    return row[0] if row else None


def is_current(connection: psycopg.Connection, generation: int) -> bool:
    """Is this the stream's current generation? It stays so until the transaction ends."""
    return connection.execute(_IS_CURRENT, {"generation": generation}).fetchone() is not None


def readings_of_cut_query(cut: Cut, new_after: int = -1, new_columns: Sequence[str] = ()) -> str:
    """SQL of the rows that the session gate checks: what became final since the base, and so what dbt adds to it.

    `new_columns` are columns with `new_` before them: values of readings that became final after ledger position
    `new_after`, NULL in the others.
    """
    new = "".join(
        f", CASE WHEN ledger_position > {new_after:d} THEN {column.removeprefix('new_')} END AS {column}"
        for column in new_columns
    )
    return (
        f"SELECT *{new} FROM {Pg.SESSION_FEATURES} "  # noqa: S608 - integers and our own column names
        f"WHERE is_final AND generation = {cut.generation:d} AND ledger_position > {cut.base_position:d}"
        f" AND ledger_position <= {cut.ledger_position:d}"
    )


def count_new_readings(dsn: str, cut: Cut) -> int:
    """Rows of `readings_of_cut_query`."""
    query = f"SELECT count(*) FROM ({readings_of_cut_query(cut)}) AS new"  # noqa: S608 - three integers
    with connect(dsn, application_name=_APPLICATION) as connection:
        row = connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def reject_cut(dsn: str, cut_id: int) -> None:
    """Mark an open cut rejected: a gate blocked it. A published one stays as it is.

    A reopened one keeps its published_at: marts still hold what it published before.
    """
    with connect(dsn, application_name=_APPLICATION) as connection:
        connection.execute(
            "UPDATE ops.model_cuts SET status = 'rejected' WHERE cut_id = %s AND status = 'open'", (cut_id,)
        )
