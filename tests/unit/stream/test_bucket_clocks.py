"""Lowest and highest bucket clock after a micro-batch."""

from datetime import UTC, datetime

from include.contract.bucket import NO_CLOCK
from include.spark_jobs.stream_sessionize.progress import BucketClocks


def at(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def test_a_bucket_keeps_its_clock_while_others_move() -> None:
    clocks = BucketClocks()
    clocks.advance(0, [0, 1], [1_000, 5_000])
    clocks.advance(1, [1], [9_500])
    assert clocks.after(0) == (at(1_000), at(5_000))
    assert clocks.after(1) == (at(1_000), at(9_500))


def test_a_bucket_that_accepted_nothing_yet_has_none() -> None:
    clocks = BucketClocks()
    clocks.advance(0, [3], [NO_CLOCK])
    assert clocks.after(0) == (None, None)
    clocks.advance(1, [3, 4], [NO_CLOCK, 2_000])
    assert clocks.after(1) == (at(2_000), at(2_000))


def test_only_recent_micro_batches_are_kept() -> None:
    clocks = BucketClocks()
    for batch_id in range(1_000):
        clocks.advance(batch_id, [0], [batch_id])
    assert clocks.after(10) == (None, None)
    assert clocks.after(999) == (at(999), at(999))
