"""Days of a `Case` rebuilt as features__backfill does."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from include.orchestration.backfill.plan import plan_day
from include.orchestration.backfill.rebuild import Job, Rebuilt, rebuild
from include.orchestration.reconcile.day import Inputs
from include.orchestration.reconcile.model import Day
from tests.reconcile_case import GENERATION, POSITION


def day_of(dt: str) -> Day:
    return Day(date.fromisoformat(dt))


def rebuild_day(
    connection: duckdb.DuckDBPyConnection,
    inputs: Inputs,
    folder: Path,
    dt: str,
    days: Sequence[str] = (),
    late: bool = False,
) -> Rebuilt:
    planned = plan_day(connection, inputs, day_of(dt))
    assert not planned.is_refused, planned.describe()
    positions = {span.generation: POSITION for span in inputs.published.spans} or {GENERATION: POSITION}
    wanted = [day_of(it) for it in days or (dt,)]
    job = Job(day_of(dt), planned.windows, wanted, late, folder, positions)
    return rebuild(connection, inputs, job)


def rows_of(rebuilt: Rebuilt) -> list[dict[str, Any]]:
    rows = pq.read_table(rebuilt.staged.folder, partitioning=None).to_pylist()
    for row in rows:
        for name in ("started_at", "ended_at", "last_event_kafka_at"):
            row[name] = round(row[name].timestamp() * 1000) * 1000
    return rows
