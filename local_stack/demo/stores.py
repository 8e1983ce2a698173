"""What the demo asks of the stores. Reading only."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from include.common.kafka.offsets import KafkaUnreachableError, Watermarks, watermarks
from include.common.names import Hive, Pg, Topic
from local_stack.context import Context
from local_stack.ports import HOST

FINISHED = ("published", "quarantined")


class Stores:
    """Kafka, PostgreSQL and Hive of one stack."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def data_dir(self) -> Path:
        """Landing, checkpoints, staging, warehouse, and the stream driver's files."""
        return self._context.paths.data

    def rows(self, query: str, *parameters: object) -> list[dict[str, Any]]:
        """Rows of a query on the feature database."""
        with psycopg.connect(self._context.features_dsn, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def value(self, query: str, *parameters: object) -> Any:
        """The one value of a query on the feature database; None for no row."""
        found = self.rows(query, *parameters)
        return next(iter(found[0].values())) if found else None

    def topic(self) -> dict[int, Watermarks]:
        """Watermarks of the topic of events; empty where it was not made yet."""
        config = {"bootstrap.servers": self._context.ports.address("kafka")}
        try:
            return watermarks(config, Topic.EVENTS)
        except KafkaUnreachableError:
            return {}

    def produced(self) -> int:
        """Records that the topic holds."""
        return sum(high - low for low, high in self.topic().values())

    def ends(self) -> dict[int, int]:
        """The topic's end by partition."""
        return {number: marks.high for number, marks in self.topic().items()}

    def newest_event_age_s(self) -> float | None:
        """Seconds since the newest event (its own time) that the stream knows of; None for none."""
        age = self.value(f"SELECT extract(EPOCH FROM now() - max(ended_at)) FROM {Pg.SESSION_FEATURES}")
        return None if age is None else float(age)

    def slices_after(self, position: int) -> list[dict[str, Any]]:
        """Archive slices recorded after `position`, oldest first."""
        return self.rows(f"SELECT * FROM {Pg.ARCHIVE_SLICES} WHERE position > %s ORDER BY position", position)

    def last_slice(self) -> int:
        """Position of the newest archive slice, 0 for none."""
        return int(self.value(f"SELECT coalesce(max(position), 0) FROM {Pg.ARCHIVE_SLICES}") or 0)

    def is_archived(self, ends: Mapping[int, int]) -> bool:
        """Are all offsets below `ends` in slices, and all slices ended?"""
        newest = self.rows(f"SELECT end_offsets FROM {Pg.ARCHIVE_SLICES} ORDER BY position DESC LIMIT 1")
        open_slices = self.value(
            f"SELECT count(*) FROM {Pg.ARCHIVE_SLICES} WHERE status NOT IN ('published', 'quarantined', 'discarded')"
        )
        reached = newest[0]["end_offsets"] if newest else {}
        return not open_slices and all(reached.get(str(number), 0) >= end for number, end in ends.items())

    def stream_is_behind(self, ends: Mapping[int, int]) -> int:
        """Records below `ends` that the stream has not committed yet."""
        newest = self.rows(
            f"SELECT end_offsets FROM {Pg.STREAM_BATCHES} JOIN {Pg.STREAM_GENERATIONS} USING (generation)"
            " WHERE status = 'current' ORDER BY position DESC LIMIT 1"
        )
        reached = newest[0]["end_offsets"] if newest else {}
        return sum(max(0, end - int(reached.get(str(number), 0))) for number, end in ends.items())

    @contextmanager
    def hive(self) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
        """A query function on HiveServer2 (Spark Thrift Server)."""
        from pyhive import hive

        with (
            hive.connect(HOST, self._context.ports["thrift"], auth="NOSASL") as connection,
            connection.cursor() as cursor,
        ):

            def run(query: str) -> list[tuple[Any, ...]]:
                cursor.execute(query)
                return list(cursor.fetchall()) if cursor.description else []

            yield run

    def hive_counts(self, tables: tuple[str, ...]) -> dict[str, int]:
        """Rows by Hive table, as HiveServer2 sees them now."""
        counts = {}
        with self.hive() as query:
            for table in tables:
                name = f"{Hive.DATABASE}.{table}"
                # the server remembers where partitions were; a Spark job of ours moved them
                query(f"REFRESH TABLE {name}")
                counts[table] = int(query(f"SELECT count(*) FROM {name}")[0][0])
        return counts
