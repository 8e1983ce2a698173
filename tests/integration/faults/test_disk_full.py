"""A disk that fills up while state is being written: the driver ends, it does not wait for ever."""

import pytest

from tests.integration.faults import checks
from tests.integration.faults.conftest import DISK_MIB
from tests.integration.faults.disturbed import DisturbedStream
from tests.integration.faults.plan import Fault, Kind, Phase
from tests.integration.faults.small_disk import NoSmallDiskError, SmallDisk
from tests.integration.faults.streams import PoisonedTopic, Servers

MUCH_A_BATCH = 4_000
"""So many records that a bucket's state overflows the buffer of the state store's changelog. That fails in the thread
which serves the Python worker, not in the task that commits: Spark leaves the worker waiting for an answer."""


@pytest.mark.long
def test_a_driver_whose_state_cannot_be_written_ends_and_goes_on_where_it_stood(
    servers: Servers, spark_jars: str, poisoned_topic: PoisonedTopic
) -> None:
    job = servers.job(spark_jars, poisoned_topic.name)
    try:
        disk = SmallDisk(job.data_dir / "checkpoints", DISK_MIB)
    except NoSmallDiskError as error:
        pytest.skip(f"not run: {Kind.DISK_FULL}: {error}")
    checks.keep_events(job.dsn, poisoned_topic.records)
    try:
        stream = DisturbedStream(servers, job, MUCH_A_BATCH, disk)
        stream.suffer([Fault(Kind.DISK_FULL, Phase.STATE_COMMIT, 2)])
        assert stream.statuses == [1], stream.last_words()
        said = job.log.read_text()
        assert "stateConnectionListenerThread" in said, "the disk was full elsewhere: the test proves nothing"
        assert any(line.startswith("stream_sessionize: ") for line in said.splitlines()), said[-3000:]
        stream.finish()
    finally:
        disk.close()
    checks.assert_as_recomputed(job.dsn)
    assert checks.counts(job.dsn)["events"] == len(poisoned_topic.records)
