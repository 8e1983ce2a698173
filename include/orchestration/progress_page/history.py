"""What the page shows: the current generation by minute and by micro-batch, and its driver."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from include.common.names import Pg
from include.common.postgres import connect

_HERE = Path(__file__).parent
_MINUTES, _BATCHES = ((_HERE / f"{name}.sql").read_text() for name in ("minutes", "batches"))
_DRIVER = (
    f"SELECT desired_state, driver_started_at, restarts, run_id FROM {Pg.STREAM_CONTROL} WHERE name = %s"  # noqa: S608  a constant
)


@dataclass(frozen=True)
class Phases:
    """Milliseconds of a micro-batch. Spark's own names stand in ops.stream_progress.durations_ms."""

    total: int
    kafka: int
    spark: int
    write: int

    @classmethod
    def of(cls, durations_ms: Mapping[str, int]) -> "Phases":
        """`write`: PostgreSQL and what the landing file takes longer than the loading that it is written beside; all of it
        beside the next micro-batch. `spark` is without the time it waits for that."""
        writer = {name: value for name, value in durations_ms.items() if name.startswith("writer.")}
        landing = writer.pop("writer.landing", 0)
        loading = sum(writer.get(f"writer.{name}", 0) for name in ("copy", "old_rows"))
        writing = sum(
            value for name, value in writer.items() if name not in {"writer.collect", "writer.wait"}
        )
        return cls(
            total=durations_ms.get("triggerExecution", 0),
            kafka=durations_ms.get("latestOffset", 0) + durations_ms.get("getBatch", 0),
            spark=max(0, durations_ms.get("addBatch", 0) - durations_ms.get("writer.wait", 0)),
            write=writing + max(0, landing - loading),
        )


@dataclass(frozen=True)
class History:
    """Rows by column name, newest first; `driver` None where none was ever started."""

    at: datetime
    driver: Mapping[str, Any] | None
    minutes: list[dict[str, Any]]
    batches: list[dict[str, Any]]


def read_history(dsn: str, driver_name: str, now: datetime) -> History:
    """Raises PostgresUnreachableError, psycopg.Error."""
    with connect(dsn, application_name="progress_page") as connection:
        cursor = connection.cursor(row_factory=dict_row)
        return History(
            now,
            cursor.execute(_DRIVER, (driver_name,)).fetchone(),
            cursor.execute(_MINUTES).fetchall(),
            cursor.execute(_BATCHES).fetchall(),
        )
