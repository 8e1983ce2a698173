"""Values said once more, from the link before them, by the plain SQL of `sql/`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from math import isclose
from pathlib import Path
from typing import Any, Final, LiteralString

from include.contract.rules import SessionRules
from include.trace.chain import Check, RawEvent, Row
from include.trace.hive_rows import rows_of

MART_SQL: Final = "mart_of_readings"
SUMS_SQL: Final = "sums_of_readings"
READINGS, EVENTS = "readings", "events"
_RELATIVE: Final = 1e-9
"""Averages of double precision depend on the order of rows in their last digits."""
_AVERAGES: Final = {
    "avg_completion_rate": "completion_rate", "exit_rate": "exit_rate", "avg_scroll_ratio": "scroll_ratio",
    "avg_dwell_time_s": "dwell_time_s",
}  # fmt: skip
_COUNTS: Final = {
    "final_reading_count": "readings",
    "final_session_count": "sessions",
    "final_reader_count": "readers",
}
_READING: Final = (
    "user_id", "country", "device", "platform", "ui_version", "event_count", "scroll_event_count", "max_scroll_ratio",
    "completion_rate", "dwell_time_ms", "last_offset",
)  # fmt: skip
_BY_CLOCK: Final = "which of the two it is, the stream's clock decides"
_NOT_HERE: Final = "not recomputed here: it needs reference data or a ranking"


@dataclass(frozen=True)
class WantedReading:
    """A reading to recompute. `end_offset`: records of its partition before this one were read when it was written."""

    session_id: str
    session_start_ms: int
    episode_id: str
    partition: int
    end_offset: int

    @property
    def key(self) -> tuple[str, int, str]:
        """Primary key."""
        return self.session_id, self.session_start_ms, self.episode_id


@dataclass(frozen=True)
class Recomputed:
    """Readings by key as their events make them, and the places (partition, offset) of the events that count in
    them."""

    readings: dict[tuple[str, int, str], Row]
    counted: set[tuple[int, int]]
    of_session: set[tuple[int, int]]


@cache
def statement(name: str) -> LiteralString:
    """A query of `sql/`."""
    text: LiteralString = (Path(__file__).parent / "sql" / f"{name}.sql").read_text()
    return text


def readings_of_events(
    events: Iterable[RawEvent], wanted: Sequence[WantedReading], rules: SessionRules
) -> Recomputed:
    """What `wanted` must be, made of `events` (accepted ones that were not late)."""
    import duckdb
    import pyarrow as pa

    accepted = [
        {**asdict(event), "kafka_partition": event.partition, "kafka_offset": event.offset}
        for event in events
    ]
    sessions = {
        (it.session_id, it.session_start_ms, it.partition): max(
            other.end_offset
            for other in wanted
            if (other.session_id, other.session_start_ms) == (it.session_id, it.session_start_ms)
        )
        for it in wanted
    }
    if not accepted:
        return Recomputed({}, set(), set())
    bounds = [
        {"session_id": session_id, "session_start_ms": start_ms, "kafka_partition": partition,
         "max_length_ms": rules.max_length_ms, "end_offset": end}
        for (session_id, start_ms, partition), end in sessions.items()
    ]  # fmt: skip
    with duckdb.connect() as connection:
        for name, rows in (("events", accepted), ("wanted", bounds), ("rules", [asdict(rules)])):
            connection.register(f"{name}_arrow", pa.Table.from_pylist(rows))
            connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {name}_arrow")  # noqa: S608  names of ours
        connection.execute(f"CREATE TEMP TABLE counted AS {statement('counted_events')}")
        made = rows_of(connection, statement("reading_of_events"))
        counted = rows_of(connection, "SELECT * FROM counted")
    keys = {it.key for it in wanted}
    by_key = {(row["session_id"], row["session_start_ms"], row["episode_id"]): row for row in made}
    return Recomputed(
        {key: row for key, row in by_key.items() if key in keys},
        {
            (row["kafka_partition"], row["kafka_offset"])
            for row in counted
            if (row["session_id"], row["session_start_ms"], row["episode_id"]) in keys
        },
        {(row["kafka_partition"], row["kafka_offset"]) for row in counted},
    )


def check_reading(row: Row, made: Row | None, missing: str) -> list[Check]:
    """A reading against its events; `missing` says why they are not all there (empty: they are)."""
    if made is None:
        return [Check("event_count", row["event_count"], None, None, EVENTS, missing or "no event was found")]
    pairs: dict[str, tuple[Any, Any]] = {name: (row[name], made[name]) for name in _READING}
    pairs |= {
        "started_at": (row["started_at"], _instant(made["started_ms"])),
        "ended_at": (row["ended_at"], _instant(made["ended_ms"])),
    }
    checks = [_compare(name, served, found, EVENTS, missing) for name, (served, found) in pairs.items()]
    return [*checks, _check_status(row, made, missing)]


def _check_status(row: Row, made: Row, missing: str) -> Check:
    served = str(row.get("status"))
    if made["has_completed"] or made["ends_with_exit"]:
        return _compare("status", served, "completed" if made["has_completed"] else "exited", EVENTS, missing)
    found = "active or timed_out"
    equal = None if missing else served in ("active", "timed_out")
    return Check("status", served, found, equal, EVENTS, missing or _BY_CLOCK)


def check_mart(mart: str, row: Row, found: Mapping[str, Any], missing: str) -> list[Check]:
    """Counts and averages of a mart's row against its readings; what is not recomputed says so."""
    prefix = mart.removesuffix("_features")
    made = {column: found[name] for column, name in _COUNTS.items()}
    made |= {f"{prefix}_{column}": found[name] for column, name in _AVERAGES.items()}
    if found["sessions"]:
        made["user_readings_per_session"] = found["readings"] / found["sessions"]
    checks = [
        _compare(column, row[column], value, READINGS, missing)
        for column, value in made.items()
        if column in row
    ]
    left = [column for column in row if column not in made]
    return [*checks, *(Check(column, row[column], None, None, READINGS, _NOT_HERE) for column in left)]


def check_sums(row: Row, found: Mapping[str, Any]) -> list[Check]:
    """The stream's folded sums against the readings."""
    return [_compare(name, row[name], value, READINGS, "") for name, value in found.items() if name in row]


def rates_of_sums(found: Mapping[str, Any]) -> dict[str, float | None]:
    """The rates that serving views derive from the sums."""

    def rate(name: str, of: str, unit: float) -> float | None:
        return float(found[name]) / unit / float(found[of]) if found[of] else None

    return {
        "realtime_avg_completion_rate": rate("completion_ppm_sum", "readings_closed", 1e6),
        "realtime_exit_rate": rate("readings_exited", "readings_closed", 1),
        "realtime_avg_scroll_ratio": rate("scroll_ppm_sum", "readings_with_scroll", 1e6),
        "realtime_avg_dwell_time_s": rate("dwell_time_ms_sum", "readings_closed", 1e3),
    }


def check_value(column: str, served: Any, found: Any) -> Check:
    """One value against what its readings make."""
    return _compare(column, served, found, READINGS, "")


def _compare(column: str, served: Any, found: Any, source: str, missing: str) -> Check:
    if isinstance(found, Decimal):
        found = float(found) if found % 1 else int(found)
    if isinstance(served, Decimal):
        served = float(served)
    equal: bool | None = served == found
    if isinstance(served, (int, float)) and isinstance(found, (int, float)):
        equal = isclose(served, found, rel_tol=_RELATIVE, abs_tol=1e-12)
    return Check(column, served, found, None if missing else equal, source, missing)


def _instant(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).replace(microsecond=epoch_ms % 1000 * 1000)
