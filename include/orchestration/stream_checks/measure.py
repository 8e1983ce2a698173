"""What the checks of the stream are judged by: the ledger, and what the topic held at three times."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from psycopg.rows import dict_row

from include.common.kafka.offsets import offsets_at
from include.common.names import Dag
from include.common.postgres import connect
from include.orchestration.stream_health import lag_records

_SQL = (Path(__file__).parent / "measure.sql").read_text()


@dataclass(frozen=True)
class Measurement:
    """The current generation over the `span` before `at` (the database's clock). Lags are records; `lags` is of its
    start, its middle and its end, and empty for a generation that was begun or swapped in within it.

    `last_commit` is not before the swap that made the generation the current one; `events`, `dead_letters` and
    `p99_freshness_s` are of micro-batches since `counted_from`, that swap or the span's start.
    `overdue_records`: not committed, and older (Kafka time) than the time allowed for progress. `p99_freshness_s`: 99 %
    of the span's events were committed within it, None where none was.
    """

    at: datetime
    span: timedelta
    counted_from: datetime
    last_commit: datetime
    overdue_records: int
    lags: tuple[int, ...]
    events: int
    dead_letters: int
    p99_freshness_s: float | None


def measure(
    dsn: str, kafka: Mapping[str, str], topic: str, progress_allowed: timedelta
) -> Measurement | None:
    """None where no generation was begun. `last_commit` is the generation's start before its first one.

    Raises PostgresUnreachableError, KafkaUnreachableError, psycopg.Error.
    """
    # the ledger first: a record that comes between the two is lag, never the other way round
    with connect(dsn, application_name=Dag.WATCH_PROGRESS) as connection:
        row = connection.cursor(row_factory=dict_row).execute(_SQL).fetchone()
    if row is None:
        return None
    at, span = row["at_end"], row["span"]
    times = (at - span, at - span / 2, at, at - progress_allowed)
    *held, overdue = offsets_at(kafka, topic, [int(time.timestamp() * 1000) for time in times])
    reached = [row[name] for name in ("reached_start", "reached_middle", "reached_end")]
    known = all(offsets is not None for offsets in reached)
    lags = (lag_records(*pair) for pair in zip(reached, held, strict=True)) if known else ()
    return Measurement(
        at,
        span,
        row["counted_from"],
        row["last_commit"] or row["started_at"],
        lag_records(row["reached_end"], overdue),
        tuple(lags),
        row["events"],
        row["dead_letters"],
        row["p99_s"],
    )
