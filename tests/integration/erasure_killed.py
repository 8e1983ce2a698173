"""The stream's job, killed at one moment of an erasure: `spark-submit` runs this in the place of job.py.

MOMENT_VARIABLE names the moment, one of MOMENTS. Run by tests/integration/test_stream_erasure.py; what is wrapped are
calls that mark a moment, as in faults/job_with_faults.py.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from include.spark_jobs.stream_sessionize import erased_rows, forgetting, job

MOMENT_VARIABLE = "WEBTOON_TEST_MOMENT"
MOMENTS = {
    "rows are removed, their transaction is open": (erased_rows, "_record"),
    "rows are gone, the query has not begun": (job, "start_query"),
    "a landing file is rewritten, the ledger lists the old one": (erased_rows, "_list"),
    "the ledger lists the rewritten file, the old one is there": (forgetting, "sweep_landing"),
    "the checkpoint is being searched": (forgetting, "search_checkpoint"),
    "the stream's steps are recorded, their transaction is open": (forgetting, "_finish"),
}
"""In order: the call before which the driver, its JVM and its Python workers die."""


def die_before(module: Any, name: str) -> None:
    """Make this process and its family die where `module` calls `name` while somebody is to be forgotten."""
    call: Callable[..., Any] = getattr(module, name)

    def dying(*arguments: Any, **options: Any) -> Any:
        if forgets:
            os.killpg(os.getpgrp(), signal.SIGKILL)  # spark-submit's JVM leads the group
            signal.pause()
        return call(*arguments, **options)

    forgets: list[bool] = []
    begin = forgetting.Forgetting.begin

    def begun(*arguments: Any) -> forgetting.Forgetting:
        run = begin(*arguments)
        forgets[:] = [True] if run.erasures else []
        return run

    forgetting.Forgetting.begin = begun  # type: ignore[method-assign,assignment]  # wrapped, as `name` below is
    setattr(module, name, dying)


if __name__ == "__main__":
    die_before(*MOMENTS[os.environ[MOMENT_VARIABLE]])
    sys.exit(job.main())
