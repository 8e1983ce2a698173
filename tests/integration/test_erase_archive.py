"""Readers taken out of the archive's tables on real PostgreSQL and metastore, one at each moment at which it can be killed."""

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.archive import placing as slice_placing
from include.common.archive.compaction import CompactionLimits
from include.common.archive.placing import check_placed
from include.common.archive.slices import Decision, Slice, load_slice
from include.common.erasure import archive as slice_erasure
from include.common.erasure.archive import ArchiveStores, erase_reader
from include.common.erasure.erasures import open_erasure
from include.common.hive import parquet_rows
from include.common.hive.files import new_folder
from include.common.hive.metastore import Metastore, open_metastore
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS, SLICE_TABLES
from include.common.postgres import connect
from include.orchestration.archive import Stores, with_slice
from include.orchestration.maintain import Options, compact_tables_in
from include.orchestration.reconcile import published
from include.orchestration.release_slice import (
    DecisionError,
    discard_slice_files,
    release_slice_files,
)
from tests.integration.hive_store import MONDAY, SliceStore

KEY = b"k" * 32
HOUR = timedelta(hours=1)
DECISION = Decision("ann", "looked at it")
_NAMED = re.compile(rb'"user_id": "(u\d+)')


Stocked = tuple[SliceStore, list[Slice], set[str]]
"""The store, its slices, and who was erased so far."""


class KilledError(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def stocked(metastore: str, feature_db_factory: Any, data_dir_factory: Any) -> Iterator[Stocked]:
    """Published, compacted, quarantined and discarded slices; one that is staged only, one whose placing was cut short."""
    data = data_dir_factory()
    with (
        connect(feature_db_factory(), application_name="test", autocommit=True) as connection,
        open_metastore(metastore, f"webtoon_{data.name}") as client,
    ):
        for table in SLICE_TABLES:
            client.ensure_table(table, data / "warehouse")
        store = SliceStore(Stores(connection, client, data, KEY))
        times = [MONDAY + n % 3 * HOUR for n in range(60)]
        pieces = [store.stage(times, [MONDAY] * 60) for _ in range(7)]
        for piece in pieces[:3]:
            store.publish(piece)
        for piece in pieces[3:5]:
            store.quarantine(piece)
        limits = CompactionLimits(min_files=2)
        compact_tables_in(store.stores, Options(settle=timedelta(0), limits=limits), datetime.now(UTC) + HOUR)
        assert any("compacted" in path.name for files in store.files(RAW_EVENTS).values() for path in files)
        with_slice(store.stores, pieces[4].slice_id, lambda *of: discard_slice_files(*of, DECISION))
        cut_short = pieces[6]
        slice_placing.place_slice(
            client, RAW_EVENTS, store.stores.warehouse, cut_short, store.stores.staged(cut_short).events
        )
        yield store, pieces, set()
        shutil.rmtree(data, ignore_errors=True)


def readers(store: SliceStore) -> dict[str, set[str]]:
    """user_ids that stand in a column or in the bytes of a Parquet file, shown or not, by table or staged slice."""
    found: dict[str, set[str]] = {}
    for path in store.stores.data.rglob("*.parquet"):
        table = pq.ParquetFile(path).read()
        users = set(table["user_id"].to_pylist()) if "user_id" in table.column_names else set()
        for value in table["value"].to_pylist() if "value" in table.column_names else []:
            users |= {user.decode() for user in _NAMED.findall(value or b"")}
        found.setdefault(path.relative_to(store.stores.data).parts[1], set()).update(users)
    return found


def rows_of_others(store: SliceStore, gone: set[str]) -> list[dict[str, Any]]:
    """Events that readers of both tables see, less those of `gone`."""
    rows = [
        row
        for table in (RAW_EVENTS, QUARANTINED_EVENTS)
        for files in store.files(table).values()
        for path in files
        for row in pq.ParquetFile(path).read().to_pylist()
        if row["user_id"] not in gone
    ]
    return sorted(rows, key=lambda row: (row["kafka_partition"], row["kafka_offset"]))


def letters(store: SliceStore) -> list[dict[str, Any]]:
    return [
        row
        for files in store.files(DEAD_LETTERS).values()
        for path in files
        for row in pq.ParquetFile(path).read().to_pylist()
    ]


def check_accounts(store: SliceStore, pieces: list[Slice]) -> None:
    """Every offset once, and the counts of every slice are those of what readers see."""
    connection, found = store.stores.connection, letters(store)
    for piece in pieces:
        slice_id = piece.slice_id
        ended = load_slice(connection, slice_id)
        assert check_placed(store.stores.metastore, SLICE_TABLES, store.stores.warehouse, ended) == 120
        count = sum(row["slice_id"] == slice_id for row in found)
        [counts] = connection.execute(
            "SELECT archived, quarantined, dead_letters FROM ops.archive_slices WHERE slice_id = %s",
            (slice_id,),
        )
        events = 120 - count
        assert counts == ((events, 0, count) if ended.status == "published" else (0, events, count))
    [(differing,)] = connection.execute(
        "SELECT count(*) FROM quality.quarantine_slices AS entry JOIN ops.archive_slices USING (slice_id)"
        " WHERE entry.status IN ('quarantined', 'discarded') AND row_count <> quarantined"
    )
    assert differing == 0


MOMENTS: list[tuple[Any, str, int]] = [
    (parquet_rows, "rewrite", 1),
    (slice_erasure, "erase_staged", 3),
    (slice_erasure, "write_letters", 1),
    (slice_erasure, "sync_folder", 1),
    (Metastore, "point_partitions", 1),
    (parquet_rows, "rewrite", 3),
    (Metastore, "point_partitions", 2),
    (Metastore, "point_partitions", 3),
    (Metastore, "point_partitions", 5),
    (slice_erasure, "_settle_counts", 1),
    (slice_erasure, "remove_folder", 1),
    (slice_erasure, "remove_folder", 3),
]


OFTEN = {("erase_staged", 3), ("point_partitions", 1), ("point_partitions", 2), ("_settle_counts", 1)}
"""Moments of every `make test`; the others are of `make test-all`."""
READERS = [f"u{number}" for number in (*range(10, 20), *range(30, 40))][: len(MOMENTS)]
"""Each with rows in all three tables."""


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(
            number,
            id=f"{name}-{call}",
            marks=() if (name, call) in OFTEN else pytest.mark.long,
        )
        for number, (_, name, call) in enumerate(MOMENTS)
    ],
)
def test_a_kill_and_a_repeat_take_out_the_reader_and_nothing_else(
    stocked: Stocked, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    store, pieces, gone = stocked
    where, name, call = MOMENTS[moment]
    reader = READERS[moment]
    gone.add(reader)
    before, others = readers(store), rows_of_others(store, gone)
    assert all(reader in before[table.name] for table in SLICE_TABLES), "nothing would be tested"
    assert sum(reader in users for users in before.values()) > len(SLICE_TABLES), "he is staged, too"
    stores = ArchiveStores(
        store.stores.connection, store.stores.metastore, store.stores.warehouse, store.stores.data / "staging"
    )
    real, calls = getattr(where, name), iter(range(1, 1000))

    def die(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise KilledError
        return real(*arguments, **named)

    with monkeypatch.context() as crash:
        crash.setattr(where, name, die)
        with pytest.raises(KilledError):
            erase_reader(stores, reader)
    erase_reader(stores, reader)
    assert [place for place, users in readers(store).items() if reader in users] == []
    assert rows_of_others(store, gone) == others
    check_accounts(store, pieces[:5])
    erased = [row for row in letters(store) if row["reason"] == "erased_reader"]
    assert {(row["key"], row["value"], row["detail"]) for row in erased} == {(None, None, None)}
    in_the_tables = store.files(RAW_EVENTS), store.files(QUARANTINED_EVENTS), store.files(DEAD_LETTERS)
    assert sum(erase_reader(stores, reader).values()) == 0
    assert in_the_tables == (
        store.files(RAW_EVENTS),
        store.files(QUARANTINED_EVENTS),
        store.files(DEAD_LETTERS),
    ), "a repeat moves nothing"
    assert not list(store.stores.data.rglob(".*.tmp"))


def test_a_repeat_rewrites_only_the_partitions_that_are_left(
    stocked: Stocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed when his dead letters are all there and the first of three hours is pointed at its new folder."""
    store, pieces, gone = stocked
    reader = "u39"
    gone.add(reader)
    stores = ArchiveStores(
        store.stores.connection, store.stores.metastore, store.stores.warehouse, store.stores.data / "staging"
    )

    def of_him() -> int:
        files = [path for shown in store.files(RAW_EVENTS).values() for path in shown]
        return sum(rows.num_rows for rows in parquet_rows.rows_where(files, "user_id", reader, ["slice_id"]))

    real, calls = Metastore.point_partitions, iter(range(1, 1000))

    def die(*arguments: Any) -> None:
        if next(calls) == 3:
            raise KilledError
        real(*arguments)

    before, first = of_him(), store.files(RAW_EVENTS)[("2026-11-23", "0")]
    with monkeypatch.context() as crash:
        crash.setattr(Metastore, "point_partitions", die)
        with pytest.raises(KilledError):
            erase_reader(stores, reader)
    pointed = store.files(RAW_EVENTS)[("2026-11-23", "0")]
    assert pointed != first
    left = of_him()
    assert 0 < left < before
    removed = erase_reader(stores, reader)
    assert (removed[RAW_EVENTS.name], removed[DEAD_LETTERS.name]) == (left, 0)
    assert store.files(RAW_EVENTS)[("2026-11-23", "0")] == pointed
    assert [place for place, users in readers(store).items() if reader in users] == []
    check_accounts(store, pieces[:5])


def test_what_comes_after_brings_nobody_back(stocked: Stocked) -> None:
    store, pieces, gone = stocked
    connection = store.stores.connection
    # two more ask; the archive has not come to them yet, and a slice was staged before anybody knew
    late = {"u40", "u25"}
    for reader in late:
        open_erasure(connection, user_id=reader, reason="test", key=KEY)
    with pytest.raises(DecisionError, match="is being erased"):
        with_slice(store.stores, pieces[3].slice_id, lambda *of: release_slice_files(*of, DECISION))
    store.publish(pieces[5])
    store.publish(pieces[6])
    rows = rows_of_others(store, set())
    assert {row["slice_id"] for row in rows if row["user_id"] in late} == {
        piece.slice_id for piece in pieces[1:5]
    }, "neither of the two that were placed now"
    stores = ArchiveStores(
        connection, store.stores.metastore, store.stores.warehouse, store.stores.data / "staging"
    )
    for reader in late:
        assert sum(erase_reader(stores, reader).values()) > 0
    check_accounts(store, pieces)
    # a compaction, a release, runs that are cleared
    limits = CompactionLimits(min_files=2)
    compact_tables_in(store.stores, Options(settle=timedelta(0), limits=limits), datetime.now(UTC) + HOUR)
    with_slice(store.stores, pieces[3].slice_id, lambda *of: release_slice_files(*of, DECISION))
    for piece in (pieces[0], pieces[4]):
        store.publish(piece)
    store.quarantine(pieces[1])
    check_accounts(store, pieces)
    assert not [users for users in readers(store).values() if users & (late | gone)]
    [(archived,)] = connection.execute("SELECT sum(archived + quarantined) FROM ops.archive_slices")
    assert archived == len(rows_of_others(store, set())) == published.archived_rows(connection)


def test_what_was_not_staged_to_its_end_goes(stocked: Stocked) -> None:
    store, _, _ = stocked
    staging = store.stores.data / "staging"
    half = staging / "slice=half" / "events" / "_temporary" / "0"
    half.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": ["u45"]}), half / "part-0.parquet")
    left = staging / "release=left"
    left.mkdir()
    spill = new_folder(RAW_EVENTS.location(store.stores.warehouse), RAW_EVENTS, ("2026-11-23", "0"))
    (spill / ".spill-1").mkdir(parents=True)
    stores = ArchiveStores(store.stores.connection, store.stores.metastore, store.stores.warehouse, staging)
    erase_reader(stores, "u45")
    assert not half.exists()
    assert not left.exists()
    assert not spill.exists()
