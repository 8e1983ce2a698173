"""A checkpoint that is ahead of the ledger."""

from pathlib import Path
from typing import Any

import pytest

from include.spark_jobs.stream_sessionize.generations import (
    Generation,
    GenerationError,
    Plan,
    check_checkpoint,
)
from include.spark_jobs.stream_sessionize.rewind import rewind

SIDE_FILES = ("metadata", "state/0/_metadata/metadata", "state/0/1/SSTs/000007-aa.sst")


def fill(checkpoint: Path, planned: int, done: int, states: int) -> None:
    """Logs up to `planned` and `done`, state versions 1 to `states`, each with a checksum as Spark writes it."""
    names = [
        *(f"offsets/{n}" for n in range(planned + 1)),
        *(f"commits/{n}" for n in range(done + 1)),
        *(f"state/0/{store}/{n}.changelog" for store in (0, 1) for n in range(1, states + 1)),
        *(f"state/0/1/{n}.zip" for n in range(1, states + 1)),
    ]
    for name in (*names, *SIDE_FILES):
        path = checkpoint / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.with_name(f".{path.name}.crc").touch()


def numbers(folder: Path, *, hidden: bool) -> set[int]:
    """Of the entries or versions in `folder`, or of their checksums."""
    names = [path.name.lstrip(".") for path in folder.iterdir() if path.name.startswith(".") == hidden]
    return {int(name.split(".")[0]) for name in names if name[0].isdigit()}


@pytest.mark.parametrize(
    ("listed", "planned", "done", "states", "was_ahead"),
    [
        (4, 4, 4, 5, False),  # stopped in good order
        (4, 4, 3, 5, False),  # killed between PostgreSQL and Spark
        (4, 5, 4, 5, False),  # killed at work
        (4, 5, 4, 6, False),  # the same, some of its state is committed
        (4, 5, 5, 6, True),  # killed when Spark was done and PostgreSQL was not
        (4, 6, 5, 6, True),  # and the next one was planned
        (4, 6, 5, 7, True),  # and its state was committed
        (-1, 0, 0, 1, True),  # the first one of all
        (-1, 1, 0, 2, True),
    ],
)
def test_what_is_kept_is_what_the_next_micro_batch_begins_with(
    tmp_path: Path, listed: int, planned: int, done: int, states: int, was_ahead: bool
) -> None:
    fill(tmp_path, planned, done, states)
    assert rewind(tmp_path, listed) is was_ahead
    for hidden in (False, True):
        assert numbers(tmp_path / "commits", hidden=hidden) == set(range(min(listed, done) + 1))
        assert numbers(tmp_path / "offsets", hidden=hidden) == set(range(min(listed + 1, planned) + 1))
        for store in ("0", "1"):
            kept = set(range(1, min(listed + 1, states) + 1))
            assert numbers(tmp_path / "state" / "0" / store, hidden=hidden) == kept
    assert all((tmp_path / name).exists() for name in SIDE_FILES)
    assert rewind(tmp_path, listed) is False, "the second time there is nothing to do"


def test_a_fresh_checkpoint_is_left_alone(tmp_path: Path) -> None:
    assert rewind(tmp_path / "generation=1", -1) is False
    assert list(tmp_path.iterdir()) == []


def test_a_crash_at_any_file_is_mended_by_the_next_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    fill(whole, planned=6, done=5, states=7)
    rewind(whole, 4)
    expected = sorted(path.relative_to(whole) for path in whole.rglob("*"))
    unlink, crashes_at = Path.unlink, 0
    while True:
        crashed = tmp_path / f"crashed-{crashes_at}"
        fill(crashed, planned=6, done=5, states=7)
        left = crashes_at

        def crash(self: Path, missing_ok: bool = False) -> None:
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            unlink(self, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", crash)
            try:
                rewind(crashed, 4)
            except KeyboardInterrupt:
                pass
            else:
                break
        rewind(crashed, 4)
        assert sorted(path.relative_to(crashed) for path in crashed.rglob("*")) == expected
        crashes_at += 1
    assert crashes_at > 10


class Ledger:
    """A connection to a ledger that ends at `listed`."""

    def __init__(self, listed: int) -> None:
        self._listed = listed
        self.asked: list[str] = []

    def execute(self, query: str, values: tuple[int]) -> "Ledger":
        self.asked.append(query)
        return self

    def fetchone(self) -> tuple[int]:
        return (self._listed,)


@pytest.mark.parametrize(
    ("listed", "planned", "done", "goes_on"),
    [
        (4, 4, 4, True),
        (4, 4, 3, True),
        (4, 5, 4, True),
        (4, 5, 5, True),
        (4, 6, 5, True),
        (-1, 1, 0, True),
        (4, 6, 6, False),  # Spark is ahead by two: of another time
        (4, 7, 5, False),
        (4, 3, 3, False),
    ],
)
def test_a_checkpoint_of_another_time_than_the_ledger_is_refused(
    tmp_path: Path, listed: int, planned: int, done: int, goes_on: bool
) -> None:
    fill(tmp_path, planned, done, planned + 1)
    generation = Generation(1, tmp_path, {"0": 0}, Plan())
    ledger: Any = Ledger(listed)
    if goes_on:
        assert check_checkpoint(ledger, generation) == listed
    else:
        with pytest.raises(
            GenerationError, match=f"micro-batch {planned}, the ledger of generation 1 at {listed}"
        ):
            check_checkpoint(ledger, generation)


def test_the_ledger_is_read_once_a_killed_drivers_transaction_has_ended(tmp_path: Path) -> None:
    fill(tmp_path, 4, 4, 5)
    ledger: Any = Ledger(4)
    check_checkpoint(ledger, Generation(1, tmp_path, {"0": 0}, Plan()))
    assert ["FOR UPDATE" in query for query in ledger.asked] == [True, False]
