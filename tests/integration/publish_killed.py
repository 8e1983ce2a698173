"""The publisher, killed at one moment: `python publish_killed.py MOMENT --run-id ID ...`, MOMENT as in MOMENTS.

Run by tests/integration/test_publish_history.py and test_publish_backfill.py as a process of its own: kill -9 leaves nothing to clean up.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable
from include.spark_jobs.publish_features import history, job

MOMENTS = (
    "while the history's file is written",
    "before user_feature_history is pointed",
    "after user_feature_history is pointed",
    "after episode_feature_history is pointed",
)
BETWEEN_DAYS = "after session_features is pointed"
"""Of a backfill: its first day is published, the next one is not."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at(moment: str) -> None:
    """Make the publisher of this process die at `moment`."""
    if moment == MOMENTS[0]:
        history._changed_rows = lambda *arguments: _die()  # type: ignore[assignment]
        return
    when, _, rest = moment.partition(" ")
    point: Callable[..., None] = Metastore.point_partitions

    def point_and_die(self: Metastore, table: HiveTable, folders: Mapping[Any, Path]) -> None:
        here = table.name == rest.split()[0]
        if here and when == "before":
            _die()
        point(self, table, folders)
        if here:
            _die()

    Metastore.point_partitions = point_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    assert sys.argv[1] in (*MOMENTS, BETWEEN_DAYS)
    kill_at(sys.argv[1])
    sys.exit(job.main(sys.argv[2:]))
