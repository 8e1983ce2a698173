"""Does the stream get on? What its supervisor asks once a minute, beside the driver's heartbeat."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from include.common.kafka.offsets import watermarks
from include.common.names import Dag, Pg
from include.common.postgres import connect
from include.orchestration.job_environment import events_topic, features_dsn, kafka_client_config

STALL_AFTER_S = 300.0
_POSITION = f"""
SELECT coalesce(batch.position, 0), coalesce(batch.end_offsets, generation.rules -> 'start_offsets')
FROM {Pg.STREAM_GENERATIONS} AS generation
LEFT JOIN {Pg.STREAM_BATCHES} AS batch ON generation.generation = batch.generation
WHERE generation.status = 'current' ORDER BY batch.position DESC NULLS LAST LIMIT 1
"""  # noqa: S608 - constants


def lag_records(reached: Mapping[str, Any], ends: Mapping[int, int]) -> int:
    """Records below `ends` (partition -> next offset) that lie at or after `reached` (the ledger's offsets)."""
    return sum(max(0, end - int(reached.get(str(number), end))) for number, end in ends.items())


class StallProbe:
    """Remembers where the stream stood: stalled is who has records to read and commits none of them.

    `position` returns the newest ledger position and its end offsets (0 and the generation's start before its first
    micro-batch), None where no generation was begun;
    `ends` the topic's ends. Both may raise what their stores raise; the supervisor then logs it and goes on.
    """

    def __init__(
        self,
        position: Callable[[], tuple[int, Mapping[str, Any]] | None],
        ends: Callable[[], Mapping[int, int]],
        stall_after_s: float = STALL_AFTER_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._position = position
        self._ends = ends
        self._stall_after_s = stall_after_s
        self._now = now
        self._stuck: tuple[int, float] | None = None

    def __call__(self) -> str | None:
        """Why it counts as stalled, None if it does not."""
        found = self._position()
        if found is None:
            return None
        position, reached = found
        behind = lag_records(reached, self._ends())
        if not behind:
            self._stuck = None
            return None
        if self._stuck is None or self._stuck[0] != position:
            self._stuck = (position, self._now())
            return None
        waited_s = self._now() - self._stuck[1]
        if waited_s < self._stall_after_s:
            return None
        return f"no micro-batch committed for {waited_s:.0f} s while {behind} records wait"


def stream_stall_probe() -> StallProbe:
    """The probe on the stores of Airflow's connections; nothing is asked before its first call."""
    return StallProbe(_ledger_position, _topic_ends)


def _ledger_position() -> tuple[int, Mapping[str, Any]] | None:
    with connect(features_dsn(), application_name=Dag.SESSIONIZE) as connection:
        row = connection.execute(_POSITION).fetchone()
    return None if row is None else (int(row[0]), row[1])


def _topic_ends() -> Mapping[int, int]:
    return {number: marks.high for number, marks in watermarks(kafka_client_config(), events_topic()).items()}
