"""Values traced back to the records that were produced for them: the real stream, a cut, dbt, publication, an archive
that holds the first half of the topic."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from include.common.archive.slice_files import StagedSlice
from include.common.archive.slices import Slice, record_slice
from include.common.hive.metastore import Metastore, open_metastore
from include.common.hive.publications import Publication, record_publications
from include.common.hive.schema import HiveTable, location_of
from include.common.hive.tables import DEAD_LETTERS, RAW_EVENTS, SESSION_FEATURES, USER_FEATURES_DAILY
from include.common.kafka.offsets import Watermarks
from include.common.names import Pg
from include.common.postgres import connect
from include.common.settings import Settings
from include.dbt.command import run_dbt, store_environment
from include.orchestration import model
from include.orchestration.archive import Stores, publish_slice_files
from include.spark_jobs.archive_events.transform import decode_batch
from include.spark_jobs.publish_features.reader import take_snapshot
from include.spark_jobs.publish_features.writer import publication_folder, write_daily
from include.trace import __main__ as command
from include.trace.address import parse_address
from include.trace.build import TraceError
from include.trace.chain import HIDDEN, Chain
from include.trace.run import trace_with
from tests.integration.stream_support import StreamJob, produce
from tests.vectors import VectorRecord

START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
DT = "2026-01-01"
SLICE_END = 9
"""Offsets below are archived, the others are in Kafka only."""


def record(
    offset: int, session: str, user: str, episode: str, kind: str, at_s: int, **other: Any
) -> VectorRecord:
    """An event at `at_s` seconds after START_MS that arrives 10 ms later, in partition 0."""
    at_ms = START_MS + at_s * 1000
    event = {
        "event_id": f"e{offset}", "user_id": user, "session_id": session, "episode_id": episode, "event_type": kind,
        "country": "KR", "device": "phone", "platform": "ios", "timestamp": at_ms, **other,
    }  # fmt: skip
    return VectorRecord(0, offset, at_ms + 10, session.encode(), json.dumps(event).encode())


LATER_S = 3 * 3600
RECORDS = [
    record(0, "sA", "uA", "ep1", "enter", 0),
    record(1, "sB", "uB", "ep1", "enter", 2),
    record(2, "sA", "uA", "ep1", "scroll", 10, scroll_ratio=0.4),
    record(3, "sA", "uA", "ep1", "scroll", 10, scroll_ratio=0.4, event_id="e2"),  # a repeat of 2
    VectorRecord(0, 4, START_MS + 12_000, b"sA", b"not json"),
    record(5, "sB", "uB", "ep1", "scroll", 20, scroll_ratio=0.25),
    record(6, "sA", "uA", "ep1", "scroll", 30, scroll_ratio=0.8),
    record(7, "sA", "uA", "ep1", "exit", 60),
    record(8, "sA", "uA", "ep2", "enter", 65),
    record(9, "sA", "uA", "ep2", "complete", 125),
    record(10, "sB", "uB", "ep1", "exit", 130),
    record(11, "sA", "uA", "ep9", "enter", LATER_S),  # the bucket's clock: what came before is final
    record(12, "sB", "uB", "ep9", "enter", LATER_S),
    record(13, "sA", "uA", "ep1", "scroll", 40, scroll_ratio=1.0),  # late
]
OFFSETS_OF_A1 = [0, 2, 6, 7]
OFFSETS_OF_A2 = [8, 9]


@dataclass(frozen=True)
class Traced:
    """The filled stores, and how to trace in them."""

    settings: Settings
    database: str
    cut: model.Cut
    piece: Slice

    def __call__(self, value: str, **options: Any) -> Chain:
        return trace_with(self.settings, parse_address(value), database=self.database, **options)

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.postgres_dsn) as connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


def _stage(staged: StagedSlice, topic: str, slice_id: str) -> None:
    """What the archive's Spark job writes, by its own decoder and without Spark."""
    records = RECORDS[:SLICE_END]
    batch = pa.RecordBatch.from_pydict({
        "topic": [topic] * len(records),
        "kafka_partition": pa.array([it.partition for it in records], pa.int32()),
        "kafka_offset": [it.offset for it in records],
        "kafka_timestamp": pa.array([it.kafka_ms * 1000 for it in records], pa.timestamp("us", tz="UTC")),
        "key": [it.key for it in records],
        "value": [it.value for it in records],
    })  # fmt: skip
    table = pa.Table.from_batches([decode_batch(batch)]).append_column(
        "slice_id", pa.array([slice_id] * len(records))
    )
    refused = table.column("reason").is_valid()
    accepted = table.filter(table.column("reason").is_null())
    _write(accepted, RAW_EVENTS, staged.events)
    _write(table.filter(refused), DEAD_LETTERS, staged.dead_letters)


def _write(rows: pa.Table, table: HiveTable, folder: Path) -> None:
    values = {"dt": rows.column("dt")[0].as_py(), "hour": 0}
    place = folder / "/".join(f"{column.name}={values[column.name]}" for column in table.partitions)
    place.mkdir(parents=True)
    pq.write_table(rows.select(table.column_names()), place / "part-0.parquet")
    (folder / "_SUCCESS").touch()


def _publish(connection: psycopg.Connection[Any], client: Metastore, data: Path) -> None:
    """What the publisher's Spark job does, by its own snapshot and writer and without Spark."""
    snapshot = take_snapshot(connection, data / "landing", "publish-run")
    assert snapshot is not None
    readings = pa.concat_tables(
        pq.read_table(file.path)
        .append_column("generation", pa.array([file.generation] * file.rows, pa.int32()))
        .append_column("ledger_position", pa.array([file.position] * file.rows))
        .append_column("genre", pa.nulls(file.rows, pa.string()))
        .append_column("episode_rating", pa.nulls(file.rows, pa.float64()))
        .drop_columns(["experiments"])
        .append_column("experiments", pa.nulls(file.rows, pa.map_(pa.string(), pa.string())))
        for file in snapshot.files
    ).select(SESSION_FEATURES.column_names())
    tables = {SESSION_FEATURES: readings, USER_FEATURES_DAILY: snapshot.marts["user_features"]}
    publications = []
    for table, rows in tables.items():
        client.ensure_table(table, data / "warehouse")
        folders = write_daily(rows, table, DT, publication_folder(data / "warehouse", table, "p1"))
        client.point_partitions(table, folders)
        publications += [
            Publication(
                table.name, table.partition_name(it), snapshot.cut.cut_id, location_of(folder), rows.num_rows
            )
            for it, folder in folders.items()
        ]
    record_publications(connection, "publish-run", publications)


@pytest.fixture(scope="module")
def traced(
    kafka: str,
    metastore: str,
    topic_factory: Callable[..., str],
    feature_db_factory: Callable[[], str],
    data_dir_factory: Callable[[], Path],
    tmp_path_factory: pytest.TempPathFactory,
    stack_env: dict[str, str],
    spark_jars: str,
) -> Traced:
    dsn, data, topic = feature_db_factory(), data_dir_factory(), topic_factory(partitions=1)
    produce(kafka, topic, RECORDS)
    env = {**stack_env, "WEBTOON_KAFKA": kafka}
    job = StreamJob(env, spark_jars, dsn, data, topic, topic_factory("control", partitions=1))
    job.catch_up("--max-offsets-per-trigger", "5")

    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO reference.thresholds SELECT name, 1, 'x', 'x', '-infinity', 'infinity' FROM unnest(ARRAY["
            "'popularity_window_days', 'popularity_half_life_hours', 'popularity_exited_weight']) AS name"
        )
    cut = model.fix_cut(dsn, "model-run")
    run_dbt(
        ["run", "--full-refresh", "--quiet"], store_environment(dsn), tmp_path_factory.mktemp("dbt"),
    )  # fmt: skip
    model.publish(dsn, cut.cut_id)

    database = f"webtoon_{data.name}"
    with (
        connect(dsn, application_name="test", autocommit=True) as connection,
        open_metastore(metastore) as client,
    ):
        client.database = database
        piece = record_slice(connection, "archive-run", topic, {0: Watermarks(0, SLICE_END)}, 10**6)
        assert piece is not None
        stores = Stores(connection, client, data)
        _stage(stores.staged(piece), topic, piece.slice_id)
        publish_slice_files(stores, piece)
        for run_id, gate, subject in (
            ("model-run", "session_features", Pg.SESSION_FEATURES),
            ("archive-run", "raw_events", "raw_events_slice"),
        ):
            for success in (False, True):  # cleared and checked again: the newest verdict counts
                connection.execute(
                    "INSERT INTO quality.gate_results (gate, dag_id, run_id, subject, expectation, severity, success)"
                    " VALUES (%s, 'd', %s, %s, 'country_allowed', 'critical', %s)",
                    (gate, run_id, subject, success),
                )
        _publish(connection, client, data)
    return Traced(Settings(kafka, dsn, metastore, data, topic), database, cut, piece)


def offsets(chain: Chain) -> list[int]:
    return [event.offset for event in chain.events]


def test_a_reading_leads_to_the_offsets_that_were_produced_for_it(traced: Traced) -> None:
    chain = traced(f"realtime.session_features/sA/{START_MS}/ep1")
    assert offsets(chain) == OFFSETS_OF_A1
    [span] = chain.offsets
    assert (span.partition, span.first, span.last, span.events) == (0, 0, 7, 4)
    assert {event.source for event in chain.events} == {"hive.raw_events"}
    assert [piece.slice_id for piece in chain.slices] == [traced.piece.slice_id]
    assert [(it.gate, it.success) for it in chain.slice_gates] == [("raw_events", True)]
    # micro-batches of five records: those that read its events, and the one that made it final
    ranges = [(batch.start_offsets[0], batch.end_offsets[0]) for batch in chain.batches]
    assert ranges == [(0, 5), (5, 10), (10, 14)]
    assert chain.batches[-1].landing_sha256 is not None
    assert chain.differs == []
    assert {check.column for check in chain.checks if check.equal} >= {
        "event_count", "completion_rate", "dwell_time_ms", "status", "started_at", "user_id", "last_offset",
    }  # fmt: skip
    notes = "\n".join(chain.notes)
    assert "not applied because late: [0] 13" in notes
    assert "repeats, later than the row, or of another session of the same id: [0] 3, [0] 11" in notes


def test_what_is_not_archived_yet_comes_from_kafka(traced: Traced) -> None:
    chain = traced(f"realtime.session_features/sA/{START_MS}/ep2")
    assert [(event.offset, event.source) for event in chain.events] == [(8, "hive.raw_events"), (9, "kafka")]
    assert chain.differs == []


def test_a_mart_leads_through_its_cut_to_the_events_of_all_its_readings(traced: Traced) -> None:
    chain = traced("marts.user_features/uA/user_exit_rate")
    assert chain.value == 0.5
    assert chain.cut is not None
    assert (chain.cut.cut_id, chain.cut.run_id, chain.cut.status) == (
        traced.cut.cut_id,
        "model-run",
        "published",
    )
    assert [(it.gate, it.expectation, it.success) for it in chain.gates] == [
        ("session_features", "country_allowed", True)
    ]
    assert chain.readings_total == 2
    assert offsets(chain) == sorted(OFFSETS_OF_A1 + OFFSETS_OF_A2)
    assert chain.differs == []
    assert {check.column: check.recomputed for check in chain.checks if check.equal} == pytest.approx(
        {
            "final_reading_count": 2, "final_session_count": 1, "user_avg_completion_rate": 0.9, "user_exit_rate": 0.5,
            "user_avg_scroll_ratio": 0.8, "user_avg_dwell_time_s": 60, "user_readings_per_session": 2,
        }
    )  # fmt: skip


def test_a_trained_reading_leads_to_the_same_offsets(traced: Traced) -> None:
    chain = traced(f"hive.session_features/sA/{START_MS}/ep1/dwell_time_ms")
    assert chain.value == 60_000
    assert offsets(chain) == OFFSETS_OF_A1
    assert chain.publication is not None
    assert (chain.publication.run_id, chain.publication.partition) == ("publish-run", f"dt={DT}")
    assert chain.cut is not None
    assert (chain.cut.cut_id, chain.gates[0].run_id) == (traced.cut.cut_id, "model-run")
    assert chain.differs == []


def test_a_trained_mart_is_held_against_readings_that_realtime_keeps_no_more(traced: Traced) -> None:
    value = f"hive.user_features_daily/{DT}/uA/user_avg_dwell_time_s"
    chain = traced(value)
    assert (chain.value, chain.readings_from, chain.differs) == (60.0, Pg.SESSION_FEATURES, [])
    assert chain.publication is not None
    kept = "CREATE TABLE public.kept AS SELECT * FROM realtime.session_features"
    traced.sql(f"{kept}; DELETE FROM realtime.session_features WHERE session_id = 'sA'")
    older = traced(value)
    traced.sql(
        "INSERT INTO realtime.session_features SELECT * FROM public.kept ON CONFLICT DO NOTHING; DROP TABLE public.kept"
    )
    assert (older.readings_from, older.readings_total, older.differs) == ("hive.session_features", 2, [])
    assert offsets(older) == offsets(chain) == sorted(OFFSETS_OF_A1 + OFFSETS_OF_A2)


def test_personal_ids_stand_in_it_only_where_they_were_typed(traced: Traced) -> None:
    chain = traced("marts.user_features/uA")
    assert {reading["user_id"] for reading in chain.readings} == {"uA"}
    assert {reading["session_id"] for reading in chain.readings} == {HIDDEN}
    assert '"sA"' not in json.dumps(chain.as_json())
    of_episode = json.dumps(traced("realtime.episode_features/ep1").as_json())
    assert '"uA"' not in of_episode
    assert '"sB"' not in of_episode
    assert '"uA"' in json.dumps(traced("realtime.episode_features/ep1", every_id=True).as_json())


@pytest.mark.parametrize(
    ("value", "served"),
    [
        ("realtime.user_features/uA/readings_exited", 1),
        ("realtime.episode_features/ep1/readings_closed", 2),
        ("serving.user_features/uA/realtime_exit_rate", 0.5),
        ("serving.user_features/uA/user_exit_rate", 0.5),
        ("serving.episode_features/ep1/realtime_avg_scroll_ratio", 0.525),
        ("serving.segment_features/KR/phone/final_reader_count", 2),
        (f"serving.session_features/sB/{START_MS + 2000}/ep1/event_count", 3),
    ],
)
def test_sums_and_views_equal_what_their_readings_make(traced: Traced, value: str, served: float) -> None:
    chain = traced(value)
    assert chain.value == pytest.approx(served)
    assert chain.differs == []
    assert any(check.column == chain.column and check.equal for check in chain.checks)
    assert chain.events


def test_a_late_event_a_dead_letter_and_a_counted_event(traced: Traced) -> None:
    topic = traced.settings.events_topic
    late = traced(f"quality.late_events/{topic}/0/13")
    assert late.row["source"] == "kafka"
    assert [row["batch_id"] for row in late.row["late"]] == [2]
    assert late.row["session_id"] == HIDDEN
    letter = traced(f"hive.dead_letters/{topic}/0/4")
    assert letter.row["reason"] == "not_json"
    assert [piece.slice_id for piece in letter.slices] == [traced.piece.slice_id]
    assert [batch.batch_id for batch in letter.batches] == [0]
    counted = traced(f"kafka.record/{topic}/0/6/event_type")
    assert counted.value == "scroll"
    assert [(it["episode_id"], it["event_count"]) for it in counted.readings] == [("ep1", 4)]
    with pytest.raises(TraceError, match="was not late in any generation"):
        traced(f"quality.late_events/{topic}/0/6")
    with pytest.raises(TraceError, match="neither Hive nor Kafka holds a record"):
        traced(f"kafka.record/{topic}/0/99")


def test_the_command_line_tells_when_a_value_differs(
    traced: Traced, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = traced.settings
    for name, value in (
        ("KAFKA", settings.bootstrap_servers), ("POSTGRES_DSN", settings.postgres_dsn), ("METASTORE_URI", ""),
        ("DATA_DIR", str(settings.data_dir)), ("EVENTS_TOPIC", settings.events_topic),
    ):  # fmt: skip
        monkeypatch.setenv(f"WEBTOON_{name}", value)
    value = f"realtime.session_features/sA/{START_MS}/ep2/dwell_time_ms"
    # without a metastore only Kafka is left, which holds everything; that the archive was not read is said
    assert command.main([value]) == 0
    assert "no Hive metastore is known" in capsys.readouterr().out
    monkeypatch.setenv("WEBTOON_METASTORE_URI", settings.metastore_uri)
    row = "WHERE session_id = 'sA' AND episode_id = 'ep2'"
    traced.sql(f"UPDATE realtime.session_features SET dwell_time_ms = dwell_time_ms + 1 {row}")
    assert command.main([value, "--json", "--database", traced.database]) == command.DIFFERS
    told = json.loads(capsys.readouterr().out)
    wrong = [(it["column"], it["served"], it["recomputed"]) for it in told["checks"] if it["equal"] is False]
    assert wrong == [("dwell_time_ms", 60_001, 60_000)]
    assert command.main(["marts.user_features/nobody"]) == 1
    assert "marts.user_features has no row" in capsys.readouterr().err
    traced.sql(f"UPDATE realtime.session_features SET dwell_time_ms = dwell_time_ms - 1 {row}")
