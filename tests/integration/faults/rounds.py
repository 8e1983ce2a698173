"""Rounds of the soak: a topic, a stream in peace, a stream that is struck until little of the topic is left.

The same checks as in test_kills.py after every fault and at the end. A round follows from its seed alone, which is said.
`soak.py` is the command.
"""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local_stack import stack
from local_stack.paths import PROJECT_ROOT, SPARK_JARS_DIR, jars
from tests.integration.faults import checks
from tests.integration.faults.disturbed import DisturbedStream
from tests.integration.faults.plan import Hit, Kind, Phase
from tests.integration.faults.schedule import at_random
from tests.integration.faults.small_disk import NoSmallDiskError, SmallDisk
from tests.integration.faults.streams import PoisonedTopic, Servers, arguments

SIZE = 16_000
PER_BATCH = 300
DISK_MIB = 128
LEFT_FOR_LANDING = 12
"""Micro-batches: fewer might not hold what the next fault waits for."""
EQUAL, DIFFERENT, TIME_IS_UP = 0, 1, 2


@dataclass
class Tally:
    """What was done so far."""

    minutes: float
    lane: int = 0
    started: float = field(default_factory=time.monotonic)
    struck: Counter[tuple[Kind, Phase]] = field(default_factory=Counter)
    endings: Counter[tuple[Kind, int]] = field(default_factory=Counter)

    @property
    def faults(self) -> int:
        """How many have struck."""
        return self.struck.total()

    @property
    def time_is_up(self) -> bool:
        """No other fault is begun then."""
        return time.monotonic() - self.started > self.minutes * 60

    def add(self, hit: Hit, status: int) -> None:
        """A fault that struck, and what the driver ended with."""
        self.struck[hit.kind, hit.phase] += 1
        self.endings[hit.kind, status] += 1

    def take_in(self, other: "Tally") -> None:
        """Count what another lane did, too."""
        self.struck.update(other.struck)
        self.endings.update(other.endings)

    def say(self, line: str) -> None:
        """A progress line."""
        print(f"[lane {self.lane}, {time.monotonic() - self.started:5.0f} s] {line}", flush=True)

    def table(self) -> str:
        """Faults by kind and phase, and how drivers ended."""
        heading = ["", *Phase, "driver ended with"]
        lines = [heading]
        for kind in Kind:
            ended = {status: n for (of, status), n in sorted(self.endings.items()) if of is kind}
            shown = ", ".join(f"{status} ({n}x)" for status, n in ended.items())
            lines.append([kind, *(str(self.struck[kind, phase]) for phase in Phase), shown])
        return "\n".join("  ".join(f"{cell:<16}" for cell in line).rstrip() for line in lines)


@contextmanager
def _disk(folder: Path, tally: Tally) -> Iterator[SmallDisk | None]:
    try:
        disk = SmallDisk(folder, DISK_MIB)
    except NoSmallDiskError as error:
        tally.say(f"not run: {Kind.DISK_FULL}: {error}")
        yield None
        return
    try:
        yield disk
    finally:
        disk.close()


def play_round(servers: Servers, spark_jars: str, seed: int, wanted: int, tally: Tally) -> None:
    """Strike until `wanted` faults are done in all, the topic is nearly read, or time is up; then compare all.

    Raises AssertionError for any difference.
    """
    topic = PoisonedTopic.fill(servers, seed, SIZE)
    peaceful, struck = servers.job(spark_jars, topic.name), servers.job(spark_jars, topic.name)
    for job in (peaceful, struck):
        checks.keep_events(job.dsn, topic.records)
    peaceful.catch_up(*arguments(PER_BATCH * 4 // 5), timeout_s=600)
    tally.say(f"round of seed {seed}: the undisturbed stream is done")
    with _disk(struck.data_dir / "checkpoints", tally) as disk:
        stream = DisturbedStream(servers, struck, PER_BATCH, disk)
        faults = at_random(seed, disk is not None)
        while (
            tally.faults < wanted
            and not tally.time_is_up
            and stream.left(len(topic.records)) > LEFT_FOR_LANDING
        ):
            fault = next(faults)
            (hit,) = stream.suffer([fault])
            checks.assert_as_recomputed(struck.dsn)
            tally.add(hit, stream.statuses[-1])
            tally.say(
                f"{tally.faults}/{wanted} {fault} struck micro-batch {hit.batch_id}; the driver ended with "
                f"{stream.statuses[-1]}; the store is as recomputed"
            )
        stream.finish()
        checks.assert_same_rows(peaceful.dsn, struck.dsn)
        checks.assert_as_recomputed(struck.dsn)
        batches = checks.assert_ledger_whole(struck.dsn, topic.ends())
        landed = checks.assert_landing_agrees(struck.dsn, struck.data_dir / "landing")
        assert checks.counts(peaceful.dsn) == checks.counts(struck.dsn)
    tally.say(f"round of seed {seed}: {batches} micro-batches, {landed} landed readings, every row equal")


def play(wanted: int, seed: int, minutes: float, *, lane: int = 0, lanes: int = 1) -> tuple[int, Tally]:
    """Play rounds with servers of their own, until `wanted` faults are done; returns the exit status and what was done.

    The rounds' seeds are seed + lane, and on by `lanes`. Raises StackError where the servers don't start.
    """
    tally = Tally(minutes, lane)
    folder = PROJECT_ROOT / f".stack-test-{os.getpid()}-soak"
    spark_jars = ",".join(str(jar) for jar in sorted(jars(SPARK_JARS_DIR, "spark-sql-kafka").glob("*.jar")))
    status = DIFFERENT
    try:
        servers = Servers.start(folder, tally.say)
        round_seed = seed + lane
        while tally.faults < wanted and not tally.time_is_up:
            play_round(servers, spark_jars, round_seed, wanted, tally)
            round_seed += lanes
        status = EQUAL if tally.faults >= wanted else TIME_IS_UP
    except AssertionError as error:
        tally.say(f"the round of seed {round_seed} failed: {error}")
    finally:
        if status == DIFFERENT:
            stack.down(folder, lambda line: None)
            tally.say(f"logs and data are kept in {folder} until the next test session")
        else:
            stack.clean(folder, lambda line: None)
            shutil.rmtree(folder, ignore_errors=True)
    return status, tally
