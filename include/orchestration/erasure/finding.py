"""What a search of a store found, and what it says when it could not look."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from airflow.sdk.exceptions import AirflowFailException

log = logging.getLogger(__name__)

MOST_PLACES: Final = 20
_SAY_EVERY_S: Final = 10.0


class NotSearchedError(RuntimeError):
    """A store could not be looked through, so nothing is proven; the message names it and the mend, and no id."""


class FoundError(AirflowFailException):
    """The reader still stands somewhere; the message names stores and places, and no id. Fails the task without a retry."""


@dataclass
class Finding:
    """Of one store: how often the id was found, in how many bytes (unpacked), and the first places."""

    store: str
    found: int = 0
    bytes: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, place: str, count: int) -> None:
        """`count` finds at `place` (0: nothing to note)."""
        if count:
            self.found += count
            if len(self.places) < MOST_PLACES:
                self.places.append(f"{place} ({count})" if count > 1 else place)


class Progress:
    """Says in the log every ten seconds how far a search is, and how fast."""

    def __init__(self, finding: Finding, clock: Callable[[], float] = time.monotonic) -> None:
        self._finding, self._clock = finding, clock
        self._began = self._said = clock()

    def say(self, where: str, at_once: bool = False) -> None:
        """`where` must not hold an id."""
        now = self._clock()
        if not at_once and now - self._said < _SAY_EVERY_S:
            return
        self._said = now
        rate = self._finding.bytes / max(now - self._began, 0.001)
        log.info(
            "%s: %.1f MB, %.1f MB/s, found %d, at %s",
            self._finding.store, self._finding.bytes / 1e6, rate / 1e6, self._finding.found, where,
        )  # fmt: skip
