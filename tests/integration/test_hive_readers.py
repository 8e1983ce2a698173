"""The batch store read by HiveServer2, Spark, pyarrow and DuckDB: the snippets of docs/reading-the-batch-store.md,
before and after a column is added and files are put together; and the statistics that engines see."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from include.common.archive.compaction import CompactionLimits
from include.common.hive.files import data_files
from include.common.hive.metastore import open_metastore
from include.common.hive.reading import hive_dataset, partition_files
from include.common.hive.schema import HiveTable
from include.common.hive.tables import RAW_EVENTS
from include.common.names import Conn
from include.common.postgres import connect
from include.orchestration.archive import Stores
from include.orchestration.maintain import Options, compact_tables_in
from tests.integration.hive_store import MONDAY, SliceStore

PROJECT_ROOT = Path(__file__).resolve().parents[2]
PAGE = PROJECT_ROOT / "docs" / "reading-the-batch-store.md"
NEW = "ui_version"
"""A column that the first slices are older than."""
OLDER = replace(RAW_EVENTS, columns=tuple(column for column in RAW_EVENTS.columns if column.name != NEW))
HOUR = timedelta(hours=1)
NOON, MORNING = ("2026-11-23", "12"), ("2026-11-23", "5")
SELECTED = ("kafka_partition", "kafka_offset", "event_id", "scroll_ratio")
Rows = list[tuple[Any, ...]]


@dataclass
class Readers:
    """One store and the ways to read it."""

    store: SliceStore
    uri: str
    hook: Any
    spark: Callable[[str], Rows]

    def snippet(self, heading: str) -> str:
        """The page's code under a heading, for this store."""
        section = PAGE.read_text().split(f"\n## {heading}", 1)[1].split("\n## ")[0]
        code = re.search(r"```python\n(.*?)```", section, re.DOTALL)
        assert code is not None
        database = self.store.stores.metastore.database
        text = code[1].replace("webtoon.raw_events", f"{database}.raw_events")
        return text.replace('"thrift://127.0.0.1:9083", "webtoon"', f'"{self.uri}", "{database}"')

    def in_process(self, heading: str) -> Rows:
        """Run the snippet here; what it found, in order."""
        names: dict[str, Any] = {}
        exec(compile(self.snippet(heading), str(PAGE), "exec"), names)
        return sorted(tuple(row) for row in names["rows"])


def stage_older(store: SliceStore, times: list[datetime]) -> None:
    """A slice by a release that did not have the column."""
    piece = store.stage(times)
    for path in data_files(store.stores.staged(piece).events):
        pq.write_table(pq.ParquetFile(path).read().drop_columns([NEW]), path)
    store.publish(piece)


@pytest.fixture(scope="module")
def readers(
    metastore: str,
    hiveserver2: tuple[str, int],
    feature_db_factory: Callable[[], str],
    data_dir_factory: Callable[[], Path],
    stack_env: dict[str, str],
) -> Iterator[Readers]:
    from airflow.providers.apache.hive.hooks.hive import HiveServer2Hook

    data = data_dir_factory()

    def spark(code: str) -> Rows:
        program = f"{code}\nimport json\nprint('ROWS ' + json.dumps([list(row) for row in rows]))\n"
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**stack_env, "PYSPARK_PYTHON": sys.executable}, cwd=PROJECT_ROOT, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        line = next(line for line in done.stdout.splitlines() if line.startswith("ROWS "))
        return sorted(tuple(row) for row in json.loads(line.removeprefix("ROWS ")))

    connection = {
        "conn_type": "hiveserver2", "host": hiveserver2[0], "port": hiveserver2[1],
        "extra": {"auth_mechanism": "NOSASL"},
    }  # fmt: skip
    with (
        pytest.MonkeyPatch.context() as patch,
        connect(feature_db_factory(), application_name="test", autocommit=True) as database,
        open_metastore(metastore, f"webtoon_{data.name}") as client,
    ):
        patch.setenv(f"AIRFLOW_CONN_{Conn.HIVESERVER2.upper()}", json.dumps(connection))
        store = SliceStore(Stores(database, client, data))
        client.ensure_table(OLDER, store.stores.warehouse)
        stage_older_with(OLDER, store)
        for number in range(4):
            store.publish(store.stage([MONDAY + 12 * HOUR] * (number + 2)))
        yield Readers(store, metastore, HiveServer2Hook(Conn.HIVESERVER2), spark)


def stage_older_with(older: HiveTable, store: SliceStore) -> None:
    """Two partitions as the older release left them; their own descriptors lack the column."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.orchestration.archive.RAW_EVENTS", older)
        patch.setattr("include.orchestration.archive.TABLES", (older,))
        stage_older(store, [MONDAY + 12 * HOUR] * 3)
        stage_older(store, [MONDAY + 5 * HOUR] * 2)


def values_of(readers: Readers, column: str) -> dict[str, Rows]:
    """`column` by event id as each engine reads it, old and new files together."""
    stores = readers.store.stores
    name = f"{stores.metastore.database}.raw_events"
    statement = f"SELECT event_id, {column} FROM {name} WHERE dt = '2026-11-23'"
    readers.hook.run(f"REFRESH TABLE {name}")
    dataset = hive_dataset(stores.metastore, RAW_EVENTS)
    files = [str(path) for paths in partition_files(stores.metastore, RAW_EVENTS).values() for path in paths]
    found = {
        "hiveserver2": readers.hook.get_records(statement),
        "pyarrow": [tuple(row.values()) for row in dataset.to_table(columns=["event_id", column]).to_pylist()],
        "duckdb": duckdb.sql(
            f"SELECT event_id, {column} FROM read_parquet($files, union_by_name = true, hive_partitioning = false)",
            params={"files": files},
        ).fetchall(),
        "duckdb over arrow": duckdb.sql(
            f"SELECT event_id, {column} FROM dataset WHERE dt = '2026-11-23'"
        ).fetchall(),
    }  # fmt: skip
    return {engine: sorted(tuple(row) for row in rows) for engine, rows in found.items()}


def test_every_way_gives_the_same_rows(readers: Readers) -> None:
    folder = readers.store.stores.metastore.locations(RAW_EVENTS, [NOON])[NOON]
    # read plainly, as a check of the four ways
    rows = [row for path in data_files(folder) for row in pq.ParquetFile(path).read().to_pylist()]
    expected = sorted(tuple(row[name] for name in SELECTED) for row in rows)
    assert len(expected) == 3 + 2 + 3 + 4 + 5
    for heading in ("HiveServer2", "pyarrow", "DuckDB"):
        assert readers.in_process(heading) == expected, heading
    assert readers.spark(readers.snippet("Spark")) == expected


def test_old_partitions_read_with_the_new_column_before_and_after_compaction(readers: Readers) -> None:
    store = readers.store
    client = store.stores.metastore
    assert set(client.all_locations(RAW_EVENTS)) == {NOON, MORNING}
    piece = store.stage([MONDAY + 12 * HOUR] * 2)
    for path in data_files(store.stores.staged(piece).events):
        table = pq.ParquetFile(path).read()
        place = table.schema.get_field_index(NEW)
        pq.write_table(table.set_column(place, table.schema.field(NEW), [["7.1"] * table.num_rows]), path)
    store.publish(piece)
    found = values_of(readers, NEW)
    new = [value for _, value in found["pyarrow"] if value is not None]
    assert new == ["7.1", "7.1"]
    assert len(found["pyarrow"]) == store.keys(RAW_EVENTS).total() == 21
    assert all(rows == found["pyarrow"] for rows in found.values())
    at_once = Options(settle=timedelta(0), limits=CompactionLimits(min_files=2))
    assert len(compact_tables_in(store.stores, at_once, datetime.now(UTC))) == 1
    assert len(store.files(RAW_EVENTS)[NOON]) == 1
    assert values_of(readers, NEW) == found


def test_statistics_are_seen_by_hiveserver2(readers: Readers) -> None:
    store = readers.store
    client = store.stores.metastore
    name = f"{client.database}.raw_events"
    for values, hour in ((NOON, 12), (MORNING, 5)):
        files = store.files(RAW_EVENTS)[values]
        rows = sum(pq.read_metadata(path).num_rows for path in files)
        size = sum(path.stat().st_size for path in files)
        readers.hook.run(f"REFRESH TABLE {name}")
        with readers.hook.get_conn() as connection, connection.cursor() as cursor:
            cursor.execute(f"DESCRIBE FORMATTED {name} PARTITION (dt = '2026-11-23', hour = {hour})")
            described = cursor.fetchall()
        text = {str(row[0]).strip(): str(row[1]) for row in described}
        assert text["Partition Statistics"] == f"{size} bytes, {rows} rows"
        for parameter in (f"numFiles={len(files)}", f"numRows={rows}", f"totalSize={size}", "rawDataSize="):
            assert parameter in text["Partition Parameters"]
