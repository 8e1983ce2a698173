"""When a record arrives: network delay, records out of order, late ones, and repeats.

Stated bounds, all as arrival less event time (epoch ms): in order for at most ON_TIME_MS; out of order for at most
OUT_OF_ORDER_MS, which is within the stream's lateness; late for LATE_MS, which is beyond it. A repeat arrives
up to REPEAT_MS after the record that it repeats.
"""

import random
from dataclasses import dataclass
from typing import Final

ON_TIME_MS: Final = 2_000
OUT_OF_ORDER_MS: Final = 110_000
LATE_MS: Final = (3 * 60_000, 20 * 60_000)
REPEAT_MS: Final = 30_000


@dataclass(frozen=True)
class Disorder:
    """Shares of the events, 0 to 1; the rest arrives in time and once."""

    out_of_order_share: float = 0.0
    late_share: float = 0.0
    duplicate_share: float = 0.0

    def delay_ms(self, rng: random.Random) -> int:
        """How long after its own time an event arrives."""
        point = rng.random()
        if point < self.late_share:
            return rng.randrange(*LATE_MS)
        if point < self.late_share + self.out_of_order_share:
            return rng.randrange(ON_TIME_MS, OUT_OF_ORDER_MS)
        return 20 + int((ON_TIME_MS - 20) * rng.random() ** 4)

    def repeat_ms(self, rng: random.Random) -> int | None:
        """How long after its first arrival the event arrives again; None where it does not."""
        return rng.randrange(REPEAT_MS) if rng.random() < self.duplicate_share else None
