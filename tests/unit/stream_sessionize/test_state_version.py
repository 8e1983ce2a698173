"""The note of the state's layout in a checkpoint."""

import json
from pathlib import Path

import pytest

from include.contract.encoded_session import STATE_VERSION
from include.spark_jobs.stream_sessionize.bucket_log import LAYOUT_VERSION
from include.spark_jobs.stream_sessionize.generations import GenerationError
from include.spark_jobs.stream_sessionize.state_version import check_state_version

OURS = {"session_state": STATE_VERSION, "bucket_log": LAYOUT_VERSION}


def with_state(checkpoint: Path) -> Path:
    """A first micro-batch was planned."""
    (checkpoint / "offsets").mkdir(parents=True)
    (checkpoint / "offsets" / "0").touch()
    return checkpoint


def note(checkpoint: Path) -> Path:
    return checkpoint / "state_version.json"


def test_a_fresh_checkpoint_gets_our_note_and_is_taken_from_then_on(tmp_path: Path) -> None:
    checkpoint = tmp_path / "generation=1"
    check_state_version(checkpoint)
    assert json.loads(note(checkpoint).read_text()) == OURS
    check_state_version(with_state(checkpoint))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("by", [-1, 1])
def test_state_of_another_version_is_refused_and_its_note_kept(tmp_path: Path, name: str, by: int) -> None:
    checkpoint = with_state(tmp_path / "generation=1")
    other = {**OURS, name: OURS[name] + by}
    note(checkpoint).write_text(json.dumps(other))
    with pytest.raises(
        GenerationError, match=f"{name} {OURS[name] + by}.*go back to that release, or roll out"
    ):
        check_state_version(checkpoint)
    assert json.loads(note(checkpoint).read_text()) == other


def test_a_note_without_state_is_replaced(tmp_path: Path) -> None:
    """Another release began it and committed nothing."""
    checkpoint = tmp_path / "generation=1"
    checkpoint.mkdir()
    note(checkpoint).write_text('{"session_state": 1, "bucket_log": 1}')
    check_state_version(checkpoint)
    assert json.loads(note(checkpoint).read_text()) == OURS


def test_state_without_a_note_is_of_the_releases_that_left_none(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="bucket_log 1, session_state 3"):
        check_state_version(with_state(tmp_path / "generation=1"))
