"""Generations (checkpoint lineages), what is fixed in each, and the offsets of their micro-batches."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from include.contract.rules import SessionRules
from include.spark_jobs.stream_sessionize.reader import Offsets

_RUNBOOK = "(docs/runbooks/stream_sessionize.md)"


class GenerationError(RuntimeError):
    """The generation cannot run with what was asked for or found; the message says the mend."""


@dataclass(frozen=True)
class Plan:
    """What is fixed for the life of a generation: its buckets, state partitions and rules."""

    buckets_per_partition: int
    state_partitions: int
    rules: SessionRules


@dataclass(frozen=True)
class Generation:
    """One checkpoint lineage. `start_offsets` are those of its first micro-batch."""

    number: int
    checkpoint: Path
    start_offsets: Offsets
    plan: Plan


def current_or_first(
    connection: psycopg.Connection, checkpoint_root: Path, low_watermarks: Offsets, plan: Plan
) -> Generation:
    """Return the current generation, making generation 1 at the topic's `low_watermarks` if there is none.

    Raises GenerationError where `plan` differs from the stored one, and psycopg.errors.UndefinedTable on a
    database that was not migrated.
    """
    asked = asdict(plan)
    with connection.transaction():
        connection.execute("LOCK TABLE ops.stream_generations IN SHARE ROW EXCLUSIVE MODE")
        row = connection.execute(
            "SELECT generation, checkpoint, rules FROM ops.stream_generations WHERE status = 'current'"
        ).fetchone()
        if row is None:
            row = (1, "generation=1", {**asked, "start_offsets": low_watermarks})
            connection.execute(
                "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules)"
                " VALUES (%s, 'current', %s, %s)",
                (row[0], row[1], Jsonb(row[2])),
            )
    number, checkpoint, stored = row
    differing = [name for name, value in asked.items() if stored[name] != value]
    if differing:
        raise GenerationError(
            f"generation {number} was started with another {', '.join(differing)} "
            f"({', '.join(f'{name}={stored[name]}' for name in differing)}); these are fixed in a checkpoint: "
            f"use the same values, or start a new generation {_RUNBOOK}"
        )
    # a partition that was added to the topic since is read from its first offset
    start = {**dict.fromkeys(low_watermarks, 0), **stored["start_offsets"]}
    return Generation(number, checkpoint_root / checkpoint, start, plan)


def check_checkpoint(connection: psycopg.Connection, generation: Generation) -> None:
    """Raise GenerationError unless the checkpoint continues where the ledger stands.

    The ledger may be one micro-batch behind (a crash before the commit) or level, nothing else.
    """
    planned = last_planned_batch(generation.checkpoint)
    row = connection.execute(
        "SELECT coalesce(max(batch_id), -1) FROM ops.stream_batches WHERE generation = %s",
        (generation.number,),
    ).fetchone()
    committed = int(row[0]) if row else -1
    if planned not in (committed, committed + 1):
        raise GenerationError(
            f"the checkpoint {generation.checkpoint} stands at micro-batch {planned}, the ledger of generation "
            f"{generation.number} at {committed}: one of them was deleted or restored. Bring back the one that "
            f"belongs to the other, or start a new generation {_RUNBOOK}"
        )


def last_planned_batch(checkpoint: Path) -> int:
    """Id of the newest micro-batch in the checkpoint's offset log, -1 for a fresh one."""
    offsets = checkpoint / "offsets"
    if not offsets.is_dir():
        return -1
    return max((int(path.name) for path in offsets.iterdir() if path.name.isdigit()), default=-1)


def batch_offsets(generation: Generation, topic: str, batch_id: int) -> tuple[Offsets, Offsets]:
    """Return (start, end) offsets of `topic` by partition, from the checkpoint's own offset log."""
    start = generation.start_offsets if batch_id == 0 else _logged(generation.checkpoint, topic, batch_id - 1)
    return start, _logged(generation.checkpoint, topic, batch_id)


def _logged(checkpoint: Path, topic: str, batch_id: int) -> Offsets:
    # Spark's offset log: a version line, a metadata line, then one line of JSON a source
    lines = (checkpoint / "offsets" / str(batch_id)).read_text().splitlines()
    offsets: Offsets = json.loads(lines[2])[topic]
    return offsets
