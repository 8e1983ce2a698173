"""Files of a generation that is over: its checkpoint, and the landing of one that never was current."""

import shutil
from pathlib import Path

from include.orchestration.roll_out.generations import Entry, RollOutError

DRIVER_ENDS_WITHIN_S = 120.0


def remove_files(data_dir: Path, entry: Entry, *, landing: bool) -> list[Path]:
    """Delete a dropped generation's checkpoint, and its landing files if `landing`; waits for its driver's
    end.

    Returns what was deleted. Raises RollOutError where the driver does not end.
    """
    from include.spark_jobs.stream_sessionize.handover import CheckpointLease

    checkpoint = data_dir / "checkpoints" / entry.checkpoint
    folders = [checkpoint, *([data_dir / "landing" / f"generation={entry.number}"] if landing else [])]
    with CheckpointLease(checkpoint).held(DRIVER_ENDS_WITHIN_S) as free:
        if not free:
            raise RollOutError(
                f"the driver of generation {entry.number} still runs {DRIVER_ENDS_WITHIN_S:.0f} s after it was dropped: "
                f"stop it (drivers/shadow_sessionize/driver.json has its pid) and clear this task"
            )
        removed = [folder for folder in folders if folder.exists()]
        for folder in removed:
            shutil.rmtree(folder)
    return removed
