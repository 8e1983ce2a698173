"""When the stream counts as stalled."""

from collections.abc import Mapping

from include.orchestration.stream_health import StallProbe, lag_records


class Bench:
    """A ledger, a topic and a clock that the test sets."""

    def __init__(self) -> None:
        self.position: tuple[int, Mapping[str, int]] | None = (1, {"0": 10})
        self.ends = {0: 10}
        self.now = 0.0
        self.probe = StallProbe(lambda: self.position, lambda: self.ends, 300, lambda: self.now)


def test_lag_is_what_lies_behind_the_ledgers_offsets() -> None:
    assert lag_records({"0": 10, "1": 5}, {0: 12, 1: 5}) == 2
    assert lag_records({"0": 10}, {0: 9}) == 0
    assert lag_records({"0": 10}, {0: 10, 1: 7}) == 0, "a partition that the ledger does not know yet"


def test_stalled_is_who_has_records_waiting_and_commits_none() -> None:
    bench = Bench()
    bench.ends = {0: 12}
    assert bench.probe() is None
    bench.now = 299
    assert bench.probe() is None
    bench.now = 301
    assert bench.probe() == "no micro-batch committed for 301 s while 2 records wait"


def test_an_idle_topic_is_no_stall_and_the_first_record_after_it_starts_the_clock() -> None:
    bench = Bench()
    for bench.now in (0, 1000, 5000):
        assert bench.probe() is None
    bench.ends = {0: 11}
    assert bench.probe() is None
    bench.now = 5299
    assert bench.probe() is None


def test_a_commit_starts_the_clock_anew() -> None:
    bench = Bench()
    bench.ends = {0: 1000}
    assert bench.probe() is None
    bench.now, bench.position = 299, (2, {"0": 20})
    assert bench.probe() is None
    bench.now = 500
    assert bench.probe() is None
    bench.now = 600
    assert "980 records" in (bench.probe() or "")


def test_before_a_generation_is_begun_the_heartbeat_decides() -> None:
    bench = Bench()
    bench.position = None
    assert bench.probe() is None
