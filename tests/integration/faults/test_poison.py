"""Poison of every kind, in every partition: the stream counts it, the archive keeps each as a dead letter."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from include.common.archive.accounting import check_slice_accounting
from include.common.archive.slice_files import files_of_slice
from include.common.archive.slices import record_slice
from include.common.hive.metastore import open_metastore
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS
from include.common.kafka.offsets import watermarks
from include.common.postgres import connect
from include.orchestration.archive import Stores, publish_slice_files
from tests.integration.batch_support import SparkSubmit
from tests.integration.faults.poison import POISONS
from tests.integration.faults.streams import PARTITIONS, PoisonedTopic, Servers
from tests.integration.stream_support import good

KINDS = {"not JSON", "wrong types", "5 MB", "NUL bytes", "lone surrogate", "out of range", "deep nesting",
         "empty value", "null key"}  # fmt: skip


@dataclass(frozen=True)
class Archived:
    """What the archive has made of the topic. `dead_letters` are its rows by (partition, offset)."""

    dead_letters: dict[tuple[int, int], dict[str, Any]]
    accounted: int


@pytest.fixture(scope="module")
def archived(
    servers: Servers, poisoned_topic: PoisonedTopic, metastore: str, spark_jars: str
) -> Iterator[Archived]:
    dsn, data = servers.database(), servers.folder()
    submit = SparkSubmit(
        servers.context.process_env(),
        spark_jars,
        {"WEBTOON_POSTGRES_DSN": dsn, "WEBTOON_DATA_DIR": str(data), "WEBTOON_METASTORE_URI": metastore},
    )
    with (
        connect(dsn, application_name="test", autocommit=True) as connection,
        open_metastore(metastore) as client,
    ):
        client.database = f"webtoon_{poisoned_topic.name[-10:]}"
        stores = Stores(connection, client, data)
        held = watermarks({"bootstrap.servers": servers.kafka}, poisoned_topic.name)
        piece = record_slice(connection, "poison", poisoned_topic.name, held, 10**6)
        assert piece is not None
        done = submit("archive_events", "--slice-id", piece.slice_id)
        assert done.returncode == 0, done.stderr[-3000:]
        publish_slice_files(stores, piece)
        files = {
            table: files_of_slice(table.location(stores.warehouse), piece.slice_id)
            for table in (RAW_EVENTS, QUARANTINED_EVENTS, DEAD_LETTERS)
        }
        every: list[Path] = [path for found in files.values() for path in found]
        rows = [row for path in files[DEAD_LETTERS] for row in pq.ParquetFile(path).read().to_pylist()]
        by_place = {(row["kafka_partition"], row["kafka_offset"]): row for row in rows}
        assert len(by_place) == len(rows), "a dead letter is there twice"
        yield Archived(by_place, check_slice_accounting(piece, every))


def test_the_topic_holds_every_kind_in_every_partition(poisoned_topic: PoisonedTopic) -> None:
    assert {poison.kind.split(":")[0] for poison in POISONS} == KINDS
    found = Counter(poison.kind for poison in poisoned_topic.poisons.values())
    assert found == {poison.kind: PARTITIONS for poison in POISONS}


def test_every_poison_is_a_dead_letter_with_its_bytes_offset_and_reason(
    archived: Archived, poisoned_topic: PoisonedTopic
) -> None:
    records = {(record.partition, record.offset): record for record in poisoned_topic.records}
    wrong = []
    for place, poison in poisoned_topic.poisons.items():
        row = archived.dead_letters.get(place)
        sent = records[place]
        if row is None:
            wrong.append(f"{poison.kind} at {place} is no dead letter")
        elif (row["reason"], row["topic"], row["key"]) != (poison.reason, poisoned_topic.name, sent.key):
            wrong.append(f"{poison.kind} at {place}: {row['reason']}, {row['topic']}, {row['key']}")
        elif row["value"] != sent.value:
            wrong.append(f"{poison.kind} at {place}: its bytes were changed")
    assert not wrong, wrong[:5]


def test_every_record_is_archived_or_a_dead_letter(archived: Archived, poisoned_topic: PoisonedTopic) -> None:
    accepted = {record[:2] for record in good(poisoned_topic.records)}
    refused = {(record.partition, record.offset) for record in poisoned_topic.records} - accepted
    assert archived.dead_letters.keys() == refused
    assert archived.accounted == len(poisoned_topic.records)
