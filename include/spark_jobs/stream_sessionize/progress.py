"""One row a micro-batch in ops.stream_progress, from Spark's StreamingQueryProgress and our writer's clock."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from pyspark.sql.streaming import StreamingQuery

_STATE = ("numRowsTotal", "numRowsUpdated", "memoryUsedBytes", "commitTimeMs", "allUpdatesTimeMs")


class ProgressRecorder:
    """Stores each micro-batch's progress once; call `record` at least every hundred micro-batches (Spark keeps
    as many). `phases` gives what our writer measured for a micro-batch, in ms."""

    def __init__(
        self,
        connection: psycopg.Connection,
        generation: int,
        topic: str,
        phases: Callable[[int], dict[str, int]],
    ) -> None:
        self._connection = connection
        self._generation = generation
        self._topic = topic
        self._phases = phases
        self._seen = -1

    def record(self, query: "StreamingQuery") -> int:
        """Store what is new; returns how many micro-batches that was."""
        fresh = self._fresh(query)
        for progress in reversed(fresh):
            self._insert(progress)
        return len(fresh)

    def _fresh(self, query: "StreamingQuery") -> list[dict[str, Any]]:
        """Newest first. Looks no further back than it must: a call every half second should cost nothing."""
        recent = query._jsq.recentProgress()
        fresh = []
        for index in range(len(recent) - 1, -1, -1):
            if recent[index].batchId() <= self._seen:
                break
            progress = json.loads(recent[index].json())
            if progress["numInputRows"] > 0:
                fresh.append(progress)
        if fresh:
            self._seen = fresh[0]["batchId"]
        return fresh

    def _insert(self, progress: dict[str, Any]) -> None:
        source = progress["sources"][0]
        lag = _difference(source.get("latestOffset"), source.get("endOffset"), self._topic)
        state = progress["stateOperators"][0] if progress["stateOperators"] else {}
        batch_id = progress["batchId"]
        self._connection.execute(
            "INSERT INTO ops.stream_progress (generation, batch_id, input_rows, durations_ms, lag_records, state)"
            " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                self._generation,
                batch_id,
                progress["numInputRows"],
                Jsonb({**progress["durationMs"], **self._phases(batch_id)}),
                Jsonb(lag),
                Jsonb({name: state[name] for name in _STATE if name in state}),
            ),
        )


def _difference(latest: Any, end: Any, topic: str) -> dict[str, int]:
    """Lag by partition, in records; Spark gives offsets as an object or as JSON text."""
    newest, reached = (
        json.loads(value) if isinstance(value, str) else value or {} for value in (latest, end)
    )
    return {
        partition: offset - reached.get(topic, {}).get(partition, offset)
        for partition, offset in newest.get(topic, {}).items()
    }
