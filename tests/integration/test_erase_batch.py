"""Two readers through archive and publication, one is erased: by the tasks' own functions, on real Kafka, Spark,
PostgreSQL, metastore and Thrift Server. Nothing of him is left in any file, and nothing brings him back."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.archive.placing import check_placed
from include.common.archive.slices import Slice, load_slice, record_slice
from include.common.erasure import publications as publication_erasure
from include.common.erasure.erasures import open_erasure
from include.common.hive.files import data_files
from include.common.hive.metastore import Metastore
from include.common.hive.schema import HiveTable
from include.common.hive.tables import (
    DEAD_LETTERS,
    QUARANTINED_EVENTS,
    RAW_EVENTS,
    SESSION_FEATURES,
    SLICE_TABLES,
    TABLES,
    USER_FEATURE_HISTORY,
    USER_FEATURES_DAILY,
)
from include.common.kafka.offsets import watermarks
from include.common.names import Conn
from include.orchestration import publish_batch
from include.orchestration.archive import Stores, publish_slice_files, quarantine_slice_files, with_slice
from include.orchestration.erasure import batch_steps
from include.orchestration.model.erasure import ReaderInMartsError
from include.spark_jobs.archive_events.transform import decode_batch
from tests.integration.batch_support import NOW_MS, as_records, event, produce
from tests.integration.hive_store import write_by_partition
from tests.integration.publish_support import DT, MONDAY_MS, Store, reading

KEY = "test-key-of-erasures-0123456789abcdef"
HIM, OTHER = "reader-to-be-forgotten", "reader-who-stays"
MARKS = (HIM, "session-of-the-forgotten")
"""What may be found nowhere afterwards: his id, and what his session_ids and event_ids begin with."""


@dataclass
class Batch:
    """The batch side's stores, with two slices and a publication of both readers in them."""

    store: Store
    archive: Stores
    kafka: str
    topic: str
    pieces: list[Slice]

    def rows(self, table: HiveTable) -> list[dict[str, Any]]:
        """What readers of all partitions of the table see, in order of its key."""
        folders = self.archive.metastore.all_locations(table).values()
        rows = [
            row
            for it in folders
            for path in data_files(it)
            for row in pq.ParquetFile(path).read().to_pylist()
        ]
        return sorted(rows, key=lambda row: [str(row[name]) for name in table.key])

    def of_other(self) -> dict[str, list[dict[str, Any]]]:
        """The other reader's rows, and all rows of tables without readers, by table."""
        return {
            table.name: [
                {
                    name: value for name, value in row.items() if name != "kafka_timestamp"
                }  # made up by `_stage`
                for row in self.rows(table)
                if row.get("user_id", OTHER) == OTHER
            ]
            for table in TABLES
            if table is not DEAD_LETTERS
        }

    def found(self) -> set[str]:
        """Tables, and `staging`, of which a file names him: in its bytes, or in a value when it is unpacked."""
        folders = {"staging": self.archive.data / "staging"}
        folders |= {table.name: table.location(self.archive.warehouse) for table in TABLES}
        return {name for name, folder in folders.items() if any(map(_names_him, _files(folder)))}

    def counts(self) -> list[tuple[Any, ...]]:
        return self.store.connection.execute(
            "SELECT status, archived, quarantined, dead_letters FROM ops.archive_slices ORDER BY position"
        ).fetchall()

    def check_accounts(self) -> None:
        for piece in self.pieces:
            ended = load_slice(self.store.connection, piece.slice_id)
            check_placed(self.archive.metastore, SLICE_TABLES, self.archive.warehouse, ended)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _names_him(path: Path) -> bool:
    raw = path.read_bytes()
    if any(mark.encode() in raw for mark in MARKS):
        return True
    if path.suffix != ".parquet":
        return False
    unpacked = str(pq.ParquetFile(path).read().to_pylist())
    return any(mark in unpacked for mark in (*MARKS, "\\\\u0072eader-to-be-forgotten"))


def _records(part: int) -> list[tuple[bytes | None, bytes | None]]:
    """24 events of each reader, and dead letters: two that name him (once escaped and cut off), one that has only his
    session, one of nobody."""
    session = f"session-of-the-forgotten-{part}"
    events = [
        event(number, at_ms=NOW_MS - number * 1000, user_id=user, session_id=of, event_id=f"{of}-{number}")
        for user, of in ((HIM, session), (OTHER, f"session-{part}"))
        for number in range(24)
    ]
    named = json.dumps({"user_id": HIM, "session_id": session}).encode()
    escaped = b'{"user_id": "\\u0072eader-to-be-forgotten", "ses'
    return [
        *as_records(events),
        (b"s", named),
        (b"s", escaped),
        (session.encode(), b"{}"),
        (b"s", b"not json"),
    ]


def _stage(archive: Stores, piece: Slice, records: list[tuple[bytes | None, bytes | None]]) -> None:
    """As the Spark job stages it, before anybody is erased."""
    count = len(records)
    batch = pa.record_batch(
        {
            "topic": [piece.topic] * count,
            "kafka_partition": pa.array([0] * count, pa.int32()),
            "kafka_offset": pa.array(range(piece.start[0], piece.end[0]), pa.int64()),
            "kafka_timestamp": pa.array([NOW_MS * 1000] * count, pa.timestamp("us", tz="UTC")),
            "key": pa.array([key for key, _ in records], pa.binary()),
            "value": pa.array([value for _, value in records], pa.binary()),
        }
    )
    decoded = pa.Table.from_batches([decode_batch(batch)])
    decoded = decoded.append_column("slice_id", pa.array([piece.slice_id] * count))
    staged = archive.staged(piece)
    staged.remove()
    for table, folder in ((RAW_EVENTS, staged.events), (DEAD_LETTERS, staged.dead_letters)):
        is_letter = [reason is not None for reason in decoded["reason"].to_pylist()]
        rows = decoded.filter([is_it is (table is DEAD_LETTERS) for is_it in is_letter])
        times = rows["kafka_timestamp" if table is DEAD_LETTERS else "event_time"].to_pylist()
        write_by_partition(rows.select(table.column_names()), times, table, folder)


def _archive(batch: Batch) -> None:
    for part in range(2):
        records = _records(part)
        produce(batch.kafka, batch.topic, records)
        held = watermarks({"bootstrap.servers": batch.kafka}, batch.topic)
        piece = record_slice(batch.store.connection, f"run-{part}", batch.topic, held, 10**6)
        assert piece is not None
        _stage(batch.archive, piece, records)
        batch.pieces.append(piece)
    with_slice(batch.archive, batch.pieces[0].slice_id, publish_slice_files)
    with_slice(batch.archive, batch.pieces[1].slice_id, lambda *of: quarantine_slice_files(*of, ["a_rule"]))


def _publish(batch: Batch) -> None:
    store = batch.store
    for number in range(4):
        user, session = ((HIM, MARKS[1]), (OTHER, "session"))[number % 2]
        day_ms = MONDAY_MS - 86_400_000 * (number // 2)
        store.land(reading(number, day_ms, user_id=user, session_id=f"{session}-{number}", episode_id="ep1"))
    for rate in (0.25, 0.5):
        with store.connection.transaction():
            for user in (HIM, OTHER):
                store.connection.execute(
                    "INSERT INTO marts.user_features (user_id, final_reading_count, final_session_count,"
                    " user_avg_completion_rate, user_exit_rate, user_avg_dwell_time_s, user_readings_per_session,"
                    " favourite_tags, usual_device, usual_country) VALUES (%s, 2, 2, 0.5, %s, 3, 2, '{}', 'phone', 'KR')"
                    " ON CONFLICT (user_id) DO UPDATE SET user_exit_rate = excluded.user_exit_rate",
                    (user, rate),
                )
            store.cut()
        # the second publication leaves a folder of the first to its readers; landing is read only once
        if rate == 0.25:
            store.publish("run-1")
    done = store.submit.plain(
        "publish_features", "--run-id", "run-2", "--database", batch.archive.metastore.database
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def batch(kafka: str, publish_store: Store, topic_factory: Callable[..., str]) -> Batch:
    store = publish_store
    store.submit.overrides |= {"WEBTOON_ERASURE_KEY": KEY, "WEBTOON_KAFKA": kafka}
    archive = Stores(store.connection, store.metastore, store.data, KEY.encode())
    for table in TABLES:
        store.metastore.ensure_table(table, archive.warehouse)
    made = Batch(store, archive, kafka, topic_factory(partitions=1), [])
    _archive(made)
    _publish(made)
    return made


@pytest.fixture
def erasure_id(
    batch: Batch,
    metastore: str,
    hiveserver2: tuple[str, int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> int:
    """His erasure, in an environment with the connections that the tasks use."""
    for name, value in batch.store.connections(metastore, hiveserver2).items():
        monkeypatch.setenv(name, value)
    secret = json.dumps({"conn_type": "generic", "password": KEY})
    monkeypatch.setenv(f"AIRFLOW_CONN_{Conn.ERASURE_KEY.upper()}", secret)
    monkeypatch.setenv("WEBTOON_DOCS_DIR", str(tmp_path))
    return open_erasure(batch.store.connection, user_id=HIM, reason="asked", key=KEY.encode()).erasure_id


class KilledError(BaseException):
    """Stands for the end of the process."""


MOMENTS: list[tuple[Any, str, int]] = [
    (publication_erasure, "copy_changed", 1),
    (Metastore, "point_partitions", 1),
    (Metastore, "point_partitions", 2),
    (publication_erasure, "_settle_publications", 1),
    (publication_erasure, "_settle_publications", 2),
    (publication_erasure, "remove_folder", 1),
    (publication_erasure, "may_hold_user", 3),
]


def test_one_reader_is_erased_and_the_other_is_as_before(
    batch: Batch, erasure_id: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database = batch.archive.metastore.database
    everywhere = {
        "staging", RAW_EVENTS.name, QUARANTINED_EVENTS.name, DEAD_LETTERS.name, SESSION_FEATURES.name,
        USER_FEATURES_DAILY.name, USER_FEATURE_HISTORY.name,
    }  # fmt: skip
    assert batch.found() == everywhere, "else the search would prove nothing"
    before = batch.of_other()
    assert min(len(rows) for name, rows in before.items() if name in everywhere) >= 1
    assert batch.counts() == [("published", 48, 0, 4), ("quarantined", 0, 48, 4)]

    removed = batch_steps.erase_from_archive(erasure_id=erasure_id, database=database)
    assert removed == {"staging": 2 * 27, "raw_events": 24, "quarantined_events": 24, "dead_letters": 6}
    assert batch.found() == everywhere - {"staging", "raw_events", "quarantined_events", "dead_letters"}
    assert batch.counts() == [("published", 24, 0, 28), ("quarantined", 0, 24, 28)]
    batch.check_accounts()
    reasons = [row["reason"] for row in batch.rows(DEAD_LETTERS)]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == {
        "erased_reader": 48, "missing_field": 4, "not_json": 4,
    }  # fmt: skip

    rebuilt = batch.archive.data / "staging" / "backfill=failed" / f"dt={DT[0]}"
    rebuilt.mkdir(parents=True)
    pq.write_table(pa.table({"user_id": [HIM]}), rebuilt / "part-00000.parquet")

    killed = 0
    for where, name, call in MOMENTS:
        real, calls = getattr(where, name), iter(range(1, 100))

        def die(*arguments: Any, real: Any = real, calls: Any = calls, call: int = call) -> Any:
            if next(calls) == call:
                raise KilledError
            return real(*arguments)

        with monkeypatch.context() as crash:
            crash.setattr(where, name, die)
            try:
                batch_steps.erase_from_features(erasure_id=erasure_id, database=database)
            except KilledError:
                killed += 1
    assert killed == len(MOMENTS)
    batch_steps.erase_from_features(erasure_id=erasure_id, database=database)
    assert batch.found() == set()
    assert batch.of_other() == before
    for run_id in ("run-1", "run-2"):
        publish_batch.verify_counts(run_id=run_id, database=database)
    again = batch_steps.erase_from_archive(erasure_id=erasure_id, database=database)
    again |= batch_steps.erase_from_features(erasure_id=erasure_id, database=database)
    assert set(again.values()) == {0}

    steps = batch.store.connection.execute("SELECT store, detail::text FROM ops.erasure_steps").fetchall()
    assert {store for store, _ in steps} == {"archive", "features"}
    assert not [detail for _, detail in steps if any(mark in detail for mark in MARKS)]


def test_a_cleared_archive_run_does_not_bring_him_back(batch: Batch) -> None:
    """By the real job, from Kafka, which still has all of it; and from a folder staged before anybody knew."""
    before, counts = batch.of_other(), batch.counts()
    first, second = batch.pieces
    done = batch.store.submit("archive_events", "--slice-id", first.slice_id)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "24 events, 4 dead letters staged, 24 records of erased readers left out" in done.stdout
    with_slice(batch.archive, first.slice_id, publish_slice_files)
    _stage(batch.archive, second, _records(1))
    with_slice(batch.archive, second.slice_id, lambda *of: quarantine_slice_files(*of, ["a_rule"]))
    batch.check_accounts()
    assert batch.counts() == counts
    assert batch.of_other() == before
    assert batch.found() == set()


def test_a_publication_does_not_bring_him_back(batch: Batch, erasure_id: int) -> None:
    """Landing and marts still hold him, as if the steps before had not come so far."""
    store, database = batch.store, batch.archive.metastore.database
    known = {name: len(rows) for name, rows in batch.of_other().items()}
    with pytest.raises(ReaderInMartsError, match=r"marts\.user_features still hold"):
        batch_steps.erase_from_marts(erasure_id=erasure_id)
    store.connection.execute("DELETE FROM ops.publications")  # then all landing files are read again
    with store.connection.transaction():
        store.connection.execute("UPDATE marts.user_features SET user_exit_rate = 0.75")
        store.cut()
    store.publish("run-3")
    after_all = {name: len(rows) for name, rows in batch.of_other().items()}
    assert after_all == known | {USER_FEATURE_HISTORY.name: known[USER_FEATURE_HISTORY.name] + 1}
    # the rebuild takes him out of the marts, and says so in the outbox
    with store.connection.transaction():
        store.connection.execute("DELETE FROM marts.user_features WHERE user_id = %s", (HIM,))
        store.cut()
    assert batch_steps.erase_from_marts(erasure_id=erasure_id) == {"ops.mart_changes": 1}
    assert batch_steps.erase_from_marts(erasure_id=erasure_id) == {"ops.mart_changes": 0}
    assert not batch.found() & {table.name for table in publication_erasure.TABLES_OF_READERS}
    publish_batch.verify_counts(run_id="run-3", database=database)
    store.connection.execute("UPDATE ops.erasures SET subject_encrypted = NULL, proven_at = now()")
    with pytest.raises(batch_steps.ErasureForgottenError, match="request it again"):
        batch_steps.erase_from_marts(erasure_id=erasure_id)
