"""Micro-batches that a driver of a generation would write, written by the stream's own writer, without Spark."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from include.contract.sessions import Reading, ReadingKey
from include.spark_jobs.stream_sessionize.changes import Tally, readings_schema, readings_to_arrow
from include.spark_jobs.stream_sessionize.generations import Generation, Plan
from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch
from include.spark_jobs.stream_sessionize.writer import MicroBatchWriter

START_MS = 1_789_000_000_000
HOUR_MS = 3_600_000


def reading(number: int, **changes: Any) -> Reading:
    """A final, completed reading of partition 0 at offset `number`, in a session of its own."""
    start_ms = changes.get("session_start_ms", START_MS + number * 1000)
    fields: dict[str, Any] = {
        "session_id": f"s{number}", "session_start_ms": start_ms, "episode_id": f"ep{number % 4}",
        "user_id": f"u{number % 7}", "country": "KR", "device": "phone", "platform": "ios", "experiments": None,
        "ui_version": None, "status": "completed", "is_exit_tag": False, "completion_rate": 1.0,
        "max_scroll_ratio": 0.75, "event_count": 3, "scroll_event_count": 1, "dwell_time_ms": 1000,
        "started_at_ms": start_ms, "ended_at_ms": start_ms + 60_000, "is_final": True, "source_partition": 0,
        "last_offset": number, "last_event_kafka_ms": start_ms + 60_500,
    }  # fmt: skip
    return Reading(**{**fields, **changes})


OPEN = {"status": "active", "is_exit_tag": None, "is_final": False, "completion_rate": 0.5}


class Lineage:
    """What a driver of one generation does, without Spark."""

    def __init__(self, dsn: str, landing: Path, number: int, plan: Plan | None = None) -> None:
        self.dsn = dsn
        self.number = number
        generation = Generation(number, Path("none"), {"0": 0}, plan or Plan())
        self.writer = MicroBatchWriter(dsn, landing, "topic", generation)
        self.batches = self.reached = 0

    def commit(self, *readings: Reading, to: int, deletes: tuple[ReadingKey, ...] = ()) -> None:
        """One micro-batch, up to offset `to`."""
        table = pa.Table.from_batches([readings_to_arrow(list(readings))], schema=readings_schema())
        tally = Tally(list(deletes), [], to - self.reached, 0, 0, START_MS)
        batch = MicroBatch(self.batches, {"0": self.reached}, {"0": to}, table, [tally])
        assert self.writer.write(batch)
        self.batches, self.reached = self.batches + 1, to
