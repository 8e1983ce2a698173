"""Two drivers and one checkpoint: the lease, who is let in, and when a driver's generation is no longer its own."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from include.orchestration.roll_out.files import remove_files
from include.orchestration.roll_out.generations import Entry
from include.spark_jobs.session import JobError
from include.spark_jobs.stream_sessionize import handover
from include.spark_jobs.stream_sessionize.generations import Generation, Plan
from include.spark_jobs.stream_sessionize.handover import CheckpointLease, Standing, sole_driver

_spawn = multiprocessing.get_context("spawn")


def _drive(checkpoint: str, until_wanted: bool, holds: Event, limit_s: float) -> None:
    """Another driver: has the checkpoint until somebody wants it, or for `limit_s`."""
    lease = CheckpointLease(Path(checkpoint))
    with lease.held(5) as free:
        assert free
        holds.set()
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline and not (until_wanted and lease.is_wanted()):
            time.sleep(0.02)


@contextmanager
def driver(checkpoint: Path, *, until_wanted: bool, limit_s: float = 20) -> Iterator[Any]:
    holds = _spawn.Event()
    process = _spawn.Process(target=_drive, args=(str(checkpoint), until_wanted, holds, limit_s))
    process.start()
    try:
        assert holds.wait(20)
        yield process
    finally:
        process.kill()
        process.join()


def generation(folder: Path, status: str = "current") -> Generation:
    return Generation(2, folder / "generation=2", {"0": 0}, Plan(), status)


def test_who_comes_second_prepares_and_is_let_in_when_the_first_sees_it(tmp_path: Path) -> None:
    prepared: list[bool] = []
    with (
        driver(tmp_path / "generation=2", until_wanted=True) as first,
        sole_driver(generation(tmp_path), prepare=lambda: prepared.append(first.is_alive())) as lease,
    ):
        first.join(10)
        assert first.exitcode == 0
        assert not lease.is_wanted(), "the wish was its own"
        with CheckpointLease(tmp_path / "generation=2").held(0) as free:
            assert not free
    assert prepared == [True]


def test_alone_nothing_is_prepared_twice(tmp_path: Path) -> None:
    with sole_driver(generation(tmp_path), prepare=lambda: pytest.fail("nobody is in the way")):
        pass


def test_one_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "LEASE_WAIT_S", 0.3)
    with (
        driver(tmp_path / "generation=2", until_wanted=False),
        pytest.raises(JobError, match=r"another driver has .*generation=2 and does not end"),
        sole_driver(generation(tmp_path), prepare=lambda: None),
    ):
        pass


def test_a_killed_driver_leaves_no_lock(tmp_path: Path) -> None:
    with driver(tmp_path / "generation=2", until_wanted=False) as first:
        first.kill()
        first.join()
        with CheckpointLease(tmp_path / "generation=2").held(5) as free:
            assert free


class Stored:
    """Answers with the status that the test sets."""

    def __init__(self, status: str | None) -> None:
        self.status = status

    def execute(self, statement: str, parameters: object) -> "Stored":
        return self

    def fetchone(self) -> tuple[str] | None:
        return None if self.status is None else (self.status,)


@pytest.mark.parametrize(
    ("began_as", "now", "why"),
    [
        ("current", "current", None),
        ("shadow", "shadow", None),
        ("current", "retired", "generation 2 is retired"),
        ("shadow", "dropped", "generation 2 is dropped"),
        ("current", None, "generation 2 is unknown"),
    ],
)
def test_a_driver_ends_when_its_generation_is_replaced(
    tmp_path: Path, began_as: str, now: str | None, why: str | None
) -> None:
    clock = iter([0.0, 0.5, 2.0])
    standing = Standing(
        Stored(now), generation(tmp_path, began_as), CheckpointLease(tmp_path / "x"), now=lambda: next(clock)
    )  # type: ignore[arg-type]  # what it asks of a connection
    assert standing.why_end() is None, "it asks once a second"
    assert standing.why_end() == why


def test_swapped_in_it_goes_on_until_the_next_driver_waits_or_ten_minutes(tmp_path: Path) -> None:
    lease = CheckpointLease(tmp_path / "generation=2")
    times = [0.0]
    standing = Standing(Stored("current"), generation(tmp_path, "shadow"), lease, now=lambda: times[0])  # type: ignore[arg-type]

    def after(seconds: float) -> str | None:
        times[0] += seconds
        return standing.why_end()

    assert after(2) is None
    assert after(590) is None
    (tmp_path / "generation=2.wanted").touch()
    assert "waits for it" in str(after(2))
    (tmp_path / "generation=2.wanted").unlink()
    assert after(2) is None
    assert "for stream__sessionize to start" in str(after(20))


def test_files_of_a_dropped_generation_go_once_its_driver_has_ended(tmp_path: Path) -> None:
    for folder in ("checkpoints/generation=2/offsets", "landing/generation=2", "landing/generation=1"):
        (tmp_path / folder).mkdir(parents=True)
    entry = Entry(2, "dropped", "generation=2", Plan(), "run", None, {}, -1)
    with driver(tmp_path / "checkpoints" / "generation=2", until_wanted=True):
        removed = remove_files(tmp_path, entry, landing=True)
    assert {path.relative_to(tmp_path).as_posix() for path in removed} == {
        "checkpoints/generation=2",
        "landing/generation=2",
    }
    assert (tmp_path / "landing" / "generation=1").exists()
    assert remove_files(tmp_path, entry, landing=True) == [], "safe to repeat"


def test_an_erasure_is_looked_for_as_long_as_the_generation_is_what_it_was(tmp_path: Path) -> None:
    clock = iter([0.0, 2.0, 2.5, 4.0, 6.0])
    stored, lease = Stored("shadow"), CheckpointLease(tmp_path / "x")
    answers = iter([None, "erasure 1: begins anew"])
    standing = Standing(
        stored,  # type: ignore[arg-type]  # what it asks of a connection
        generation(tmp_path, "shadow"),
        lease,
        now=lambda: next(clock),
        why_restart=lambda: next(answers),
    )
    assert standing.why_end() is None
    assert standing.why_end() is None, "once a second"
    assert standing.why_end() == "erasure 1: begins anew"
    stored.status = "current"
    assert standing.why_end() is None, "it is handed over: the next driver looks"
