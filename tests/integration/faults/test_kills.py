"""The stream struck at every phase of a micro-batch, by kill -9 of all it lives on and by a full disk.

After each fault the store equals what the events up to the ledger's end make, by the recomputation in SQL; at the end
every row equals that of a stream that was left in peace. (kill -9 of what is Airflow's: of the triggerer, and of the
task's process while it restarts the driver, in test_stream_dag.py; of the scheduler in test_scheduler_kill.py. While the
stream runs no process of the task does.)
"""

from collections import Counter

import pytest

from tests.integration.faults import checks
from tests.integration.faults.conftest import SEED
from tests.integration.faults.disturbed import DisturbedStream
from tests.integration.faults.plan import Kind, Phase
from tests.integration.faults.schedule import Step, one_of_each
from tests.integration.faults.small_disk import SmallDisk
from tests.integration.faults.streams import PARTITIONS, PoisonedTopic
from tests.integration.stream_support import StreamJob, good, scalar

STEPS = one_of_each(SEED)
ENDINGS = {
    Kind.DRIVER: {-9},
    Kind.WORKER: {0, 1},
    Kind.POSTGRES: {1},
    Kind.BROKER: {0, 1},
    Kind.DISK_FULL: {1},
}
"""Exit statuses of the driver; 0: it went on after the fault, and was then stopped in good order."""
MID_MICRO_BATCH = {Kind.DRIVER, Kind.WORKER, Kind.POSTGRES}
"""What a kill of leaves a micro-batch half done; the broker has no part in one that was read."""
pytestmark = pytest.mark.timeout(900)  # the last tests run what `-k` left out before them


def name(step: Step) -> str:
    return "+".join(map(str, step))


def needs_disk(step: Step) -> bool:
    return any(fault.kind is Kind.DISK_FULL for fault in step)


_suffered: set[str] = set()


def suffer(stream: DisturbedStream, step: Step) -> None:
    if name(step) not in _suffered:
        _suffered.add(name(step))
        stream.suffer(step)


@pytest.mark.parametrize("step", STEPS, ids=name)
def test_after_a_fault_the_store_is_as_recomputed(
    disturbed: DisturbedStream, small_disk: SmallDisk | str, step: Step
) -> None:
    if needs_disk(step) and isinstance(small_disk, str):
        pytest.skip(f"not run: {name(step)}: {small_disk}")
    before = len(disturbed.hits)
    suffer(disturbed, step)
    struck = disturbed.hits[before:]
    assert [(hit.kind, hit.phase) for hit in struck] == [(fault.kind, fault.phase) for fault in step]
    assert disturbed.statuses[-1] in ENDINGS[step[-1].kind], disturbed.last_words()
    if disturbed.statuses[-1] == 1:
        said = disturbed.job.log.read_text().splitlines()[-40:]
        assert any(line.startswith("stream_sessionize: ") for line in said), (
            "no line for a person: " + "\n".join(said)
        )
    checks.assert_as_recomputed(disturbed.job.dsn)
    for hit in struck:
        listed = (
            scalar(
                disturbed.job.dsn, "SELECT count(*) FROM ops.stream_batches WHERE batch_id = %s", hit.batch_id
            )
            == 1
        )
        if hit.kind is Kind.WORKER:
            assert hit.detail["workers"], f"{hit}: there was no worker to kill"
        if hit.phase is Phase.COMMITTED:
            assert listed, f"{hit}: PostgreSQL had not committed it"
            assert not hit.detail["spark_lists_it"]
        if hit.phase is Phase.COPY:
            assert 0 < hit.detail["rows_sent"] < hit.detail["rows"]
            assert hit.detail["bytes_taken"] > 0
        if hit.phase is Phase.STATE_COMMIT:
            assert 0 < len(hit.detail["committed"]) < hit.detail["stores"]
        if hit.phase is Phase.LANDING:
            assert (disturbed.job.data_dir / "landing" / hit.detail["path"]).exists()
        if hit.phase is Phase.OVERTAKEN:
            assert len(hit.detail["committed"]) == hit.detail["stores"]
        if hit.phase in (Phase.COPY, Phase.LANDING, Phase.BEHIND, Phase.OVERTAKEN) and hit.kind in (
            Kind.DRIVER,
            Kind.POSTGRES,
        ):
            assert not listed, f"{hit}: it was committed before or in spite of the kill"


@pytest.fixture(scope="module")
def finished(disturbed: DisturbedStream, small_disk: SmallDisk | str) -> DisturbedStream:
    """All faults struck, the rest of the topic worked through."""
    for step in STEPS:
        if not (needs_disk(step) and isinstance(small_disk, str)):
            suffer(disturbed, step)
    disturbed.finish()
    return disturbed


def test_every_phase_was_hit_by_two_kills_and_every_kind_struck(
    finished: DisturbedStream, small_disk: SmallDisk | str
) -> None:
    kills = Counter(hit.phase for hit in finished.hits if hit.kind in MID_MICRO_BATCH)
    assert all(kills[phase] >= 2 for phase in Phase), kills
    kinds = {hit.kind for hit in finished.hits}
    assert kinds == set(Kind) - ({Kind.DISK_FULL} if isinstance(small_disk, str) else set())
    assert len({hit.batch_id for hit in finished.hits}) >= 6, "the same micro-batches again and again"


def test_every_row_equals_that_of_the_undisturbed_stream(
    finished: DisturbedStream, undisturbed: StreamJob
) -> None:
    sizes = checks.assert_same_rows(undisturbed.dsn, finished.job.dsn)
    assert sizes["realtime.session_features"] > 1_000, sizes
    assert min(sizes.values()) > 50, sizes
    recomputed = checks.assert_as_recomputed(finished.job.dsn).counts
    assert recomputed["final_readings"] > 500, recomputed
    assert recomputed["repeats"] > 100, recomputed


def test_both_runs_were_long_enough_to_prove_something(
    finished: DisturbedStream, undisturbed: StreamJob, poisoned_topic: PoisonedTopic
) -> None:
    assert len(poisoned_topic.ends()) == PARTITIONS >= 3
    for job in (finished.job, undisturbed):
        assert checks.assert_ledger_whole(job.dsn, poisoned_topic.ends()) >= 50
        assert checks.sessions_across_batches(job.dsn) > 300


def test_ledger_and_landing_agree(finished: DisturbedStream, undisturbed: StreamJob) -> None:
    rows = [
        checks.assert_landing_agrees(job.dsn, job.data_dir / "landing") for job in (finished.job, undisturbed)
    ]
    assert rows[0] == rows[1] > 500


def test_nothing_is_counted_twice_or_lost(
    finished: DisturbedStream, undisturbed: StreamJob, poisoned_topic: PoisonedTopic
) -> None:
    counted = checks.counts(finished.job.dsn)
    assert counted == checks.counts(undisturbed.dsn)
    assert counted["events"] == len(poisoned_topic.records)
    refused = len(poisoned_topic.records) - sum(1 for _ in good(poisoned_topic.records))
    assert counted["dead_letters"] == refused > len(poisoned_topic.poisons)
