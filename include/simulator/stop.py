"""Ends a run in good order on SIGINT or SIGTERM: what was handed over is confirmed and counted first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether, and by which signal, the run was asked to end."""

    def __init__(self) -> None:
        self.signal_number: int | None = None

    def __call__(self) -> bool:
        """True once asked."""
        return self.signal_number is not None


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request inside the block; main thread only. A second signal acts as usual."""
    request = StopRequest()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        restore()

    for number in former:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        restore()
