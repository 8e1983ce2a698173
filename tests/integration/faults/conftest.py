"""Servers that may be killed, a poisoned topic on them, a stream left in peace and one that is not."""

import os
import shutil
import sys
from collections.abc import Iterator

import pytest

from local_stack import stack
from local_stack.errors import StackError
from local_stack.paths import PROJECT_ROOT
from tests.integration.conftest import StackSession
from tests.integration.faults import checks
from tests.integration.faults.disturbed import DisturbedStream
from tests.integration.faults.small_disk import NoSmallDiskError, SmallDisk
from tests.integration.faults.streams import PoisonedTopic, Servers, arguments
from tests.integration.stream_support import StreamJob

SEED = 4
SIZE = 16_000
PER_BATCH = 300
DISK_MIB = 128


@pytest.fixture(scope="session")
def servers(stack_session: StackSession) -> Iterator[Servers]:
    """A broker and a PostgreSQL of this suite alone (Airflow's is another)."""
    folder = PROJECT_ROOT / f".stack-test-{os.getpid()}-faults"
    try:
        yield Servers.start(folder, lambda line: print(line, file=sys.stderr))
    except StackError as error:
        pytest.fail(f"the servers to be killed do not start: {error}", pytrace=False)
    finally:
        if os.environ.get("WEBTOON_KEEP_TEST_STATE") == "1":
            stack.down(folder, lambda line: None)
        else:
            stack.clean(folder, lambda line: None)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def poisoned_topic(servers: Servers) -> PoisonedTopic:
    """What both streams read."""
    return PoisonedTopic.fill(servers, SEED, SIZE)


@pytest.fixture(scope="session")
def undisturbed(servers: Servers, spark_jars: str, poisoned_topic: PoisonedTopic) -> StreamJob:
    """A stream that has worked through the topic, in micro-batches of its own."""
    job = servers.job(spark_jars, poisoned_topic.name)
    checks.keep_events(job.dsn, poisoned_topic.records)
    job.catch_up(*arguments(PER_BATCH * 4 // 5), timeout_s=280)
    return job


@pytest.fixture(scope="session")
def small_disk(servers: Servers) -> Iterator[SmallDisk | str]:
    """A disk that can be filled, or why there is none."""
    folder = servers.folder() / "checkpoints"
    try:
        disk = SmallDisk(folder, DISK_MIB)
    except NoSmallDiskError as error:
        yield str(error)
        return
    yield disk
    disk.close()


@pytest.fixture(scope="session")
def disturbed(
    servers: Servers, spark_jars: str, poisoned_topic: PoisonedTopic, small_disk: SmallDisk | str
) -> DisturbedStream:
    """A stream that has not begun yet, and will suffer."""
    disk = small_disk if isinstance(small_disk, SmallDisk) else None
    job = servers.job(spark_jars, poisoned_topic.name)
    if disk is not None:
        job.data_dir = disk.folder.parent
    checks.keep_events(job.dsn, poisoned_topic.records)
    return DisturbedStream(servers, job, PER_BATCH, disk)
