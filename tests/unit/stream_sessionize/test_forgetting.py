"""When a run of the query may forget somebody."""

from pathlib import Path

import pytest

from include.spark_jobs.stream_sessionize.forgetting import half_done


@pytest.mark.parametrize(
    ("planned", "committed", "listed", "waits"),
    [
        ([], [], -1, False),
        ([0, 1], [0, 1], 1, False),
        ([0, 1], [0], 0, False),  # it was not written: repeated, it is a first time
        ([0, 1], [0], 1, True),
        ([0], [], 0, True),
    ],
)
def test_a_micro_batch_between_the_ledger_and_spark_comes_first(
    tmp_path: Path, planned: list[int], committed: list[int], listed: int, waits: bool
) -> None:
    for folder, numbers in (("offsets", planned), ("commits", committed)):
        (tmp_path / folder).mkdir()
        for number in numbers:
            (tmp_path / folder / str(number)).touch()
    expected = tmp_path / "commits" / str(planned[-1]) if waits else None
    assert half_done(tmp_path, listed) == expected
