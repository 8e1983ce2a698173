"""What a process that has started a stack does when it is told to end."""

import signal
import sys
from types import FrameType


def end_in_good_order_on_sigterm() -> None:
    """SIGTERM ends this process as Ctrl-C does, so that what it has started is stopped (exit status 143)."""

    def ends(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, ends)
