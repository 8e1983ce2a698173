"""What a person sees while the demo works."""

import time
from collections.abc import Callable

from local_stack.errors import StackError

SAY_EVERY_S = 5.0
POLL_S = 1.0


class Clock:
    """Numbers the steps and stamps every line with the time since the start (`m:ss`)."""

    def __init__(self, steps: int) -> None:
        self._started = time.monotonic()
        self._steps = steps
        self._step = 0

    def say(self, line: str) -> None:
        """One line, stamped."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"[{minutes}:{seconds:02d}] {line}", flush=True)

    def step(self, title: str, about_s: int) -> None:
        """Begin the next step; `about_s` is how long it takes on two cores."""
        self._step += 1
        self.say(f"step {self._step} of {self._steps}: {title} (about {about_s} s)")

    def wait(
        self,
        what: str,
        is_done: Callable[[], bool],
        *,
        limit_s: float,
        detail: Callable[[], str] | None = None,
    ) -> None:
        """Wait until `is_done`, saying every few seconds what for. Raises StackError after `limit_s`."""
        begun = said = time.monotonic()
        while not is_done():
            now = time.monotonic()
            if now - begun > limit_s:
                raise StackError(f"{what}: not after {limit_s:.0f} s. {detail() if detail else ''}".rstrip())
            if now - said >= SAY_EVERY_S:
                said = now
                more = f" ({detail()})" if detail else ""
                self.say(f"  ... {what}: {now - begun:.0f} s of at most {limit_s:.0f} s{more}")
            time.sleep(POLL_S)
