"""A Spark query over all that a topic holds now, and how long its micro-batches took. Imported by drivers only."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql.streaming import DataStreamWriter


def run_available(writer: "DataStreamWriter") -> dict[str, Any]:
    """Run to the topic's present end; returns `started_at`, `ended_at` (epoch s, first micro-batch's start to the last
    one's end), `records` (read), and `batches` as [records, seconds]."""
    query = writer.trigger(availableNow=True).start()
    query.awaitTermination()
    recent = [json.loads(progress.json()) for progress in query._jsq.recentProgress()]
    batches = [progress for progress in recent if progress["numInputRows"] > 0]
    starts = [datetime.fromisoformat(progress["timestamp"]).timestamp() for progress in batches]
    seconds = [progress["durationMs"]["triggerExecution"] / 1000 for progress in batches]
    records = [progress["numInputRows"] for progress in batches]
    return {
        "started_at": starts[0],
        "ended_at": starts[-1] + seconds[-1],
        "records": sum(records),
        "batches": list(zip(records, seconds, strict=True)),
    }
