"""Generations (checkpoint lineages), what is fixed in each, and the offsets of their micro-batches.

The current generation fills `realtime`. DAG stream__roll_out begins others: a shadow fills `realtime_shadow`,
a retired one is kept in `realtime_retired` for the way back, of a dropped one only the ledger is left.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg.types.json import Jsonb

from include.common.names import Dag, Pg
from include.contract.rules import SessionRules

if TYPE_CHECKING:
    from include.spark_jobs.stream_sessionize.reader import Offsets

_RUNBOOK = "(docs/runbooks/stream_roll_out.md)"
SCHEMAS: Final = {"current": Pg.REALTIME_SCHEMA, "shadow": Pg.REALTIME_SHADOW_SCHEMA}
"""Status of a generation that may commit -> the schema of its rows."""


class GenerationError(RuntimeError):
    """The generation cannot run with what was asked for or found; the message says the mend."""


class SupersededError(RuntimeError):
    """This driver's generation was retired, dropped or handed over: nothing is wrong, the driver ends."""


@dataclass(frozen=True)
class Plan:
    """What is fixed for the life of a generation: its buckets, state partitions and rules.

    `publish_from_ms`: readings of sessions that began before this (epoch ms) are its predecessor's; it reads
    their events to be warm and writes none of their rows. None: all are its own.
    """

    buckets_per_partition: int = 8
    state_partitions: int = 2
    rules: SessionRules = field(default_factory=SessionRules)
    publish_from_ms: int | None = None

    def with_settings(self, settings: Mapping[str, int]) -> Self:
        """The plan with `settings` (names of SETTINGS) in place of its own; raises ValueError for impossible
        ones."""
        rules = {name: value for name, value in settings.items() if name in _RULES}
        others = {name: value for name, value in settings.items() if name not in _RULES}
        return replace(self, rules=replace(self.rules, **rules), **others)

    def settings(self) -> dict[str, int]:
        """Name -> value of each of SETTINGS."""
        flat = {**asdict(self), **asdict(self.rules)}
        return {name: int(flat[name]) for name in SETTINGS}

    def stored(self, start_offsets: "Offsets") -> dict[str, Any]:
        """For ops.stream_generations.rules."""
        return {**asdict(self), "start_offsets": start_offsets}

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> Self:
        """Inverse of `stored`."""
        return cls(
            stored["buckets_per_partition"],
            stored["state_partitions"],
            SessionRules(**stored["rules"]),
            stored.get("publish_from_ms"),
        )


_RULES = frozenset(asdict(SessionRules()))
SETTINGS: Final = ("buckets_per_partition", "state_partitions", *asdict(SessionRules()))
"""What a generation is made with; a run of it can ask for nothing else."""


@dataclass(frozen=True)
class Generation:
    """One checkpoint lineage. `start_offsets` are those of its first micro-batch, `status` as it was looked
    up."""

    number: int
    checkpoint: Path
    start_offsets: "Offsets"
    plan: Plan
    status: str = "current"


def current_or_first(
    connection: psycopg.Connection,
    checkpoint_root: Path,
    low_watermarks: "Offsets",
    settings: Mapping[str, int],
) -> Generation:
    """Return the current generation, making generation 1 at the topic's `low_watermarks` if there is none.

    `settings` (names of SETTINGS) count for a first generation, with defaults for what they leave out. Raises
    GenerationError where they differ from those of the current one, and psycopg.errors.InvalidSchemaName on a
    database that was not migrated.
    """
    with connection.transaction():
        connection.execute("LOCK TABLE ops.stream_generations IN SHARE ROW EXCLUSIVE MODE")
        row = connection.execute(
            "SELECT generation, checkpoint, rules, status FROM ops.stream_generations WHERE status = 'current'"
        ).fetchone()
        if row is None:
            stored = _plan(settings).stored(low_watermarks)
            row = (1, "generation=1", stored, "current")
            connection.execute(
                "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules)"
                " VALUES (%s, 'current', %s, %s)",
                (row[0], row[1], Jsonb(stored)),
            )
    return _generation(row, checkpoint_root, low_watermarks, settings)


def numbered(
    connection: psycopg.Connection,
    number: int,
    checkpoint_root: Path,
    low_watermarks: "Offsets",
    settings: Mapping[str, int],
) -> Generation:
    """Return shadow generation `number`; raises as `current_or_first`, and SupersededError if it is no shadow
    now."""
    row = connection.execute(
        "SELECT generation, checkpoint, rules, status FROM ops.stream_generations WHERE generation = %s",
        (number,),
    ).fetchone()
    if row is None:
        raise GenerationError(f"there is no generation {number}: DAG {Dag.ROLL_OUT} begins them {_RUNBOOK}")
    if row[3] != "shadow":
        raise SupersededError(f"generation {number} is {row[3]}, no shadow: this driver has nothing to do")
    return _generation(row, checkpoint_root, low_watermarks, settings)


def _plan(settings: Mapping[str, int]) -> Plan:
    try:
        return Plan().with_settings(settings)
    except ValueError as error:
        raise GenerationError(str(error)) from error


def _generation(
    row: tuple[Any, ...], checkpoint_root: Path, low_watermarks: "Offsets", settings: Mapping[str, int]
) -> Generation:
    number, checkpoint, stored, status = row
    plan = Plan.from_stored(stored)
    fixed = plan.settings()
    differing = {name: fixed[name] for name, asked in settings.items() if asked != fixed[name]}
    if differing:
        raise GenerationError(
            f"generation {number} was started with another {', '.join(differing)} "
            f"({', '.join(f'{name}={value}' for name, value in differing.items())}); these are fixed in a generation: "
            f"use the same values or none, or roll out a new generation with others: DAG {Dag.ROLL_OUT} {_RUNBOOK}"
        )
    # a partition that was added to the topic since is read from its first offset
    start = {**dict.fromkeys(low_watermarks, 0), **stored["start_offsets"]}
    return Generation(number, checkpoint_root / checkpoint, start, plan, status)


def check_checkpoint(connection: psycopg.Connection, generation: Generation) -> int:
    """Return the newest micro-batch in the ledger (-1: none); raises GenerationError unless the checkpoint continues there.

    Spark lists at most one micro-batch as done that the ledger does not list, and has planned at most one more.
    """
    planned = last_planned_batch(generation.checkpoint)
    done = _newest(generation.checkpoint / "commits")
    committed = newest_listed(connection, generation.number)
    if not committed <= planned <= committed + 2 or done > committed + 1:
        raise GenerationError(
            f"the checkpoint {generation.checkpoint} stands at micro-batch {planned}, the ledger of generation "
            f"{generation.number} at {committed}: one of them was deleted or restored. Bring back the one that "
            f"belongs to the other, or roll out a new generation: DAG {Dag.ROLL_OUT} {_RUNBOOK}"
        )
    return committed


def newest_listed(connection: psycopg.Connection, generation: int) -> int:
    """Id of the newest micro-batch in the ledger, -1 for none; `connection` is in autocommit."""
    # a killed driver's COMMIT may still be under way: its transaction holds this row, and this waits for its end
    connection.execute("SELECT FROM ops.stream_generations WHERE generation = %s FOR UPDATE", (generation,))
    row = connection.execute(
        "SELECT coalesce(max(batch_id), -1) FROM ops.stream_batches WHERE generation = %s", (generation,)
    ).fetchone()
    return -1 if row is None else int(row[0])


def last_planned_batch(checkpoint: Path) -> int:
    """Id of the newest micro-batch in the checkpoint's offset log, -1 for a fresh one."""
    return _newest(checkpoint / "offsets")


def _newest(log: Path) -> int:
    if not log.is_dir():
        return -1
    return max((int(path.name) for path in log.iterdir() if path.name.isdigit()), default=-1)


def batch_offsets(generation: Generation, topic: str, batch_id: int) -> "tuple[Offsets, Offsets]":
    """Return (start, end) offsets of `topic` by partition, from the checkpoint's own offset log."""
    start = generation.start_offsets if batch_id == 0 else _logged(generation.checkpoint, topic, batch_id - 1)
    return start, _logged(generation.checkpoint, topic, batch_id)


def _logged(checkpoint: Path, topic: str, batch_id: int) -> "Offsets":
    # Spark's offset log: a version line, a metadata line, then one line of JSON a source
    lines = (checkpoint / "offsets" / str(batch_id)).read_text().splitlines()
    offsets: Offsets = json.loads(lines[2])[topic]
    return offsets
