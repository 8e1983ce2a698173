"""Which layout the state in a checkpoint has: a note in its folder, so that it travels with the state.

Python workers refuse state of another version when they meet it. That is late: micro-batches that touch none of it
would be committed first, and leave state of two versions, with which neither release could go on. So the driver looks
before it starts.
"""

import json
import os
from pathlib import Path

from include.contract.encoded_session import STATE_VERSION
from include.spark_jobs.stream_sessionize.bucket_log import LAYOUT_VERSION
from include.spark_jobs.stream_sessionize.generations import GenerationError, last_planned_batch

_NOTE = "state_version.json"
_OURS = {"session_state": STATE_VERSION, "bucket_log": LAYOUT_VERSION}
_BEFORE_NOTES = {"session_state": 3, "bucket_log": 1}
"""Versions of the releases that left no note."""


def check_state_version(checkpoint: Path) -> None:
    """Raise GenerationError if the checkpoint has state of other versions than this code's; note ours in a fresh one."""
    note = checkpoint / _NOTE
    if last_planned_batch(checkpoint) < 0:
        _write(note)
        return
    found = json.loads(note.read_text()) if note.exists() else _BEFORE_NOTES
    if found != _OURS:
        raise GenerationError(
            f"the state in {checkpoint} was written by another release ({_text(found)}; this one reads {_text(_OURS)}): "
            f"go back to that release, or roll out a new generation (docs/runbooks/stream_sessionize.md)"
        )


def _text(versions: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))


def _write(note: Path) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.with_name(f".{note.name}.tmp")
    with temporary.open("w") as file:
        file.write(json.dumps(_OURS) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(note)
