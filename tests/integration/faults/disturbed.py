"""The stream that suffers faults: started again after each, as its supervisor would."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg

from tests.integration.faults.plan import Fault, Hit, Plan, read_hits
from tests.integration.faults.small_disk import SmallDisk
from tests.integration.faults.streams import Servers, arguments
from tests.integration.stream_support import StreamJob, scalar

WRAPPER = Path(__file__).with_name("job_with_faults.py")
LIMIT_S = 150.0
"""For one start of the driver: to be struck, and to end or go on."""
_GOES_ON_AFTER = 3
"""Micro-batches that a driver commits after a fault, to count as one that survived it: PostgreSQL may commit two more that
were on their way when Spark had ended already."""


class DisturbedStream:
    """One lineage of a stream. `disk` is under its checkpoint; None where this machine cannot have one."""

    def __init__(self, servers: Servers, job: StreamJob, per_batch: int, disk: SmallDisk | None) -> None:
        self.servers = servers
        self.job = replace(job, prefix=() if disk is None else disk.prefix)
        self.per_batch = per_batch
        self._disk = disk
        self._hits = job.data_dir / "hits.jsonl"
        self.statuses: list[int] = []

    @property
    def hits(self) -> list[Hit]:
        """Faults that have struck, oldest first."""
        return read_hits(self._hits)

    def suffer(self, faults: Sequence[Fault]) -> list[Hit]:
        """Run the driver until all `faults` have struck, starting it again whenever one has ended it.

        Afterwards no driver runs, the servers are healthy and the disk has room. Returns the hits.
        """
        before = len(self.hits)
        while left := faults[len(self.hits) - before :]:
            struck = len(self.hits)
            self._run(left)
            assert len(self.hits) > struck, f"{left[0]} never struck; {self.last_words()}"
        return self.hits[before:]

    def left(self, topic_size: int) -> int:
        """Micro-batches that the rest of a topic of `topic_size` records still makes, at least."""
        done = scalar(self.job.dsn, "SELECT coalesce(sum(events), 0) FROM ops.stream_batches")
        return int(topic_size - done) // self.per_batch

    def finish(self) -> None:
        """Work through what is left of the topic, undisturbed."""
        self.job.catch_up(*arguments(self.per_batch), timeout_s=280)

    def last_words(self) -> str:
        """End of the driver's log."""
        return self.job.log.read_text()[-6000:] if self.job.log.exists() else "no driver has started"

    def _run(self, faults: Sequence[Fault]) -> None:
        plan = Plan(faults, self._hits, self.servers.pids())
        job = replace(self.job, script=WRAPPER, overrides={**self.job.overrides, **plan.to_env()})
        wanted = len(self.hits) + len(faults)
        with job.running(*arguments(self.per_batch), "--trigger-ms", "0") as process:
            self._await_end(process, wanted)
        self.statuses.append(process.returncode)
        _end_session(process.pid)
        self.servers.await_healthy()
        if self._disk is not None:
            self._disk.make_room()

    def _await_end(self, process: "subprocess.Popen[bytes]", wanted: int) -> None:
        """Wait until the driver has ended, of a fault or because it went on after the last one and was stopped."""
        deadline = time.monotonic() + LIMIT_S
        goes_on_at: int | None = None
        while process.poll() is None:
            assert time.monotonic() < deadline, f"neither struck nor ended; {self.last_words()}"
            if len(self.hits) == wanted:
                committed = self._committed()
                if goes_on_at is None:
                    goes_on_at = None if committed is None else committed + _GOES_ON_AFTER
                elif committed is not None and committed >= goes_on_at:
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(LIMIT_S) == 0, self.last_words()
            time.sleep(0.05)

    def _committed(self) -> int | None:
        """Micro-batches in the ledger; None while there is nobody to ask."""
        try:
            return int(scalar(self.job.dsn, "SELECT count(*) FROM ops.stream_batches"))
        except psycopg.OperationalError:
            return None


def _end_session(session: int) -> None:
    """Spark's Python workers outlive a JVM that was killed, by a moment."""
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
