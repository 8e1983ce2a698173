"""Small Python programs in Spark's place, and how tests start them."""

import os
import sys
from collections.abc import Callable

from include.common.postgres import PostgresUnreachableError
from include.orchestration.supervised_spark.driver import Driver
from include.orchestration.supervised_spark.driver_files import DriverRecord, await_condition

GOOD = """
import pathlib, signal, sys, time
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
while not stop:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(0.02)
print("finished the micro-batch", flush=True)
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
BROKEN = "import sys; print('stream_sessionize: no broker', file=sys.stderr); sys.exit(1)"


def start(driver: Driver, program: str) -> DriverRecord:
    """Start `program`; its first argument is the heartbeat file."""
    return driver.launch([sys.executable, "-c", program, str(driver.files.heartbeat)], dict(os.environ))


def await_heartbeat(driver: Driver) -> None:
    """Until the first one."""
    assert await_condition(driver.files.heartbeat.exists, within_s=20)


def stuck() -> Callable[[], str | None]:
    """Makes a probe that cannot ask at first, and then finds a standstill."""
    answers = iter([PostgresUnreachableError("no answer"), "no micro-batch committed"])

    def probe() -> str | None:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return probe
