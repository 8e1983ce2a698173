"""The real stream on a real topic, its readings brought to Hive the short way, and the reconciliation of both.

Real: broker, Spark, PostgreSQL, metastore, the archive's decoder, the landing files that the ledger lists. Left out: Airflow
and the two Spark batch jobs, which have tests of their own; what they would write is written here.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
from psycopg.types.json import Jsonb

from include.common.hive.metastore import Metastore, open_metastore
from include.common.hive.tables import RAW_EVENTS, SESSION_FEATURES
from include.orchestration.reconcile.archive import Archive
from include.orchestration.reconcile.inputs import Stores
from include.orchestration.reconcile.model import Day, Outcome
from include.orchestration.reconcile.record import days_between
from include.orchestration.reconcile.tasks import reconcile
from tests.integration.stream_support import BASE_MS, MINUTE_MS, StreamJob, busy_topic, produce
from tests.reconcile_case import ends, write_archive, write_sessions
from tests.vectors import VectorRecord

BUSY_PARTITIONS = 3
PARTITIONS = BUSY_PARTITIONS + 1
"""The last one has the edges of the rules."""
FIRST_DAY = Day.of_ms(BASE_MS)
DAYS = days_between(FIRST_DAY.value, Day.of_ms(BASE_MS + 86_400_000).value)
"""The two days of the busy topic."""
CLOSING_MS = BASE_MS + 30 * 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
JOB = Path("include/spark_jobs/stream_sessionize/job.py")


def records_of(seed: int, size: int) -> list[VectorRecord]:
    """A busy topic, the edges of the rules in a partition of their own, and what makes both days' sessions final."""
    records = [*busy_topic(seed, size, BUSY_PARTITIONS), *_edges()]
    reached = ends(records)
    for partition in range(PARTITIONS):
        for number in range(60):  # into each of its buckets, as good as certainly
            session = f"closing-{partition}-{number}"
            value = json.dumps(_event(session, CLOSING_MS)).encode()
            records.append(
                VectorRecord(partition, reached[partition] + number, CLOSING_MS, session.encode(), value)
            )
    return records


def _edges() -> list[VectorRecord]:
    """A silence of exactly the gap, and one of a millisecond more."""
    gap_ms = 30 * MINUTE_MS
    events = [
        _event("edge", BASE_MS), _event("edge", BASE_MS + gap_ms), _event("edge", BASE_MS + 2 * gap_ms + 1)
    ]  # fmt: skip
    return [
        VectorRecord(BUSY_PARTITIONS, offset, it["timestamp"], b"edge", json.dumps(it).encode())
        for offset, it in enumerate(events)
    ]


def _event(session: str, at_ms: int) -> dict[str, Any]:
    return {
        "event_id": f"{session}-{at_ms}", "user_id": f"u-{session}", "session_id": session, "episode_id": "ep1",
        "event_type": "enter", "country": "KR", "device": "phone", "platform": "ios", "timestamp": at_ms,
    }  # fmt: skip


@dataclass
class Topic:
    """A topic that several streams read, and its archive."""

    name: str
    records: list[VectorRecord]
    archive: Archive

    @classmethod
    def fill(cls, kafka: str, name: str, root: Path, records: list[VectorRecord]) -> "Topic":
        """Produce the records, and write what events__archive would."""
        assert produce(kafka, name, records) == len(records)
        return cls(name, records, write_archive(root, records, name))


@dataclass
class Runner:
    """Runs a stream with a store of its own, and reconciles."""

    env: Mapping[str, str]
    jars: str
    metastore_uri: str
    database: Callable[[], str]
    folder: Callable[[], Path]
    jobs: list[StreamJob] = field(default_factory=list)

    def __call__(self, topic: Topic, source: Path | None = None) -> list[Outcome]:
        """Outcomes of both days; `source` holds an include/ to run in the place of the project's."""
        job = StreamJob(
            self.env, self.jars, self.database(), self.folder(), topic.name, f"ticks_{uuid.uuid4().hex[:8]}"
        )
        if source is not None:
            job.script, job.folder = source / JOB, source
            job.overrides = {"PYTHONPATH": str(source)}
        job.catch_up("--max-offsets-per-trigger", "1200")
        with (
            psycopg.connect(job.dsn, autocommit=True) as connection,
            open_metastore(self.metastore_uri) as metastore,
        ):
            metastore.database = f"webtoon_{job.data_dir.name}"
            stores = Stores(connection, metastore, job.data_dir / "warehouse", topic.name)
            _archive(stores, topic)
            _publish(stores, job.data_dir)
            return reconcile(stores, DAYS, "run")


def _archive(stores: Stores, topic: Topic) -> None:
    end = {str(partition): offset for partition, offset in ends(topic.records).items()}
    rows = sum(pq.read_metadata(file).num_rows for file in topic.archive.all_files())
    stores.connection.execute(
        "INSERT INTO ops.archive_slices (slice_id, run_id, topic, start_offsets, end_offsets, status, produced, archived,"
        " quarantined) VALUES ('s', 's', %s, %s, %s, 'published', %s, %s, 0)",
        (topic.name, Jsonb(dict.fromkeys(end, 0)), Jsonb(end), len(topic.records), rows),
    )
    hours = {
        RAW_EVENTS.partition_values("/".join(it.path.parts[-2:])): it.path for it in topic.archive.folders
    }
    _point(stores, RAW_EVENTS, hours)


def _publish(stores: Stores, data: Path) -> None:
    """What features__model and features__publish_batch leave behind, from the landing files that the ledger lists."""
    listed = stores.connection.execute(
        "SELECT landing_path, generation, position FROM ops.stream_batches WHERE landing_path IS NOT NULL"
    ).fetchall()
    rows = [
        _published(row, generation, position)
        for path, generation, position in listed
        for row in pq.read_table(data / "landing" / path).to_pylist()
    ]
    folders = write_sessions(data / "published", rows)
    row = stores.connection.execute(
        "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)"
        " SELECT 'm', max(generation), max(position), now(), 'published', clock_timestamp() FROM ops.stream_batches"
        " RETURNING cut_id"
    ).fetchone()
    assert row is not None
    for dt, folder in folders.items():
        stores.connection.execute(
            "INSERT INTO ops.publications (hive_table, partition_spec, run_id, cut_id, location, row_count)"
            " VALUES (%s, %s, 'p', %s, %s, 1)",
            (SESSION_FEATURES.name, f"dt={dt}", row[0], str(folder)),
        )
    _point(stores, SESSION_FEATURES, {(dt,): folder for dt, folder in folders.items()})


def _published(row: dict[str, Any], generation: int, position: int) -> dict[str, Any]:
    times = {
        name: (row[name] - _EPOCH) // timedelta(microseconds=1)
        for name in ("started_at", "ended_at", "last_event_kafka_at")
    }
    experiments = list(json.loads(row["experiments"]).items())
    return {
        **row, **times, "experiments": experiments, "genre": None, "episode_rating": None,
        "generation": generation, "ledger_position": position,
    }  # fmt: skip


def _point(stores: Stores, table: Any, folders: dict[tuple[str, ...], Path]) -> None:
    metastore: Metastore = stores.metastore
    metastore.ensure_table(table, stores.warehouse)
    metastore.point_partitions(table, folders)
