"""Rebuilt days come to Hive on real PostgreSQL, Spark and metastore: killed in the middle, repeated, and kept."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.backfills import Counts, StagedDay, newest_backfills, record_backfill, write_manifest
from include.common.erasure.erasures import erasure_key, open_erasure
from include.common.hive.publications import (
    Publication,
    published_generation,
    published_position,
    record_publications,
)
from include.common.hive.tables import CONTENT_QUALITY_DAILY, SESSION_FEATURES
from include.common.settings import ERASURE_KEY_VARIABLE, Settings
from include.contract.sessions import Reading
from include.spark_jobs.publish_features.backfill import publish_rebuilt
from include.spark_jobs.session import JobError
from tests.integration.publish_killed import BETWEEN_DAYS
from tests.integration.publish_support import DAY_MS, DT, MONDAY_MS, Store, reading
from tests.reconcile_case import hive_row, write_sessions

SUNDAY = [reading(number, MONDAY_MS - DAY_MS + number * 3_600_000) for number in range(3)]
EARLIER_MS = MONDAY_MS - 30 * DAY_MS
EARLIER = "2026-10-25"
MONDAY = [reading(number, MONDAY_MS + number * 3_600_000) for number in range(10, 12)]


@pytest.fixture(scope="module")
def store(publish_store: Store) -> Store:
    return publish_store


def stage(store: Store, folder: Path, dt: str, readings: Sequence[Reading], position: int) -> StagedDay:
    """A rebuilt day as features__backfill stages it."""
    part = folder / f"dt={dt}"
    part.mkdir(parents=True)
    schema = SESSION_FEATURES.arrow_schema()
    rows = [hive_row(it, ledger_position=position) for it in readings]
    columns = [pa.array([row[it.name] for row in rows], it.type) for it in schema]
    pq.write_table(pa.table(columns, schema=schema), part / "part-00000.parquet")
    location = store.metastore.locations(SESSION_FEATURES, [(dt,)])[(dt,)]
    return StagedDay(
        dt, str(part), str(location), 1, {"1": position}, False, len(rows), Counts(0, 0, len(rows), 1, {})
    )


def backfill(store: Store, folder: Path, *, run_id: str = "backfill", killed: str = "") -> int:
    """Exit status of the publisher's job, started as the DAG does."""
    script = [str(Path(__file__).with_name("publish_killed.py")), killed]
    if not killed:
        script = ["-m", "include.spark_jobs.publish_features.job"]
    done = subprocess.run(
        [sys.executable, *script, "--run-id", run_id, "--backfill", str(folder), "--database", store.metastore.database],
        env={**store.submit.env, **store.submit.overrides, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode in (0, 1, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode


def dwell(store: Store, dt: str) -> dict[str, int]:
    return {row["session_id"]: row["dwell_time_ms"] for row in store.rows(dt)}


def quality(store: Store, dt: str) -> int:
    return sum(row["reading_count"] for row in store.rows(dt, CONTENT_QUALITY_DAILY))


def test_a_publication_that_reads_its_landing_again_brings_no_old_row_back(store: Store) -> None:
    """As where a publication of the day is cleared after the day was rebuilt: readings became final since, too."""
    kept, gone, later = (reading(number, EARLIER_MS + number * 1000) for number in range(20, 23))
    store.land(kept, gone)
    ((position,),) = store.connection.execute("SELECT max(position) FROM ops.stream_batches").fetchall()
    store.land(later)
    store.cut()
    rebuilt = hive_row(kept._replace(dwell_time_ms=7), ledger_position=position)
    folder = write_sessions(store.data / "rebuilt", [rebuilt])[EARLIER]
    store.metastore.ensure_table(SESSION_FEATURES, store.data / "warehouse")
    store.metastore.point_partitions(SESSION_FEATURES, {(EARLIER,): folder})
    day = StagedDay(EARLIER, "", None, 1, {"1": position}, False, 1, Counts(0, 0, 1, 1, {}))
    record_backfill(store.connection, "by hand", day, str(folder))
    # of the newest cut, and yet it does not say that the ledger is published up to there
    ((cut_id,),) = store.connection.execute("SELECT max(cut_id) FROM ops.model_cuts").fetchall()
    entry = Publication(SESSION_FEATURES.name, f"dt={EARLIER}", cut_id, str(folder), 1, is_backfill=True)
    record_publications(store.connection, "by hand", [entry])
    store.publish("cleared")
    assert dwell(store, EARLIER) == {kept.session_id: 7, later.session_id: later.dwell_time_ms}
    assert quality(store, EARLIER) == 2


def test_rows_of_a_reader_who_was_erased_since_they_were_staged_are_not_published(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ERASURE_KEY_VARIABLE, store.submit.env[ERASURE_KEY_VARIABLE])
    row = reading(30, EARLIER_MS)._replace(user_id="erased-since")
    folder = store.data / "staging" / "backfill=erased"
    write_manifest(folder, [stage(store, folder, EARLIER, [row], 1)])
    before = dwell(store, EARLIER)
    open_erasure(store.connection, user_id="erased-since", reason="asked", key=erasure_key())
    settings = Settings("", "", "", store.data)
    with pytest.raises(JobError, match=f"clear rebuild_day of {EARLIER}"):
        publish_rebuilt(settings, store.metastore, store.connection, "erased", folder)
    assert dwell(store, EARLIER) == before
    store.connection.execute("DELETE FROM ops.erasures")


@pytest.mark.long
def test_killed_between_days_each_is_old_or_new_and_a_repeated_publication_keeps_what_was_rebuilt(
    store: Store, tmp_path: Path
) -> None:
    before_it = published_position(store.connection, SESSION_FEATURES.name, 1, "")
    store.land(*SUNDAY, *MONDAY)
    store.cut()
    store.publish("published")
    position = published_position(store.connection, SESSION_FEATURES.name, 1, "")
    before = {dt: dwell(store, dt) for dt in DT}
    folder = store.data / "staging" / "backfill=test"
    # of either day one row goes, and the others have another dwell time
    rebuilt = [
        [it._replace(dwell_time_ms=it.dwell_time_ms + 7) for it in readings[1:]]
        for readings in (SUNDAY, MONDAY)
    ]
    days = [stage(store, folder, dt, rows, position) for dt, rows in zip(DT, rebuilt, strict=True)]
    wanted = {
        dt: {it.session_id: it.dwell_time_ms for it in rows} for dt, rows in zip(DT, rebuilt, strict=True)
    }
    write_manifest(folder, days)

    assert backfill(store, folder, killed=BETWEEN_DAYS) == -signal.SIGKILL
    assert {dt: dwell(store, dt) for dt in DT} == {DT[0]: wanted[DT[0]], DT[1]: before[DT[1]]}
    assert (quality(store, DT[0]), quality(store, DT[1])) == (2, 2)
    place = store.metastore.locations(SESSION_FEATURES, [(DT[0],)])
    assert backfill(store, folder) == 0, "clearing goes on"
    assert {dt: dwell(store, dt) for dt in DT} == wanted
    assert store.metastore.locations(SESSION_FEATURES, [(DT[0],)]) == place, "what was published stays"
    assert (quality(store, DT[0]), quality(store, DT[1])) == (2, 1)
    assert set(newest_backfills(store.connection)) == {EARLIER, *DT}

    # it says nothing of the ledger: a cleared publication reads its landing files again, and new ones are found
    for run_id in ("published", "other"):
        held = published_position(store.connection, SESSION_FEATURES.name, 1, run_id)
        assert held == (before_it if run_id == "published" else position)
    assert published_generation(store.connection, SESSION_FEATURES.name, "cleared") == 1
    late_one = reading(99, MONDAY_MS + 3_600_000, dwell_time_ms=5)
    store.land(late_one)
    store.cut()
    store.publish("published")
    assert dwell(store, DT[0]) == wanted[DT[0]], "old rows do not come back"
    assert dwell(store, DT[1]) == {**wanted[DT[1]], "s99": 5}, "readings that became final since are merged"

    # what another publication has changed since it was compared is not overwritten
    held = {dt: dwell(store, dt) for dt in DT}
    assert backfill(store, folder, run_id="another") == 1
    assert {dt: dwell(store, dt) for dt in DT} == held
