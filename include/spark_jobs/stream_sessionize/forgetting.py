"""What a run of the query knows of erased readers, and what it still does for those whose erasure is new.

A run takes nothing from the readers who were erased when it began. An erasure that it does not know ends it, and the
driver begins the next one, which also takes out what is there: sessions from the state (`bucket_log.load`), rows and
landing files (`erased_rows`), and, by Spark's settings of `spark.SCRUBBING`, the checkpoint's old versions. Once a search of
the checkpoint finds nothing, it says so in ops.erasure_steps and makes room for a run with the usual settings.
"""

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import psycopg

from include.common.erasure.checkpoint_search import search_checkpoint, session_needles, state_needle
from include.common.erasure.erasures import ErasedReaders, Erasure, erased_readers, pending, record_step
from include.common.names import Pg
from include.spark_jobs.stream_sessionize.erased_rows import (
    Landed,
    generations_of,
    remove_rows,
    rows_step,
    search_landing,
    sweep_landing,
)
from include.spark_jobs.stream_sessionize.generations import (
    SCHEMAS,
    Generation,
    last_planned_batch,
    newest_listed,
)
from include.spark_jobs.stream_sessionize.handover import CheckpointLease

STORE: Final = "stream"
"""In ops.erasure_steps: everything that the stream writes, of every generation."""
_SLICE_S = 0.3
_SEARCH_EVERY_S = 2.0


def generation_step(generation: int) -> str:
    """Name in ops.erasure_steps of one generation's part: its rows, its files, its checkpoint."""
    return f"stream_generation_{generation}"


def half_done(checkpoint: Path, listed: int) -> Path | None:
    """The commit that Spark still has to write for a micro-batch that the ledger lists already (`listed`: its newest one).

    It is repeated, and what it gives out this time is thrown away: it must give out what it gave out before, so nobody may
    be forgotten in it who was not then. None as a rule.
    """
    planned = last_planned_batch(checkpoint)
    commit = checkpoint / "commits" / str(planned)
    return None if planned < 0 or planned > listed or commit.exists() else commit


class Forgetting:
    """One run's share in the erasures. `erased` is whom it takes nothing from, `erasures` whom it also removes."""

    def __init__(
        self,
        connection: psycopg.Connection,
        generation: Generation,
        landing_dir: Path,
        erased: ErasedReaders,
        known: set[tuple[int, datetime]],
        erasures: list[Erasure],
        comes_first: Path | None = None,
    ) -> None:
        self._connection = connection
        self._generation = generation
        self._landing_dir = landing_dir
        self.erased = erased
        self._known = known
        self._comes_first = comes_first
        self.erasures = erasures
        self._began_at = time.time()
        self._work: Iterator[bool] | None = self._forget() if erasures else None
        self.wants_restart = False
        self._sessions: set[str] = set()

    @classmethod
    def begin(
        cls, connection: psycopg.Connection, key: bytes, generation: Generation, landing_dir: Path
    ) -> Self:
        """What the next run of `generation` has to know and to do. Raises SettingsError where `key` is missing or wrong.

        New erasures wait for the end of a micro-batch that is `half_done`; those that were `_begun` go on, as it was made
        without their readers.
        """
        # first: an erasure that comes now is not known
        known = {
            (number, requested_at)  # a request that is filed again is another one
            for number, requested_at in connection.execute(
                f"SELECT erasure_id, requested_at FROM {Pg.ERASURES}"  # noqa: S608  a constant
            )
        }
        erased = erased_readers(connection, key)
        erasures = pending(connection, key, generation_step(generation.number)) if erased else []
        comes_first = half_done(generation.checkpoint, newest_listed(connection, generation.number))
        if erasures and comes_first is not None:
            begun = _begun(connection, generation.number)
            new = {it.erasure_id: it.digest for it in erasures if it.erasure_id not in begun}
            known = {request for request in known if request[0] not in new}
            erased = ErasedReaders(erased.digests - set(new.values()), key)
            erasures = [it for it in erasures if it.erasure_id in begun]
        if erasures:
            _remove_half_written(generation.checkpoint)
        return cls(connection, generation, landing_dir, erased, known, erasures, comes_first)

    def remove_rows(self) -> None:
        """Remove rows of those who are to be forgotten; before the query begins. Raises SupersededError."""
        if self.erasures:
            self._remove(Landed())

    def why_restart(self) -> str | None:
        """Why this run should end and the next one begin; None if it should go on. Works for a fraction of a second."""
        if self._work is not None:
            if not self._advance(self._work):
                return None
            self._work = None
            self.wants_restart = True
            return f"{_numbers(self.erasures)}: forgotten; goes on with the usual settings"
        unknown = self._look()
        if not unknown or self._repeats():
            return None
        self.wants_restart = True
        return f"erasure {', '.join(map(str, unknown))}: begins anew to forget a reader"

    def _repeats(self) -> bool:
        """Whether the micro-batch that comes first is still at hand."""
        commit = self._comes_first
        if commit is None:
            return False
        return not commit.exists() and last_planned_batch(self._generation.checkpoint) == int(commit.name)

    def _look(self) -> list[int]:
        """Erasures that this run does not know. Of those that it does, the last generation to be done says so."""
        rows = self._connection.execute(
            f"SELECT erasure_id, requested_at, EXISTS (SELECT FROM {Pg.ERASURE_STEPS} AS own"  # noqa: S608  constants
            " WHERE own.erasure_id = e.erasure_id AND own.store = %s)"
            f" FROM {Pg.ERASURES} AS e WHERE subject_encrypted IS NOT NULL AND NOT EXISTS (SELECT"
            f" FROM {Pg.ERASURE_STEPS} AS step WHERE step.erasure_id = e.erasure_id AND step.store = %s)"
            " ORDER BY erasure_id",
            (generation_step(self._generation.number), STORE),
        ).fetchall()
        for erasure_id, _, is_done in rows:
            if is_done:
                _finish(self._connection, erasure_id)
        return [
            erasure_id
            for erasure_id, requested_at, _ in rows
            if (erasure_id, requested_at) not in self._known
        ]

    def _advance(self, work: Iterator[bool]) -> bool:
        """Go on for a while; True at the end of the work."""
        until = time.monotonic() + _SLICE_S
        has_more = True
        while has_more and time.monotonic() < until:
            try:
                has_more = next(work)
            except StopIteration:
                return True
        return False

    def _remove(self, landed: Landed) -> None:
        self._sessions |= remove_rows(
            self._connection, self._landing_dir, self._generation, self.erasures, landed
        )

    def _forget(self) -> Iterator[bool]:
        """The work in small pieces; yields whether there is more to do at once."""
        connection, generation = self._connection, self._generation
        print(f"stream_sessionize: {_numbers(self.erasures)}: forgetting", flush=True)
        user_ids = [it.user_id for it in self.erasures if it.user_id is not None]
        generations = generations_of(connection, generation)
        landed = Landed()
        for _ in search_landing(connection, self._landing_dir, generations, user_ids, landed):
            yield True
        self._remove(landed)
        needles = [state_needle(it) for it in user_ids]
        needles += [needle for it in self._sessions for needle in session_needles(it)]
        sweep_landing(connection, self._landing_dir, generations, self._began_at)
        for number, status in generations.items():
            if status == "retired":
                checkpoint = generation.checkpoint.with_name(f"generation={number}")
                while not _is_clean(checkpoint, needles) and not _is_removed(connection, number, checkpoint):
                    yield False
        yield False
        searched_at = 0.0
        while True:
            if time.monotonic() - searched_at >= _SEARCH_EVERY_S:
                found = search_checkpoint(generation.checkpoint, needles)
                searched_at = time.monotonic()
                if found.is_clean:
                    break
            yield False
        if not self._record({"checkpoint_files": found.files, "checkpoint_bytes": found.bytes}, generations):
            yield from self._forget()

    def _record(self, detail: Mapping[str, int], generations: Mapping[int, str]) -> bool:
        """Say that this generation's part is done, which was that of `generations`; False where a swap has brought others,
        whose rows and files nobody else removes."""
        connection, generation = self._connection, self._generation
        with connection.transaction():
            connection.execute(  # a swap waits for this
                f"SELECT FROM {Pg.STREAM_GENERATIONS} WHERE generation = %s FOR SHARE",
                (generation.number,),
            )
            if not generations_of(connection, generation).keys() <= generations.keys():
                return False
            for erasure in self.erasures:
                record_step(
                    connection, erasure.erasure_id, generation_step(generation.number),
                    _removed(connection, erasure.erasure_id, rows_step(generation.number)), json.dumps(detail),
                )  # fmt: skip
                _finish(connection, erasure.erasure_id)
        return True


def _begun(connection: psycopg.Connection, generation: int) -> set[int]:
    """Erasures that every run of the generation has known since a run removed rows, before its query: their steps say so,
    also those of an earlier request (`... until <time>`)."""
    rows = connection.execute(
        f"SELECT erasure_id FROM {Pg.ERASURE_STEPS} WHERE split_part(store, ' until ', 1) = %s",  # noqa: S608  a constant
        (rows_step(generation),),
    )
    return {row[0] for row in rows}


def _numbers(erasures: list[Erasure]) -> str:
    return f"erasure {', '.join(str(it.erasure_id) for it in erasures)}"


def _removed(connection: psycopg.Connection, erasure_id: int, store: str) -> int:
    row = connection.execute(
        f"SELECT removed FROM {Pg.ERASURE_STEPS} WHERE erasure_id = %s AND store = %s",  # noqa: S608  a constant
        (erasure_id, store),
    ).fetchone()
    return 0 if row is None else int(row[0])


def _finish(connection: psycopg.Connection, erasure_id: int) -> None:
    """Say that the stream is done with an erasure, if the current generation and the shadow are."""
    with connection.transaction():
        live = [  # read before the steps, and locked: a swap makes others live, and takes steps back
            generation_step(generation)
            for generation, status in connection.execute(
                f"SELECT generation, status FROM {Pg.STREAM_GENERATIONS} FOR SHARE"  # noqa: S608  a constant
            )
            if status in SCHEMAS
        ]
        connection.execute(
            f"SELECT FROM {Pg.ERASURES} WHERE erasure_id = %s FOR UPDATE",
            (erasure_id,),
        )
        steps: dict[str, tuple[int, dict[str, object]]] = {
            store: (removed, detail)
            for store, removed, detail in connection.execute(
                f"SELECT store, removed, detail FROM {Pg.ERASURE_STEPS} WHERE erasure_id = %s",  # noqa: S608  a constant
                (erasure_id,),
            )
        }
        if STORE in steps or not set(live) <= steps.keys():
            return
        removed = sum(removed for store, (removed, _) in steps.items() if store in live)
        detail = {store: what for store, (_, what) in steps.items() if store.startswith(f"{STORE}_")}
        record_step(connection, erasure_id, STORE, removed, json.dumps(detail))


def _remove_half_written(checkpoint: Path) -> None:
    """Files that a killed driver was writing; ours is the only one that writes here, and its query has not begun."""
    for path in checkpoint.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def _is_clean(checkpoint: Path, needles: list[bytes]) -> bool:
    return not checkpoint.is_dir() or search_checkpoint(checkpoint, needles).is_clean


def _is_removed(connection: psycopg.Connection, number: int, checkpoint: Path) -> bool:
    """Remove a retired generation's checkpoint: nobody runs it, so it cannot be rewritten. There is no way back to that
    generation then, as stream__roll_out says. False as long as its last driver has not ended; True also where the generation
    is no longer retired: a roll-back came first, and its own driver does the rest."""
    with CheckpointLease(checkpoint).held(0) as free, connection.transaction():
        if free:
            row = connection.execute(
                f"SELECT status FROM {Pg.STREAM_GENERATIONS} WHERE generation = %s FOR UPDATE",  # noqa: S608  a constant
                (number,),
            ).fetchone()
            if row is None or row[0] != "retired":
                return True
            print(
                f"stream_sessionize: {checkpoint.name} is retired and holds an erased reader: removed",
                flush=True,
            )
            shutil.rmtree(checkpoint)
    return free
