"""A day's rows made anew, as Parquet files of session_features, and counted against its partition."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from include.common.backfills import StagedDay
from include.common.hive.files import data_files
from include.common.hive.schema import Column, HiveType, arrow_schema
from include.common.hive.tables import SESSION_FEATURES
from include.contract.rules import SessionRules
from include.contract.sessions import Reading
from include.orchestration.backfill.comparison import count_rows, join_reference
from include.orchestration.backfill.replay import Replay, SessionId
from include.orchestration.backfill.revision import Revised, revise, sessions_of
from include.orchestration.backfill.source import Window, accepted_records, late_records, open_window
from include.orchestration.reconcile.day import Inputs, spans_of_day
from include.orchestration.reconcile.model import DAY_MS, Day, Rules, Span

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_BY_REFERENCE: Final = frozenset({"genre", "episode_rating", "ledger_position"})
_RENAMED: Final = {
    "started_at": "started_at_ms", "ended_at": "ended_at_ms", "last_event_kafka_at": "last_event_kafka_ms",
}  # fmt: skip
_MADE: Final = tuple(it for it in SESSION_FEATURES.columns if it.name not in _BY_REFERENCE)
_GROWTH = 4


class RebuildError(RuntimeError):
    """The day cannot be rebuilt; nothing was changed. The message says the mend."""


@dataclass(frozen=True)
class Rebuilt:
    """A day that is rebuilt. `late_applied`: late events that count in its rows; `unlisted_late`: events that are late by
    the engine and that quality.late_events does not list; `unreadable`: the partition's file that nobody can read."""

    staged: StagedDay
    late_applied: int
    unlisted_late: int
    events: int
    unreadable: str | None


@dataclass(frozen=True)
class Job:
    """A day of a run. `windows`: generation -> event times [from, to) that its recomputation needs at least; `days`: of
    the run; `folder`: of the run's staging."""

    day: Day
    windows: Mapping[int, tuple[int, int]]
    days: Sequence[Day]
    with_late_events: bool
    folder: Path
    positions: Mapping[int, int]


def rebuild(connection: "duckdb.DuckDBPyConnection", inputs: Inputs, job: Job) -> Rebuilt:
    """Make the day's rows in `<folder>/dt=<day>`, whole or not at all. Raises RebuildError, RevisionError."""
    hidden = job.folder / f".dt={job.day.dt}.tmp"
    target = job.folder / SESSION_FEATURES.partition_name((job.day.dt,))
    for left in (hidden, target):
        shutil.rmtree(left, ignore_errors=True)
    hidden.mkdir(parents=True)
    made = hidden / "made.parquet"
    totals = _write_readings(connection, inputs, job, made)
    location = inputs.locations.get(job.day.dt)
    broken = unreadable_file(location)
    join_reference(connection, made, inputs.episodes, job.positions, None if broken else location)
    made.unlink()
    counts = count_rows(connection)
    rows = _write_rows(connection, hidden / "part-00000.parquet")
    hidden.rename(target)
    staged = StagedDay(
        job.day.dt,
        str(target),
        None if location is None else str(location),
        inputs.published.generation,
        {str(number): position for number, position in job.positions.items()},
        job.with_late_events,
        rows,
        counts,
    )
    return Rebuilt(staged, *totals, None if broken is None else broken.name)


def without_unreadable(inputs: Inputs, days: Iterable[Day]) -> Inputs:
    """The same inputs, where a partition of `days` with a file that cannot be read holds nothing: else nobody could look
    at a day that must be repaired."""
    broken = {day.dt for day in days if unreadable_file(inputs.locations.get(day.dt))}
    return replace(inputs, locations={dt: path for dt, path in inputs.locations.items() if dt not in broken})


def unreadable_file(location: Path | None) -> Path | None:
    """A Parquet file of a partition's folder whose footer cannot be read: cut off, or of other bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in [] if location is None else data_files(location):
        try:
            pq.read_metadata(file)
        except (pa.ArrowInvalid, OSError):
            return file
    return None


def _write_readings(
    connection: "duckdb.DuckDBPyConnection", inputs: Inputs, job: Job, file: Path
) -> tuple[int, int, int]:
    """All generations' readings of the day into one file; returns late events applied, unlisted ones, events."""
    import pyarrow.parquet as pq

    applied = unlisted = events = 0
    with pq.ParquetWriter(file, arrow_schema(_MADE), compression="zstd") as writer:
        for span in spans_of_day(inputs.published, job.day):
            part = file.with_name(f"generation-{span.generation}.parquet")
            replay, revised = _of_generation(connection, inputs, job, span, part)
            for group in _row_groups(part):
                writer.write_table(group)
            part.unlink()
            applied += 0 if revised is None else revised.applied
            unlisted += len(replay.late)
            events += replay.events
    return applied, unlisted, events


def _row_groups(part: Path) -> Iterable["pa.Table"]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(part)
    return (file.read_row_group(number) for number in range(file.num_row_groups))


def _of_generation(
    connection: "duckdb.DuckDBPyConnection",
    inputs: Inputs,
    job: Job,
    span: Span,
    file: Path,
) -> tuple[Replay, Revised | None]:
    """Replay until the window is enough. What the reconciliation needed is where it begins; late events may need more."""
    archive = inputs.source.archive
    from_ms, to_ms = job.windows[span.generation]
    grown_ms = DAY_MS
    watched: frozenset[SessionId] = frozenset()
    while True:
        window = Window(span, from_ms, to_ms)
        open_window(connection, inputs.source, window, job.day)
        late = late_records(connection, inputs.source, window) if job.with_late_events else []
        watched |= sessions_of(late)
        replay = _replayed(connection, inputs, job, window, watched, file)
        needs_earlier, open_readings = False, len(replay.open_readings)
        revised = None
        if job.with_late_events:
            # the list of late events loses an erased reader before the archive does
            listed = [it for it in replay.late if it.user_id not in inputs.erased]
            missed = frozenset(SessionId(it.partition, it.session_id) for it in listed)
            if not missed <= watched:
                raise RebuildError(
                    f"{job.day.dt}: {len(listed)} events are late by the rules of generation {span.generation} and "
                    f"are not listed as such: see what features__reconcile finds in the late list. Rebuild the day "
                    f"without late events first"
                )
            revised = revise(replay, late, span, job.days)
            _append(file, [it for it in revised.readings if it.user_id not in inputs.erased], span)
            open_readings += revised.open_readings
            needs_earlier = revised.earliest_ms < from_ms + span.rules.gap_ms and from_ms > archive.first_ms
        needs_later = open_readings > 0 and to_ms < archive.end_ms
        if not needs_earlier and not needs_later:
            break
        if needs_earlier:
            from_ms = max(archive.first_ms, from_ms - grown_ms)
        if needs_later:
            to_ms = min(archive.end_ms, to_ms + grown_ms)
        grown_ms *= _GROWTH
    if span.is_current and open_readings:
        raise RebuildError(
            f"{job.day.dt}: {open_readings} readings are not final by the rules, though the day is closed: "
            f"see what features__reconcile says of it"
        )
    return replay, revised


def _replayed(
    connection: "duckdb.DuckDBPyConnection",
    inputs: Inputs,
    job: Job,
    window: Window,
    watched: frozenset[SessionId],
    file: Path,
) -> Replay:
    import pyarrow.parquet as pq

    span = window.span
    replay = Replay(session_rules(span.rules), span.rules.buckets_per_partition, job.day, watched)
    with pq.ParquetWriter(file, arrow_schema(_MADE), compression="zstd") as writer:
        for records in accepted_records(connection, inputs.source, window):
            made = [
                reading
                for reading in replay.take(records)
                if span.from_ms <= reading.session_start_ms < span.to_ms
                and reading.user_id not in inputs.erased
            ]
            if made:
                writer.write_table(_table(made, span.generation))
    return replay


def _append(file: Path, readings: Sequence[Reading], span: Span) -> None:
    """Add readings to a file that `_replayed` wrote."""
    import pyarrow.parquet as pq

    if not readings:
        return
    longer = file.with_suffix(".longer")
    with pq.ParquetWriter(longer, arrow_schema(_MADE), compression="zstd") as writer:
        for group in _row_groups(file):
            writer.write_table(group)
        writer.write_table(_table(readings, span.generation))
    longer.replace(file)


def _table(readings: Sequence[Reading], generation: int) -> "pa.Table":
    import pyarrow as pa

    columns = dict(zip(Reading._fields, zip(*readings, strict=True), strict=True))
    arrays = []
    for column in _MADE:
        if column.name == "generation":
            arrays.append(pa.array([generation] * len(readings), column.type.arrow()))
        else:
            arrays.append(_array(column, columns[_RENAMED.get(column.name, column.name)]))
    return pa.table(arrays, schema=arrow_schema(_MADE))


def _array(column: Column, values: Sequence[Any]) -> "pa.Array":
    import pyarrow as pa

    if column.type is HiveType.TEXT_MAP:
        return pa.array([list((value or {}).items()) for value in values], column.type.arrow())
    if column.type is HiveType.INSTANT:
        return pa.array(values, pa.timestamp("ms", tz="UTC")).cast(column.type.arrow())
    return pa.array(values, column.type.arrow())


def _write_rows(connection: "duckdb.DuckDBPyConnection", file: Path) -> int:
    """The rebuilt rows by key, durable; returns how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = SESSION_FEATURES.arrow_schema()
    order = ", ".join(SESSION_FEATURES.key)
    columns = ", ".join(SESSION_FEATURES.column_names())
    rows = 0
    query = f"SELECT {columns} FROM rebuilt ORDER BY {order}"  # noqa: S608  constants
    with file.open("wb") as target:
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for batch in connection.sql(query).to_arrow_reader(100_000):
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))
                rows += len(batch)
        target.flush()
        os.fsync(target.fileno())
    return rows


def session_rules(rules: Rules) -> SessionRules:
    """A generation's settings as the contract takes them."""
    return SessionRules(rules.gap_ms, rules.max_length_ms, rules.lateness_ms, rules.dwell_cap_ms)
