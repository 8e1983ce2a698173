"""Maintenance of the batch store on real PostgreSQL and metastore: a day of slices, crashes at each step, repeats,
retention. No row is lost, doubled or unseen at any of them."""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.common.archive import table_compaction
from include.common.archive.compaction import CompactionLimits
from include.common.archive.placing import check_placed, shown_files
from include.common.archive.slice_files import is_compacted, read_slice
from include.common.archive.slices import load_slice
from include.common.hive import unreferenced_folders
from include.common.hive.metastore import Metastore, open_metastore
from include.common.hive.schema import HiveTable, PartitionValues
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS, SLICE_TABLES
from include.common.postgres import connect
from include.common.retention import RETENTION
from include.orchestration.archive import Stores, remove_old_staging
from include.orchestration.maintain import (
    Options,
    compact_tables_in,
    drop_expired_partitions_in,
    remove_landing_files_in,
    remove_unreferenced_folders_in,
)
from tests.integration.hive_store import MONDAY, SliceStore

PROJECT_ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = Options(settle=timedelta(0), limits=CompactionLimits(min_files=4))
HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def store(metastore: str, feature_db: str, data_dir: Path) -> Iterator[SliceStore]:
    with (
        connect(feature_db, application_name="test", autocommit=True) as connection,
        open_metastore(metastore) as client,
    ):
        client.database = f"webtoon_{data_dir.name}"
        for table in RETENTION:
            client.ensure_table(table, data_dir / "warehouse")
        yield SliceStore(Stores(connection, client, data_dir))


def fill(store: SliceStore, slices: int = 6) -> None:
    """Slices that all reach noon's partition, and each an hour of its own."""
    for number in range(slices):
        piece = store.stage([MONDAY + 12 * HOUR] * 4 + [MONDAY + number * HOUR] * 2, [MONDAY] * 2)
        store.publish(piece)


NOON = ("2026-11-23", "12")


def test_a_day_of_slices_leaves_few_files_and_every_row_once(store: SliceStore) -> None:
    """144 slices of 10 minutes: each reaches its hour, late events an hour before; every ninth is refused."""
    produced = 0
    worst: dict[str, int] = {}
    for number in range(144):
        time = MONDAY + timedelta(minutes=10 * number)
        times = [time] * 12 + [max(MONDAY, time - 3 * HOUR)] * 3
        piece = store.stage(times, [time] * 2)
        produced += piece.produced
        (store.quarantine if number % 9 == 8 else store.publish)(piece)
        if number % 36 == 35:
            compact_tables_in(store.stores, AT_ONCE, now() + HOUR)
            for table in SLICE_TABLES:
                counts = [len(files) for files in store.files(table).values()]
                worst[table.name] = max([worst.get(table.name, 0), *counts])
    found = store.keys(*SLICE_TABLES)
    assert (len(found), set(found.values())) == (produced, {1})
    # fewer small files than are worth a rewrite, whatever the number of slices: 144 letters files came to one partition
    assert worst
    assert max(worst.values()) < AT_ONCE.limits.min_files
    assert sum(len(files) for files in store.files(DEAD_LETTERS).values()) == 1
    assert compact_tables_in(store.stores, AT_ONCE, now() + HOUR) == []


def test_slices_that_ended_lately_are_left_alone_and_a_dry_run_changes_nothing(store: SliceStore) -> None:
    fill(store)
    before = store.files(RAW_EVENTS)
    assert compact_tables_in(store.stores, Options(settle=HOUR, limits=AT_ONCE.limits), now()) == []
    dry = Options(True, timedelta(0), AT_ONCE.limits)
    (raw, letters) = compact_tables_in(store.stores, dry, now())
    assert raw.startswith("raw_events/dt=2026-11-23/hour=12: 6 small files of ")
    assert letters.startswith("dead_letters/dt=2026-11-23: 6 small files")
    assert store.files(RAW_EVENTS) == before


class KilledError(Exception):
    """Stands for the end of the process."""


def _raise(*_: object, **__: object) -> None:
    raise KilledError


STEPS = {
    "before anything is written": (table_compaction, "merge_files"),
    "between writing and locking": (table_compaction, "table_lock"),
    "between writing and pointing": (table_compaction, "sync_folder"),
    "at the metastore": (Metastore, "point_partitions"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_leaves_the_old_files_and_a_repeat_ends_the_work(
    store: SliceStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    fill(store)
    rows, files = store.keys(RAW_EVENTS, DEAD_LETTERS), store.files(RAW_EVENTS)
    with monkeypatch.context() as crash:
        crash.setattr(*STEPS[step], _raise)
        with pytest.raises(KilledError):
            compact_tables_in(store.stores, AT_ONCE, now())
    assert store.files(RAW_EVENTS) == files, "readers see what they saw"
    compact_tables_in(store.stores, AT_ONCE, now())
    assert [is_compacted(path) for path in store.files(RAW_EVENTS)[NOON]] == [True]
    assert store.keys(RAW_EVENTS, DEAD_LETTERS) == rows


def test_a_crash_after_pointing_leaves_the_new_files_and_the_old_folder_goes_later(
    store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    rows, (old, *_) = store.keys(RAW_EVENTS, DEAD_LETTERS), store.files(RAW_EVENTS)[NOON]
    real = Metastore.point_partitions

    def point_and_die(self: Metastore, *arguments: object) -> None:
        real(self, *arguments)  # type: ignore[arg-type]
        raise KilledError

    with monkeypatch.context() as crash:
        crash.setattr(Metastore, "point_partitions", point_and_die)
        with pytest.raises(KilledError):
            compact_tables_in(store.stores, AT_ONCE, now())
    assert [is_compacted(path) for path in store.files(RAW_EVENTS)[NOON]] == [True]
    with monkeypatch.context() as crash:  # killed once more, between noting and removing
        crash.setattr(unreferenced_folders.shutil, "rmtree", _raise)
        assert remove_unreferenced_folders_in(store.stores, Options(), now()) == []
        assert old.exists(), "whoever reads in it goes on"
        with pytest.raises(KilledError):
            remove_unreferenced_folders_in(store.stores, Options(), now() + timedelta(days=2))
    soon = now() + timedelta(hours=23)
    assert remove_unreferenced_folders_in(store.stores, Options(), soon) == [], "it stays for a day"
    dry = Options(dry_run=True)
    assert remove_unreferenced_folders_in(store.stores, dry, now() + timedelta(days=2)) == [str(old.parent)]
    assert remove_unreferenced_folders_in(store.stores, Options(), now() + timedelta(days=2)) == [
        str(old.parent)
    ]
    assert not old.parent.exists()
    assert store.keys(RAW_EVENTS, DEAD_LETTERS) == rows
    notes = store.stores.connection.execute("SELECT count(*) FROM ops.unreferenced_folders").fetchone()
    assert notes == (0,)


def test_kill_minus_9_while_it_writes(store: SliceStore, feature_db: str, metastore: str) -> None:
    """A real process is killed in the middle of a file; readers see the old ones, and a repeat ends the work."""
    fill(store)
    rows, files = store.keys(RAW_EVENTS), store.files(RAW_EVENTS)
    program = (
        "import os, signal, sys\n"
        "from datetime import UTC, datetime\n"
        "from pathlib import Path\n"
        "from include.common.archive import compaction\n"
        "from include.common.hive.metastore import open_metastore\n"
        "from include.common.postgres import connect\n"
        "from include.orchestration.archive import Stores\n"
        "from include.orchestration.maintain import compact_tables_in\n"
        "from tests.integration.test_maintain import AT_ONCE\n"
        "dsn, uri, data, database = sys.argv[1:]\n"
        "real = compaction._Roller.write\n"
        "def write(self, rows):\n"
        "    real(self, rows)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "compaction._Roller.write = write\n"
        "with connect(dsn, application_name='killed', autocommit=True) as c, open_metastore(uri) as m:\n"
        "    m.database = database\n"
        "    compact_tables_in(Stores(c, m, Path(data)), AT_ONCE, datetime.now(UTC))\n"
    )
    arguments = [feature_db, metastore, str(store.stores.data), store.stores.metastore.database]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=PROJECT_ROOT, env=os.environ, check=False, timeout=60
    )
    assert done.returncode == -9
    root = RAW_EVENTS.location(store.stores.warehouse)
    assert len(list(root.glob("compaction=*/**/compacted-*.parquet"))) == 1, "it was killed in the middle"
    assert store.files(RAW_EVENTS) == files
    compact_tables_in(store.stores, AT_ONCE, now())
    assert (len(store.files(RAW_EVENTS)[NOON]), store.keys(RAW_EVENTS)) == (1, rows)
    remove_unreferenced_folders_in(store.stores, Options(), now())
    remove_unreferenced_folders_in(store.stores, Options(), now() + timedelta(days=2))
    assert len(list(root.glob("compaction=*/**/compacted-*.parquet"))) == 1
    assert store.keys(RAW_EVENTS) == rows


def during(
    monkeypatch: pytest.MonkeyPatch, store: SliceStore, what: Callable[[], None]
) -> tuple[list[str], bool]:
    """Do `what` once the first new file is written and before the lock is taken; returns what was compacted."""
    real, happened = table_compaction.merge_files, []

    def merge_then(*arguments: object, **keywords: object) -> list[Path]:
        written = real(*arguments, **keywords)  # type: ignore[arg-type]
        if not happened:
            happened.append(True)
            what()
        return written

    with monkeypatch.context() as patch:
        patch.setattr(table_compaction, "merge_files", merge_then)
        return compact_tables_in(store.stores, AT_ONCE, now()), bool(happened)


def test_a_slice_that_comes_while_its_partition_is_compacted_is_kept(
    store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store)
    late = store.stage([MONDAY + 12 * HOUR] * 5)
    done, happened = during(monkeypatch, store, lambda: store.publish(late))
    assert happened
    assert "raw_events/dt=2026-11-23/hour=12: 6 -> 2 files" in done
    assert (
        sum(count for (_, _, which), count in store.keys(RAW_EVENTS).items() if which == late.slice_id) == 5
    )


def test_a_slice_that_is_placed_again_meanwhile_wins(
    store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = store.stage([MONDAY + 12 * HOUR] * 5)
    store.publish(piece)
    fill(store)
    rows = store.keys(*SLICE_TABLES)
    done, happened = during(monkeypatch, store, lambda: store.quarantine(piece))
    assert happened
    assert not [line for line in done if line.startswith("raw_events")], "the new folder was dropped"
    assert store.keys(*SLICE_TABLES) == rows
    assert {which for _, _, which in store.keys(QUARANTINED_EVENTS)} == {piece.slice_id}
    compact_tables_in(store.stores, AT_ONCE, now())
    assert store.keys(*SLICE_TABLES) == rows


def test_a_cleared_run_of_a_compacted_slice_takes_its_rows_out_of_the_large_file(store: SliceStore) -> None:
    """Published, compacted with others, refused, compacted there too, released: once everywhere, and accounted for."""
    piece = store.stage([MONDAY + 12 * HOUR] * 5 + [MONDAY], [MONDAY] * 2)
    store.publish(piece)
    fill(store)
    rows = store.keys(*SLICE_TABLES)
    compact_tables_in(store.stores, AT_ONCE, now())
    (large,) = store.files(RAW_EVENTS)[NOON]
    for again in (store.publish, store.quarantine, store.publish):
        again(piece)
        assert store.keys(*SLICE_TABLES) == rows
        stores = store.stores
        assert check_placed(stores.metastore, SLICE_TABLES, stores.warehouse, piece) == piece.produced
        assert large.exists(), "readers of the old folder are not cut off"
    other = load_slice(store.stores.connection, "20261123T001000Z-6b86b273ff34")
    held = shown_files(store.stores.metastore, RAW_EVENTS, store.stores.warehouse, other)
    assert [is_compacted(path) for path in held] == [False, True]
    assert sum(read_slice(path, other.slice_id).num_rows for path in held) == 6
    # given up by a person and then run again all the same
    store.stores.connection.execute(
        "UPDATE ops.archive_slices SET status = %s WHERE slice_id = %s", ("discarded", other.slice_id)
    )
    store.publish(other)
    assert store.keys(*SLICE_TABLES) == rows
    late = store.stage([MONDAY + 12 * HOUR] * 3)
    store.publish(late)
    assert store.keys(*SLICE_TABLES).total() == rows.total() + 3
    compact_tables_in(store.stores, Options(settle=timedelta(0), limits=CompactionLimits(min_files=2)), now())
    assert (len(store.files(RAW_EVENTS)[NOON]), store.keys(*SLICE_TABLES).total()) == (1, rows.total() + 3)


def test_a_crash_while_a_compacted_slice_is_replaced_shows_old_or_new(
    store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    piece = store.stage([MONDAY + 12 * HOUR] * 5)
    store.publish(piece)
    fill(store)
    compact_tables_in(store.stores, AT_ONCE, now())
    rows = store.keys(RAW_EVENTS)
    with monkeypatch.context() as crash:
        crash.setattr(Metastore, "point_partitions", _raise)
        with pytest.raises(KilledError):
            store.publish(piece)
    assert store.keys(RAW_EVENTS) == rows
    store.publish(piece)
    assert store.keys(RAW_EVENTS) == rows


def test_archive_and_maintenance_at_once_and_a_reader_beside_them(
    store: SliceStore, feature_db: str, metastore: str
) -> None:
    """Slices come and are placed again while files are put together all the time: a reader sees each row once and never
    loses one that it saw."""
    stores, ended = store.stores, threading.Event()
    often = Options(settle=timedelta(0), limits=CompactionLimits(min_files=2))

    done: list[str] = []

    def maintain() -> None:
        with (
            connect(feature_db, application_name="maintain", autocommit=True) as connection,
            open_metastore(metastore, stores.metastore.database) as client,
        ):
            while not ended.is_set():
                done.extend(compact_tables_in(Stores(connection, client, stores.data), often, now() + HOUR))

    def compactions() -> int:
        return len([line for line in done if "raw_events" in line])

    def await_compactions(wanted: int) -> None:
        """Slices that are placed without a pause keep a compaction from being carried out: give it a moment."""
        deadline = time.monotonic() + 60
        while compactions() < wanted and not maintained.done():
            assert time.monotonic() < deadline, done
            time.sleep(0.05)

    def read() -> int:
        looks, seen = 0, Counter[tuple[int, int, str]]()
        with open_metastore(metastore, stores.metastore.database) as client:
            reader = SliceStore(Stores(stores.connection, client, stores.data))
            while not ended.is_set():
                found = reader.keys(RAW_EVENTS)
                assert set(found.values()) <= {1}
                assert seen <= found
                looks, seen = looks + 1, found
        return looks

    with ThreadPoolExecutor(2) as pool:
        maintained, read_times = pool.submit(maintain), pool.submit(read)
        try:
            pieces = []
            for number in range(16):
                pieces.append(store.stage([MONDAY + 12 * HOUR] * 5, [MONDAY]))
                store.publish(pieces[-1])
                store.publish(pieces[number // 2])
                if number in (5, 10):
                    await_compactions(number // 5)
        finally:
            ended.set()
        maintained.result()
        looks = read_times.result()
    assert compactions() >= 2
    assert looks >= 2
    rows = store.keys(*SLICE_TABLES)
    assert (len(rows), set(rows.values())) == (16 * 6, {1})
    for piece in pieces:
        ended_slice = load_slice(stores.connection, piece.slice_id)
        assert check_placed(stores.metastore, SLICE_TABLES, stores.warehouse, ended_slice) == 6


def test_a_slice_with_a_large_file_of_its_own_beside_its_compacted_rows_is_replaced_as_one(
    store: SliceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quarantine has a file an hour: the small one is put together with others, the large one is left."""
    piece = store.stage([MONDAY + HOUR] * 2 + [MONDAY + 2 * HOUR] * 500)
    store.quarantine(piece)
    for _ in range(4):
        store.quarantine(store.stage([MONDAY + HOUR] * 2))
    sizes = sorted(path.stat().st_size for path in store.files(QUARANTINED_EVENTS)[("2026-11-23",)])
    limits = CompactionLimits(target_bytes=2 * sizes[-1], min_files=4)
    compact_tables_in(store.stores, Options(settle=timedelta(0), limits=limits), now())
    assert len(store.files(QUARANTINED_EVENTS)[("2026-11-23",)]) == 2
    rows = store.keys(*SLICE_TABLES)
    real = Metastore.point_partitions

    def die_at_quarantine(self: Metastore, table: HiveTable, folders: dict[PartitionValues, Path]) -> None:
        if table is QUARANTINED_EVENTS:
            raise KilledError
        real(self, table, folders)

    with monkeypatch.context() as crash:
        crash.setattr(Metastore, "point_partitions", die_at_quarantine)
        with pytest.raises(KilledError):
            store.quarantine(piece)
    assert store.keys(*SLICE_TABLES) == rows
    for again in (store.publish, store.quarantine):
        again(piece)
        assert store.keys(*SLICE_TABLES) == rows


def test_partitions_go_by_policy_and_what_comes_later_does_not_bring_their_files_back(
    store: SliceStore,
) -> None:
    fill(store)
    stores, later = store.stores, MONDAY + timedelta(days=201)
    stores.connection.execute(
        "INSERT INTO reference.thresholds (name, value, unit, meaning, valid_from)"
        " VALUES ('retention_raw_events_days', 200, 'days', 'set by hand', '-infinity')"
    )
    expected = [
        f"{table.name}/{table.partition_name(values)}"
        for table in (RAW_EVENTS, QUARANTINED_EVENTS, DEAD_LETTERS)
        for values in sorted(store.files(table))
    ]
    folders = {
        file.parent for table in SLICE_TABLES for files in store.files(table).values() for file in files
    }
    dropped_files = store.files(DEAD_LETTERS)[("2026-11-23",)]
    assert sorted(drop_expired_partitions_in(stores, Options(dry_run=True), later)) == sorted(expected)
    assert ("2026-11-23",) in store.files(DEAD_LETTERS)
    assert drop_expired_partitions_in(stores, Options(), later - timedelta(days=1)) == []
    assert sorted(drop_expired_partitions_in(stores, Options(), later)) == sorted(expected)
    assert drop_expired_partitions_in(stores, Options(), later) == []
    assert store.files(DEAD_LETTERS) == {}
    assert all(path.exists() for path in dropped_files), "a reader may still be there"
    # a slice for the dropped day, before its folder is removed
    straggler = store.stage([], [MONDAY] * 3)
    store.publish(straggler)
    assert {which for _, _, which in store.keys(DEAD_LETTERS)} == {straggler.slice_id}
    remove_unreferenced_folders_in(stores, Options(), now())
    removed = remove_unreferenced_folders_in(stores, Options(), now() + timedelta(days=2))
    assert sorted(removed) == sorted(str(folder) for folder in folders)
    assert store.keys(DEAD_LETTERS).total() == 3


def test_what_was_archived_lately_stays_however_old_its_events(store: SliceStore) -> None:
    """A device whose clock stands in 1970: its slice may wait in quarantine, and is counted, as long as any."""
    stores, long_ago = store.stores, datetime(1970, 1, 1, 5, tzinfo=UTC)
    for _ in range(2):
        store.publish(store.stage([long_ago] * 2, [long_ago]))
    waiting = store.stage([long_ago] * 3)
    store.quarantine(waiting)
    before = store.keys(*SLICE_TABLES)
    soon = MONDAY + timedelta(days=399)
    assert drop_expired_partitions_in(stores, Options(), soon) == []
    pairs = Options(settle=timedelta(0), limits=CompactionLimits(min_files=2))
    assert len(compact_tables_in(stores, pairs, now() + HOUR)) == 2
    assert drop_expired_partitions_in(stores, Options(), soon) == []
    assert store.keys(*SLICE_TABLES) == before
    gone = drop_expired_partitions_in(stores, Options(), MONDAY + timedelta(days=402))
    assert {name.split("/")[0] for name in gone} == {table.name for table in SLICE_TABLES}


def test_landing_files_go_when_they_are_published_and_old_and_the_ledger_stays(store: SliceStore) -> None:
    stores = store.stores
    landing = stores.data / "landing" / "generation=1"
    landing.mkdir(parents=True)
    connection = stores.connection
    connection.execute(
        "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (1, 'current', 'c', '{}')"
    )
    names = [f"batch={number:09d}-0000000{number}.parquet" for number in range(4)]
    for number, name in enumerate([*names, "batch=000000009-00000009.parquet", "note.txt"]):
        (landing / name).write_bytes(b"x")
        old = (now() - timedelta(days=5 if number == 1 else 40)).timestamp()
        os.utime(landing / name, (old, old))
    for number, name in enumerate(names):
        connection.execute(
            "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_path,"
            " landing_rows, landing_sha256, events, dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
            " VALUES (1, %s, '{}', '{}', %s, 1, 'x', 0, 0, 0, 0, 0, 0)",
            (number, f"generation=1/{name}"),
        )
    connection.execute(
        "WITH cut AS (INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status)"
        " SELECT 'm', 1, position, now(), 'published' FROM ops.stream_batches WHERE batch_id = 2 RETURNING cut_id)"
        " INSERT INTO ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count)"
        " SELECT 'session_features', 'dt=2026-11-23', 'p', cut_id, 'file:///x', 1 FROM cut"
    )
    # 0 and 2 are published and old; 1 is young; 3 waits for publication; 9 is of a micro-batch that never committed
    wanted = [str(landing / name) for name in (names[0], names[2], "batch=000000009-00000009.parquet")]
    assert remove_landing_files_in(stores, Options(dry_run=True), now()) == wanted
    assert len(list(landing.iterdir())) == 6
    assert remove_landing_files_in(stores, Options(), now()) == wanted
    assert sorted(path.name for path in landing.iterdir()) == [names[1], names[3], "note.txt"]
    assert connection.execute("SELECT count(*) FROM ops.stream_batches").fetchone() == (4,)
    assert remove_landing_files_in(stores, Options(), now()) == []


def test_landing_that_a_swap_left_goes_when_the_next_generation_is_published(store: SliceStore) -> None:
    """Of each of three generations one file is published and one is not; all are old, and so are the swaps."""
    stores, connection = store.stores, store.stores.connection
    for generation, status in ((1, "dropped"), (2, "retired"), (3, "current")):
        folder = stores.data / "landing" / f"generation={generation}"
        folder.mkdir(parents=True)
        connection.execute(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules, status_since)"
            " VALUES (%s, %s, 'c', '{}', %s)",
            (generation, status, now() - timedelta(days=40)),
        )
        for number in range(2):
            path = folder / f"batch={number:09d}-00000000.parquet"
            path.write_bytes(b"x")
            old = (now() - timedelta(days=41)).timestamp()
            os.utime(path, (old, old))
            connection.execute(
                "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_path,"
                " landing_rows, landing_sha256, events, dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
                " VALUES (%s, %s, '{}', '{}', %s, 1, 'x', 0, 0, 0, 0, 0, 0)",
                (generation, number, f"{folder.name}/{path.name}"),
            )

    def publish(generation: int) -> None:
        connection.execute(
            "WITH cut AS (INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status)"
            " SELECT %(run)s, generation, position, now(), 'published' FROM ops.stream_batches"
            " WHERE batch_id = 0 AND generation = %(generation)s RETURNING cut_id)"
            " INSERT INTO ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count)"
            " SELECT 'session_features', 'dt=2026-11-23', %(run)s, cut_id, 'file:///x', 1 FROM cut",
            {"run": f"r{generation}", "generation": generation},
        )

    def removed() -> list[str]:
        found = remove_landing_files_in(stores, Options(dry_run=True), now())
        return [Path(path).parent.name[-1] + "/" + Path(path).name[14:15] for path in found]

    assert removed() == []
    publish(1)
    publish(2)
    assert removed() == ["1/0", "2/0"], "the one that follows may read what is left of any"
    publish(3)
    assert removed() == ["1/0", "1/1", "2/0", "2/1", "3/0"]
    connection.execute("UPDATE ops.stream_generations SET status_since = now() WHERE generation < 3")
    assert removed() == ["1/0", "1/1", "2/0", "3/0"], "a roll-back publishes it from where it stood"
    connection.execute("UPDATE ops.stream_generations SET status = 'dropped' WHERE generation = 2")
    assert removed() == ["1/0", "1/1", "2/0", "2/1", "3/0"]


def test_what_is_staged_anew_stays_until_it_is_old(store: SliceStore) -> None:
    """The run of a slice of long ago was cleared, and another slice's is done meanwhile."""
    stores = store.stores
    pieces = [store.stage([MONDAY]) for _ in range(2)]
    for piece in pieces:
        store.publish(piece)
    long_ago = now() - timedelta(days=2)
    stores.connection.execute("UPDATE ops.archive_slices SET finished_at = %s", (long_ago,))
    anew, left = (stores.staged(piece).folder for piece in pieces)
    os.utime(left, (long_ago.timestamp(), long_ago.timestamp()))
    remove_old_staging(stores, now())
    assert (anew.exists(), left.exists()) == (True, False)
    remove_old_staging(stores, now() + timedelta(days=2))
    assert not anew.exists()


def test_the_lock_keeps_the_archive_out_and_ends_with_its_holder(store: SliceStore, feature_db: str) -> None:
    from psycopg.errors import LockNotAvailable

    from include.common.hive.table_lock import table_lock

    connection = store.stores.connection
    connection.execute("SET lock_timeout = '200ms'")
    piece = store.stage([MONDAY])
    with connect(feature_db, application_name="other", autocommit=True) as other:
        with table_lock(other, RAW_EVENTS), pytest.raises(LockNotAvailable):
            store.publish(piece)
        other.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (0x48495645, RAW_EVENTS.name))
        with pytest.raises(LockNotAvailable):
            store.publish(piece)
    connection.execute("SET lock_timeout = '10s'")
    store.publish(piece)
    assert store.keys(RAW_EVENTS).total() == 1
