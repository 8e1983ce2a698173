"""One row a micro-batch in ops.stream_progress, from Spark's StreamingQueryProgress and our sink's clock."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from include.contract.bucket import NO_CLOCK

if TYPE_CHECKING:
    from pyspark.sql.streaming import StreamingQuery

_STATE = ("numRowsTotal", "numRowsUpdated", "memoryUsedBytes", "commitTimeMs", "allUpdatesTimeMs")
_KEPT_CLOCKS = 200


@dataclass(frozen=True)
class BatchProgress:
    """What Spark and our sink say of a micro-batch that has ended; lag in records by partition."""

    batch_id: int
    input_rows: int
    durations_ms: dict[str, int]
    lag_records: dict[str, int]
    state: dict[str, int]


Clocks = tuple[datetime | None, datetime | None]
"""Lowest and highest bucket clock: lateness is measured against them, and sessions close by them."""


class BucketClocks:
    """The clocks of all buckets that this driver has seen records or ticks of."""

    def __init__(self) -> None:
        self._now: dict[int, int] = {}
        self._after: dict[int, Clocks] = {}

    def advance(self, batch_id: int, buckets: Sequence[int], clocks_ms: Sequence[int]) -> None:
        """Take what a micro-batch left: bucket ids and, in the same order, their clocks (epoch ms or NO_CLOCK)."""
        self._now.update(
            (bucket, clock) for bucket, clock in zip(buckets, clocks_ms, strict=True) if clock != NO_CLOCK
        )
        ends = (min(self._now.values()), max(self._now.values())) if self._now else (None, None)
        kept = list(self._after.items())[-_KEPT_CLOCKS:]
        self._after = {**dict(kept), batch_id: (_instant(ends[0]), _instant(ends[1]))}

    def after(self, batch_id: int) -> Clocks:
        """Lowest and highest clock after a recent micro-batch, None where no event was accepted yet."""
        return self._after.get(batch_id, (None, None))


class ProgressRecorder:
    """Stores each micro-batch's progress once; call `record` at least every hundred micro-batches (Spark keeps
    as many). `phases` gives what our sink measured for a micro-batch, in ms, or None before it is written, `clocks` the bucket
    clocks after it. `observe` is told of each, once it is stored."""

    def __init__(
        self,
        connection: psycopg.Connection,
        generation: int,
        topic: str,
        phases: Callable[[int], dict[str, int] | None],
        clocks: Callable[[int], Clocks],
        observe: Callable[[BatchProgress, psycopg.Connection], None] | None = None,
    ) -> None:
        self._connection = connection
        self._generation = generation
        self._topic = topic
        self._phases = phases
        self._clocks = clocks
        self._observe = observe
        self._looked_until: str | None = None

    def record(self, query: "StreamingQuery") -> int:
        """Store what is new and written; returns how many micro-batches that was."""
        stored = 0
        for progress in reversed(self._fresh(query)):
            if progress["numInputRows"] > 0:
                phases = self._phases(progress["batchId"])
                if phases is None:
                    break
                self._insert(progress, phases)
                stored += 1
            self._looked_until = progress["timestamp"]
        return stored

    def _fresh(self, query: "StreamingQuery") -> list[dict[str, Any]]:
        """Newest first. Looks no further back than it must: a call every half second should cost nothing.

        A time ends it, not a micro-batch's number: Spark tells that it is idle every ten seconds, under the number of the
        next one.
        """
        recent = query._jsq.recentProgress()
        fresh: list[dict[str, Any]] = []
        for index in range(len(recent) - 1, -1, -1):
            if recent[index].timestamp() == self._looked_until:
                break
            fresh.append(json.loads(recent[index].json()))
        return fresh

    def _insert(self, raw: dict[str, Any], phases: dict[str, int]) -> None:
        source = raw["sources"][0]
        state = raw["stateOperators"][0] if raw["stateOperators"] else {}
        progress = BatchProgress(
            raw["batchId"],
            raw["numInputRows"],
            {**raw["durationMs"], **phases},
            _difference(source.get("latestOffset"), source.get("endOffset"), self._topic),
            {name: state[name] for name in _STATE if name in state},
        )
        self._connection.execute(
            "INSERT INTO ops.stream_progress (generation, batch_id, input_rows, durations_ms, lag_records, state,"
            " low_clock_at, high_clock_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                self._generation,
                progress.batch_id,
                progress.input_rows,
                Jsonb(progress.durations_ms),
                Jsonb(progress.lag_records),
                Jsonb(progress.state),
                *self._clocks(progress.batch_id),
            ),
        )
        if self._observe is not None:
            self._observe(progress, self._connection)


def _instant(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _difference(latest: Any, end: Any, topic: str) -> dict[str, int]:
    """Lag by partition, in records; Spark gives offsets as an object or as JSON text."""
    newest, reached = (
        json.loads(value) if isinstance(value, str) else value or {} for value in (latest, end)
    )
    return {
        partition: offset - reached.get(topic, {}).get(partition, offset)
        for partition, offset in newest.get(topic, {}).items()
    }
