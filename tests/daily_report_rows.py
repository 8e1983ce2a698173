"""Files of Hive partitions for tests of the daily report, with few rows that a person can add up."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from include.common.hive.schema import HiveTable
from include.common.hive.tables import DEAD_LETTERS, RAW_EVENTS, SESSION_FEATURES

DAY = date(2026, 10, 7)
BEFORE = DAY - timedelta(days=7)


def write(table: HiveTable, folder: Path, rows: list[dict[str, Any]]) -> Path:
    """One file of `rows`; columns that a row leaves out are null."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"part-{len(list(folder.iterdir())):05d}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.arrow_schema()), path)
    return path


def reading(number: int, **changes: Any) -> dict[str, Any]:
    """A completed reading of DAY by reader `number % 2`, in a session of its own."""
    return {
        "session_id": f"secret-session-{number}", "session_start_ms": number, "episode_id": "report-ep1",
        "user_id": f"secret-user-{number % 2}", "country": "KR", "genre": "drama", "status": "completed",
        "is_exit_tag": False, "completion_rate": 1.0,
        "started_at": datetime.combine(DAY, time(12), UTC), **changes,
    }  # fmt: skip


EXITED: dict[str, Any] = {"status": "exited", "is_exit_tag": True}


def write_day(folder: Path) -> None:
    """DAY: 4 readings (KR 3, US 1), 5 events at 0 h and 7 at 13 h, 3 dead letters."""
    write(SESSION_FEATURES, folder / "readings", [reading(0), reading(1, **EXITED, completion_rate=0.5)])
    write(
        SESSION_FEATURES,
        folder / "readings",
        [
            reading(2, **EXITED, completion_rate=0.0, genre=None, episode_id="report-ep2"),
            reading(2, country="US", completion_rate=0.5, **EXITED, episode_id="report-ep3"),
        ],
    )
    write(RAW_EVENTS, folder / "events" / "0", [{}] * 5)
    write(RAW_EVENTS, folder / "events" / "13", [{}] * 3)
    write(RAW_EVENTS, folder / "events" / "13", [{}] * 4)
    letters = [{"reason": reason} for reason in ("bad_json", "null_key", "bad_json")]
    write(DEAD_LETTERS, folder / "dead_letters", letters)


def write_week_before(folder: Path) -> None:
    """BEFORE: 12 readings of ep1 in KR, all completed, and 8 events at 13 h."""
    write(SESSION_FEATURES, folder / "readings", [reading(number) for number in range(12)])
    write(RAW_EVENTS, folder / "events" / "13", [{}] * 8)
