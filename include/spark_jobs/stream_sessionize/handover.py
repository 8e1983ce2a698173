"""Two drivers and one checkpoint: never both at once, and no longer a pause between them than must be.

A swap makes the shadow generation the current one while its driver runs; the driver goes on, and now fills
`realtime`. stream__sessionize, whose own driver has ended, starts the next one, which starts Spark, says that
it waits, and is let in.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from include.spark_jobs.session import JobError
from include.spark_jobs.stream_sessionize.generations import Generation

LEASE_WAIT_S = 150.0
"""More than a driver may take for its micro-batch at hand."""
HANDED_OVER_WITHIN_S = 600.0
"""A driver that was begun for a shadow ends this long after the swap also if nobody waits for its place."""
_ASK_EVERY_S = 1.0
_FRESH_S = 5.0


class CheckpointLease:
    """A lock beside a checkpoint, held by its driver; host-local, as the driver is."""

    def __init__(self, checkpoint: Path) -> None:
        self._lock = checkpoint.with_name(f"{checkpoint.name}.lock")
        self._wanted = checkpoint.with_name(f"{checkpoint.name}.wanted")

    @contextmanager
    def held(self, wait_s: float) -> Iterator[bool]:
        """Hold the lock, or yield False where another driver has it for longer than `wait_s` (that one is
        told)."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("w") as lock:
            yield self._take(lock.fileno(), wait_s)

    def _take(self, descriptor: int, wait_s: float) -> bool:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
            else:
                self._wanted.unlink(missing_ok=True)
                return True
            self._wanted.touch()
            time.sleep(0.1)

    def is_wanted(self) -> bool:
        """Does somebody wait for it?"""
        try:
            return time.time() - self._wanted.stat().st_mtime < _FRESH_S
        except FileNotFoundError:
            return False


@contextmanager
def sole_driver(generation: Generation, prepare: Callable[[], object]) -> Iterator[CheckpointLease]:
    """Hold the generation's checkpoint; where another driver still has it, `prepare` first and then wait for
    it.

    Raises JobError where that one does not end.
    """
    lease = CheckpointLease(generation.checkpoint)
    with lease.held(0) as free:
        if free:
            yield lease
            return
    print(f"stream_sessionize: waiting for the driver that has {generation.checkpoint.name}", flush=True)
    prepare()
    with lease.held(LEASE_WAIT_S) as free:
        if not free:
            raise JobError(
                f"another driver has {generation.checkpoint} and does not end: look for a second "
                f"stream_sessionize/job.py on this machine and stop it"
            )
        yield lease


class Standing:
    """Whether the driver's generation is still what it was when the driver began, and `why_restart` has no reason for it to
    begin anew; asks once a second."""

    def __init__(
        self,
        connection: psycopg.Connection,
        generation: Generation,
        lease: CheckpointLease,
        now: Callable[[], float] = time.monotonic,
        why_restart: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._generation = generation
        self._lease = lease
        self._now = now
        self._why_restart = why_restart
        self._asked_at = now()
        self._handed_over_at: float | None = None

    def why_end(self) -> str | None:
        """Why the driver should end in good order, None if it should go on."""
        now = self._now()
        if now - self._asked_at < _ASK_EVERY_S:
            return None
        self._asked_at = now
        number, began_as = self._generation.number, self._generation.status
        row = self._connection.execute(
            "SELECT status FROM ops.stream_generations WHERE generation = %s", (number,)
        ).fetchone()
        status = row[0] if row else "unknown"
        if status == began_as:
            return self._why_restart()
        if status != "current":
            return f"generation {number} is {status}"
        self._handed_over_at = self._handed_over_at or now
        if self._lease.is_wanted():
            return f"generation {number} is current, and the driver of stream__sessionize waits for it"
        if now - self._handed_over_at > HANDED_OVER_WITHIN_S:
            return f"generation {number} is current; its next driver is for stream__sessionize to start"
        return None
