"""What tests of the publication share: a feature database, a landing and Hive, driven one step at a time."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
from psycopg.types.json import Jsonb

from include.common.hive.files import data_files
from include.common.hive.metastore import Metastore, open_metastore
from include.common.hive.schema import HiveTable
from include.common.hive.tables import SESSION_FEATURES
from include.common.names import Conn, Var
from include.common.postgres import connect
from include.contract.sessions import Reading
from include.spark_jobs.stream_sessionize.changes import readings_schema, readings_to_arrow
from include.spark_jobs.stream_sessionize.landing import write_landing
from tests.integration.batch_support import SparkSubmit

DAY_MS = 24 * 3600 * 1000
MONDAY_MS = 1_795_478_400_000  # 2026-11-24T00:00:00Z
DT = ["2026-11-23", "2026-11-24"]


def reading(number: int, start_ms: int, **changes: Any) -> Reading:
    fields: dict[str, Any] = dict.fromkeys(Reading._fields)
    fields |= {
        "session_id": f"s{number}", "session_start_ms": start_ms, "episode_id": f"ep{number % 3}",
        "user_id": f"u{number % 4}", "country": "KR", "device": "phone", "platform": "ios",
        "experiments": {"cover": "b"} if number % 2 else None, "status": "completed", "is_exit_tag": False,
        "completion_rate": 1.0, "max_scroll_ratio": 0.75, "event_count": 3, "scroll_event_count": 1,
        "dwell_time_ms": 1000 + number, "started_at_ms": start_ms, "ended_at_ms": start_ms + 60_000,
        "is_final": True, "source_partition": 0, "last_offset": number, "last_event_kafka_ms": start_ms + 60_500,
    }  # fmt: skip
    return Reading(**{**fields, **changes})


@dataclass
class Store:
    """A feature database, a landing and Hive, driven one step at a time."""

    connection: psycopg.Connection
    metastore: Metastore
    data: Path
    submit: SparkSubmit
    batches: int = 0

    def land(self, *readings: Reading, generation: int = 1) -> Path:
        """A micro-batch of the stream: landing file (none without a reading), then ledger row; returns the file."""
        import pyarrow as pa

        table = pa.Table.from_batches([readings_to_arrow(list(readings))], schema=readings_schema())
        self.batches += 1
        file = write_landing(self.data / "landing", generation, self.batches, table)
        self.connection.execute(
            "INSERT INTO ops.stream_batches (generation, batch_id, start_offsets, end_offsets, landing_path,"
            " landing_rows, landing_sha256, events, dead_letters, duplicates, late_events, rows_upserted, rows_deleted)"
            " VALUES (%s, %s, '{}', '{}', %s, %s, %s, 0, 0, 0, 0, 0, 0)",
            (generation, self.batches, file.path, file.rows, file.sha256),
        )
        return self.data / "landing" / (file.path or "")

    def cut(self, status: str = "published", generation: int = 1) -> None:
        """features__model published a cut at the ledger's end."""
        self.connection.execute(
            "INSERT INTO ops.model_cuts (run_id, generation, ledger_position, as_of, status, published_at)"
            " SELECT 'model-' || count(*), %(generation)s, (SELECT max(position) FROM ops.stream_batches),"
            " '2026-11-24 12:00:00+00', %(status)s, CASE WHEN %(status)s = 'published' THEN clock_timestamp() END"
            " FROM ops.model_cuts",
            {"status": status, "generation": generation},
        )

    def publish(self, run_id: str) -> str:
        done = self.submit("publish_features", "--run-id", run_id, "--database", self.metastore.database)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def rows(self, dt: str, table: HiveTable = SESSION_FEATURES) -> list[dict[str, Any]]:
        """What the partition of a table points at holds, by key."""
        folder = self.metastore.locations(table, [(dt,)])[(dt,)]
        rows = [row for path in data_files(folder) for row in pq.ParquetFile(path).read().to_pylist()]
        return sorted(rows, key=lambda row: [row[name] for name in table.key])

    def sessions(self, dt: str) -> list[tuple[str, int]]:
        """Session and generation of the partition's rows."""
        return [(row["session_id"], row["generation"]) for row in self.rows(dt)]

    def publications(self, run_id: str) -> dict[str, int]:
        rows = self.connection.execute(
            "SELECT hive_table || '/' || partition_spec, row_count FROM ops.publications WHERE run_id = %s",
            (run_id,),
        )
        return dict(rows.fetchall())

    def connections(self, metastore: str, hiveserver2: tuple[str, int]) -> Mapping[str, str]:
        """Environment with the connections and variables that the DAG's tasks use, as the native stack gives them."""
        info = self.connection.info
        host, port = metastore.removeprefix("thrift://").split(":")
        connections = {
            Conn.POSTGRES: {"conn_type": "postgres", "host": info.host, "port": info.port, "login": info.user,
                            "password": info.password, "schema": info.dbname},
            Conn.METASTORE: {"conn_type": "hive_metastore", "host": host, "port": int(port)},
            Conn.HIVESERVER2: {"conn_type": "hiveserver2", "host": hiveserver2[0], "port": hiveserver2[1],
                               "extra": {"auth_mechanism": "NOSASL"}},
        }  # fmt: skip
        env = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}
        return env | {f"AIRFLOW_VAR_{Var.DATA_DIR.upper()}": str(self.data)}


@contextmanager
def open_store(dsn: str, data: Path, metastore: str, env: Mapping[str, str], jars: str) -> Iterator[Store]:
    """A store with generation 1 and three versions of two episodes, in a Hive database of its own."""
    overrides = {
        "WEBTOON_POSTGRES_DSN": dsn, "WEBTOON_DATA_DIR": str(data), "WEBTOON_METASTORE_URI": metastore,
        "WEBTOON_KAFKA": "127.0.0.1:1",
    }  # fmt: skip
    with (
        connect(dsn, application_name="test", autocommit=True) as connection,
        open_metastore(metastore) as client,
    ):
        client.database = f"webtoon_{data.name}"
        connection.execute(
            "INSERT INTO ops.stream_generations (generation, status, checkpoint, rules) VALUES (1, 'current', 'c', %s)",
            (Jsonb({}),),
        )
        connection.execute(
            "INSERT INTO reference.episode_metadata (episode_id, title_id, title, episode_number, genre, tags, rating,"
            " launch_date, valid_from, valid_to) VALUES"
            " ('ep0', 't', 'T', 1, 'drama', '{}', 8, '2026-01-01', '-infinity', '2026-11-23 12:00:00+00'),"
            " ('ep0', 't', 'T', 1, 'thriller', '{}', 8, '2026-01-01', '2026-11-23 12:00:00+00', 'infinity'),"
            " ('ep1', 't', 'T', 2, 'action', '{}', 8, '2026-01-01', '2026-01-01', 'infinity')"
        )
        yield Store(connection, client, data, SparkSubmit(env, jars, overrides))
