"""Rows and landing files of erased readers: removed at once or not at all, with what was folded from them."""

import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from include.common.erasure.checkpoint_search import CheckpointSearch, search_checkpoint, state_needle
from include.common.erasure.erasures import Erasure, open_erasure
from include.orchestration.erasure.request import reopen
from include.orchestration.roll_out.swap import swap
from include.spark_jobs.stream_sessionize import erased_rows, forgetting
from include.spark_jobs.stream_sessionize.erased_rows import (
    Landed,
    generations_of,
    remove_rows,
    search_landing,
)
from include.spark_jobs.stream_sessionize.forgetting import Forgetting
from include.spark_jobs.stream_sessionize.generations import (
    Generation,
    Plan,
    SupersededError,
    check_checkpoint,
)
from tests.integration.stream_support import scalar
from tests.integration.test_roll_out_store import OPEN, QUICK, Store, reading

KEY = b"k" * 32
LEAVER = "u3"
READINGS = [reading(number) for number in range(16)] + [
    reading(number, **OPEN) for number in (17, 18, 20, 24, 30)
]
"""Readers u0 to u6; u3 has two final readings and two open ones."""


@pytest.fixture
def store(feature_db: str, tmp_path: Path) -> Iterator[Store]:
    made = Store(feature_db, tmp_path)
    yield made
    made.close()


@pytest.fixture
def connection(store: Store) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(store.dsn, autocommit=True) as opened:
        yield opened


def fill(store: Store, readings: list[Any] = READINGS) -> None:
    """Three micro-batches of every lineage that has none yet."""
    for lineage in store.lineages:
        if not lineage.batches:
            for number in range(3):
                lineage.commit(*readings[number::3], to=7 * number + 7)


def erase(connection: psycopg.Connection[Any], store: Store, number: int) -> tuple[Erasure, Landed]:
    erasure = open_erasure(connection, user_id=LEAVER, reason="a test", key=KEY)
    generation = Generation(number, Path("none"), {"0": 0}, Plan())
    landed = Landed()
    for _ in search_landing(
        connection, store.landing, generations_of(connection, generation), [LEAVER], landed
    ):
        continue
    remove_rows(connection, store.landing, generation, [erasure], landed)
    return erasure, landed


def landed_rows(store: Store) -> list[dict[str, Any]]:
    """Readings of the listed files, each as the ledger says."""
    with psycopg.connect(store.dsn) as connection:
        listed = connection.execute(
            "SELECT landing_path, landing_rows, landing_sha256 FROM ops.stream_batches WHERE landing_path IS NOT NULL ORDER BY position"
        ).fetchall()
    for path, rows, sha256 in listed:
        assert hashlib.sha256((store.landing / path).read_bytes()).hexdigest() == sha256
        assert pq.read_metadata(store.landing / path).num_rows == rows
    return [row for path, _, _ in listed for row in pq.read_table(store.landing / path).to_pylist()]


def without_him(rows: list[Any]) -> list[Any]:
    return [row for row in rows if LEAVER not in str(row)]


@pytest.fixture
def as_if_never_there(feature_db_factory: Any, tmp_path: Path) -> dict[str, list[Any]]:
    """The rows of a store that never met him."""
    other = Store(feature_db_factory(), tmp_path / "other")
    fill(other, [row for row in READINGS if row.user_id != LEAVER])
    other.close()
    return other.rows("realtime")


def test_rows_sums_and_files_are_those_without_him(
    store: Store, connection: psycopg.Connection[Any], as_if_never_there: dict[str, list[Any]]
) -> None:
    fill(store)
    connection.execute(
        "INSERT INTO quality.late_events SELECT 'topic', 0, 100 + row_number() OVER (), 's' || n, 'late', 1, 2, 1, 0, u FROM (VALUES (3, NULL), (4, NULL), (99, 'u3'), (3, 'u4')) AS v (n, u)"
    )
    landed_before = landed_rows(store)
    theirs = [row for row in READINGS if row.user_id == LEAVER]
    final = [row for row in theirs if row.is_final]
    assert len(theirs) > len(final) > 1

    erasure, landed = erase(connection, store, 1)

    assert store.rows("realtime") == as_if_never_there
    assert landed_rows(store) == without_him(landed_before)
    assert len(landed_rows(store)) == len(landed_before) - len(final)
    assert (
        scalar(store.dsn, "SELECT string_agg(session_id, ' ' ORDER BY session_id) FROM quality.late_events")
        == "s3 s4"
    )
    step = "SELECT removed, detail FROM ops.erasure_steps WHERE store = 'stream_rows_1'"
    expected = {
        "realtime_readings": len(theirs), "landing_readings": len(final), "landing_files": len(landed.files),
        "late_events": 2, "shared_sessions": 0,
    }  # fmt: skip
    assert connection.execute(step).fetchone() == (len(theirs) + len(final) + 2, expected)

    # repeated, as after a crash: nothing more is found and what was said stays
    assert erase(connection, store, 1)[0].erasure_id == erasure.erasure_id
    assert connection.execute(step).fetchone() == (len(theirs) + len(final) + 2, expected)
    # the rewritten files' predecessors
    assert erased_rows.sweep_landing(connection, store.landing, {1: "current"}, time.time() + 1) == len(
        landed.files
    )
    assert landed_rows(store) == without_him(landed_before)


def test_a_crash_before_the_end_leaves_everything_as_it_was(
    store: Store, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    before, landed_before = store.rows("realtime"), landed_rows(store)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(erased_rows, "record_step", die)
    with pytest.raises(KeyboardInterrupt):
        erase(connection, store, 1)
    assert (store.rows("realtime"), landed_rows(store)) == (before, landed_before)


def test_each_driver_has_its_own_generation_and_the_current_one_the_retired(
    store: Store, connection: psycopg.Connection[Any]
) -> None:
    fill(store)
    store.begin()
    fill(store)
    erase(connection, store, 1)
    assert (
        without_him(store.rows("realtime")["session_features"]) == store.rows("realtime")["session_features"]
    )
    shadow = store.rows("realtime_shadow")
    assert without_him(shadow["session_features"]) != shadow["session_features"], (
        "its driver takes it in still"
    )
    swap(store.dsn, 2, QUICK)
    with pytest.raises(SupersededError):
        erase(connection, store, 1)
    store.begin("a third")
    fill(store)
    swap(store.dsn, 3, QUICK)
    assert LEAVER in str(store.rows("realtime_retired"))
    erase(connection, store, 3)
    for schema in ("realtime", "realtime_retired"):
        assert LEAVER not in str(store.rows(schema)["session_features"] + store.rows(schema)["user_features"])
    assert all(row["user_id"] != LEAVER for row in landed_rows(store))


def test_a_session_that_somebody_else_reads_in_keeps_the_others_readings_and_late_events(
    store: Store, connection: psycopg.Connection[Any]
) -> None:
    other = reading(2, session_id="s3", session_start_ms=reading(3).session_start_ms)
    store.first.commit(reading(3), other, to=2)
    connection.execute("INSERT INTO quality.late_events VALUES ('topic', 0, 9, 's3', 'late', 1, 2, 1, 0)")
    erase(connection, store, 1)
    assert [row[0]["user_id"] for row in store.rows("realtime")["session_features"]] == [other.user_id]
    assert [row["user_id"] for row in landed_rows(store)] == [other.user_id]
    assert scalar(store.dsn, "SELECT count(*) FROM quality.late_events") == 1
    assert scalar(store.dsn, "SELECT detail ->> 'shared_sessions' FROM ops.erasure_steps") == "1"


def checkpointed(folder: Path, number: int = 1, status: str = "current") -> Generation:
    """A generation whose checkpoint stands where `fill` has brought the ledger."""
    checkpoint = folder / "checkpoints" / f"generation={number}"
    for name in (f"{log}/{batch}" for log in ("offsets", "commits") for batch in range(3)):
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).touch()
    return Generation(number, checkpoint, {"0": 0}, Plan(), status)


def test_a_start_waits_for_a_transaction_that_a_killed_driver_has_left(
    store: Store, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    fill(store)
    generation, found = checkpointed(tmp_path), []
    (generation.checkpoint / "offsets" / "3").touch()

    def start() -> None:
        found.append(check_checkpoint(connection, generation))
        begun = Forgetting.begin(connection, KEY, generation, store.landing)
        found.append(int(begun._comes_first is not None))

    starting = threading.Thread(target=start)
    with psycopg.connect(store.dsn) as left:
        left.execute("SELECT FROM ops.stream_generations WHERE generation = 1 FOR SHARE")
        left.execute(
            "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_rows, events,"
            " dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
            " VALUES (1, 3, '{}', '{}', 0, 0, 0, 0, 0, 0, 0)"
        )
        starting.start()
        starting.join(0.5)
        assert starting.is_alive(), "it did not wait"
    starting.join(10)
    assert found == [3, True]


def test_who_was_forgotten_when_a_micro_batch_was_made_is_forgotten_when_it_is_repeated(
    store: Store, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    fill(store)
    generation = checkpointed(tmp_path)

    def begin() -> Forgetting:
        return Forgetting.begin(connection, KEY, generation, store.landing)

    first = open_erasure(connection, user_id=LEAVER, reason="a test", key=KEY)
    run = begin()
    assert run.erasures == [first]
    run.remove_rows()
    (
        generation.checkpoint / "commits" / "2"
    ).unlink()  # killed when PostgreSQL had committed and Spark had not
    second = open_erasure(connection, user_id="u4", reason="a test", key=KEY)

    for times in ("the first time", "and again"):
        run = begin()
        assert run.erasures == [first], times
        assert run.erased.digests == {first.digest}, "the micro-batch was made with the second one's events"
        assert run._look() == [second.erasure_id]
        reopen(connection, user_id=LEAVER, reason="a test", key=KEY)
    assert run._look() == [first.erasure_id, second.erasure_id], "filed again, it is another one"

    (generation.checkpoint / "commits" / "2").touch()
    run = begin()
    assert run.erasures == [first, second]
    assert run.erased.digests == {first.digest, second.digest}
    assert run._look() == []


def with_shadow(store: Store, folder: Path) -> tuple[Generation, Generation]:
    """The current generation, in whose checkpoint the leaver is, and a shadow; both are filled."""
    fill(store)
    current = checkpointed(folder)
    (current.checkpoint / "state").write_bytes(state_needle(LEAVER))
    store.begin()
    fill(store)
    return current, checkpointed(folder, 2, "shadow")


def forget_all(run: Forgetting) -> None:
    """What a run does beside its query, to its end."""
    run.remove_rows()
    deadline = time.monotonic() + 60
    while run.why_restart() is None:
        assert time.monotonic() < deadline


def test_a_shadow_that_has_forgotten_before_it_is_swapped_in_also_does_what_is_left_of_the_one_before(
    store: Store, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "_SEARCH_EVERY_S", 0)
    retired, generation = with_shadow(store, tmp_path)
    erasure = open_erasure(connection, user_id=LEAVER, reason="a test", key=KEY)
    done = (
        "SELECT store FROM ops.erasure_steps WHERE erasure_id = %s AND NOT starts_with(store, 'stream_rows_')"
    )
    forget_all(Forgetting.begin(connection, KEY, generation, store.landing))
    assert connection.execute(done, (erasure.erasure_id,)).fetchall() == [("stream_generation_2",)]
    swap(store.dsn, 2, QUICK)
    assert connection.execute(done, (erasure.erasure_id,)).fetchall() == []
    assert LEAVER in str(store.rows("realtime_retired")["session_features"])

    forget_all(Forgetting.begin(connection, KEY, generation, store.landing))
    assert {name for (name,) in connection.execute(done, (erasure.erasure_id,))} == {
        "stream_generation_2",
        "stream",
    }
    assert not retired.checkpoint.exists()
    for schema in ("realtime", "realtime_retired"):
        assert LEAVER not in str(store.rows(schema)["session_features"] + store.rows(schema)["user_features"])
    assert all(row["user_id"] != LEAVER for row in landed_rows(store))


def test_what_a_swap_leaves_to_a_driver_at_the_end_of_its_work_is_forgotten_too(
    store: Store, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retired, generation = with_shadow(store, tmp_path)
    erasure = open_erasure(connection, user_id=LEAVER, reason="a test", key=KEY)
    run = Forgetting.begin(connection, KEY, generation, store.landing)
    searched: list[Path] = []

    def search(checkpoint: Path, needles: list[bytes]) -> CheckpointSearch:
        if not searched:
            swap(store.dsn, 2, QUICK)
        searched.append(checkpoint)
        return search_checkpoint(checkpoint, needles)

    monkeypatch.setattr(forgetting, "search_checkpoint", search)
    monkeypatch.setattr(forgetting, "_SEARCH_EVERY_S", 0)
    forget_all(run)
    assert store.statuses() == {1: "retired", 2: "current"}
    assert searched == [generation.checkpoint, retired.checkpoint, generation.checkpoint]
    assert not retired.checkpoint.exists()
    for schema in ("realtime", "realtime_retired"):
        assert LEAVER not in str(store.rows(schema)["session_features"] + store.rows(schema)["user_features"])
    assert all(row["user_id"] != LEAVER for row in landed_rows(store))
    theirs = sum(row.user_id == LEAVER for row in READINGS)
    final = sum(row.user_id == LEAVER and row.is_final for row in READINGS)
    steps = "SELECT removed FROM ops.erasure_steps WHERE erasure_id = %s AND store IN ('stream', 'stream_generation_2')"
    assert connection.execute(steps, (erasure.erasure_id,)).fetchall() == [(2 * (theirs + final),)] * 2
