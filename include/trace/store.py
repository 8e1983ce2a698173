"""What PostgreSQL knows of a value: rows, cuts, gate results, ledger, archive slices. Reads only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from include.common.names import Pg
from include.contract.rules import SessionRules
from include.trace.chain import ArchiveSlice, Cut, GateResult, MicroBatch, Publication, Row

_SCHEMAS = {
    "current": Pg.REALTIME_SCHEMA,
    "shadow": Pg.REALTIME_SHADOW_SCHEMA,
    "retired": Pg.REALTIME_RETIRED_SCHEMA,
}
_CUT = (
    "SELECT cut_id, run_id, generation, ledger_position, as_of, status, fixed_at, published_at"
    " FROM ops.model_cuts WHERE "
)
_BATCH = (
    "SELECT generation, batch_id, position, start_offsets, end_offsets, landing_path, landing_rows, landing_sha256,"
    " committed_at FROM ops.stream_batches AS batch WHERE "
)
_SLICE = (
    "SELECT slice_id, run_id, status, start_offsets, end_offsets, finished_at FROM ops.archive_slices WHERE "
)
_HOLDS = (
    "EXISTS (SELECT FROM unnest(%(partitions)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[])"
    " AS wanted (partition, first, last) WHERE (start_offsets ->> wanted.partition)::bigint <= wanted.last"
    " AND (end_offsets ->> wanted.partition)::bigint > wanted.first)"
)


@dataclass(frozen=True)
class Generation:
    """A stream generation; `schema` holds its rows, None where they were dropped."""

    number: int
    schema: str | None
    rules: SessionRules


class Store:
    """Look-ups on one connection, which is put into one read-only snapshot."""

    def __init__(self, connection: psycopg.Connection) -> None:
        connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        connection.set_read_only(True)
        self._connection = connection

    def rows(self, query: Any, values: Any = None) -> list[Row]:
        """Rows of one statement, as dicts."""
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, values).fetchall()

    def find(self, table: str, condition: Mapping[str, Any]) -> Row | None:
        """The row of `table` (schema-qualified) with these key values."""
        query = sql.SQL("SELECT * FROM {} WHERE {}").format(_name(table), _where(condition))
        return next(iter(self.rows(query, dict(condition))), None)

    def columns(self, table: str) -> set[str]:
        """Column names of a table or view."""
        schema, _, name = table.partition(".")
        found = self.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s",
            (schema, name),
        )
        return {row["column_name"] for row in found}

    def cut(self, cut_id: int) -> Cut | None:
        """One cut."""
        return next((Cut(**row) for row in self.rows(_CUT + "cut_id = %s", (cut_id,))), None)

    def published_cut(self) -> Cut | None:
        """The cut that the rows of marts are of, as the serving views say it."""
        found = self.rows(_CUT + "published_at IS NOT NULL ORDER BY published_at DESC LIMIT 1")
        return next((Cut(**row) for row in found), None)

    def publication(self, hive_table: str, partition: str) -> Publication | None:
        """The newest publication of a Hive partition."""
        found = self.rows(
            "SELECT hive_table, partition_spec AS partition, run_id, cut_id, location, row_count, published_at"
            " FROM ops.publications WHERE hive_table = %s AND partition_spec = %s ORDER BY published_at DESC LIMIT 1",
            (hive_table, partition),
        )
        return next((Publication(**row) for row in found), None)

    def gates(self, run_ids: Iterable[str]) -> list[GateResult]:
        """The newest verdict of each expectation in these runs: a cleared gate checks again."""
        found = self.rows(
            "SELECT DISTINCT ON (run_id, gate, subject, expectation, column_name) gate, run_id, subject, expectation,"
            " column_name, severity, success, unexpected_count, checked_at FROM quality.gate_results"
            " WHERE run_id = ANY(%s)"
            " ORDER BY run_id, gate, subject, expectation, column_name, gate_result_id DESC",
            (sorted(set(run_ids)),),
        )
        return [GateResult(**row) for row in found]

    def generation(self, number: int) -> Generation | None:
        """A generation and its rules."""
        found = self.rows(
            "SELECT status, rules -> 'rules' AS rules FROM ops.stream_generations WHERE generation = %s",
            (number,),
        )
        for row in found:
            return Generation(number, _SCHEMAS.get(row["status"]), SessionRules(**(row["rules"] or {})))
        return None

    def readings(self, schema: str, condition: Mapping[str, Any], cut: Cut | None, limit: int) -> list[Row]:
        """Newest readings of a reader, episode or segment; with a cut, the final ones that it covers."""
        query = sql.SQL(
            "SELECT * FROM {} WHERE {} ORDER BY ended_at DESC, session_id, session_start_ms, episode_id LIMIT {}"
        )
        return self.rows(
            query.format(_name(f"{schema}.session_features"), _readings(condition, cut), sql.Literal(limit)),
            dict(condition),
        )

    def aggregate(
        self, text: LiteralString, schema: str, condition: Mapping[str, Any], cut: Cut | None
    ) -> dict[str, Any]:
        """The one row of `text`, a query over `readings`, on the readings that `readings` lists."""
        source = sql.SQL("SELECT * FROM {} WHERE {}").format(
            _name(f"{schema}.session_features"), _readings(condition, cut)
        )
        query = sql.SQL("WITH readings AS ({}) {}").format(source, sql.SQL(text))
        [row] = self.rows(query, dict(condition))
        return row

    def batches(self, keys: Iterable[tuple[int, int]]) -> list[MicroBatch]:
        """Micro-batches by (generation, ledger position)."""
        wanted = sorted(set(keys))
        found = self.rows(
            f"{_BATCH} (generation, position) IN (SELECT * FROM unnest(%s::int[], %s::bigint[])) ORDER BY 1, 3",  # noqa: S608  a constant
            ([generation for generation, _ in wanted], [position for _, position in wanted]),
        )
        return [_batch(row) for row in found]

    def batches_that_read(
        self, generation: int | None, offsets: Mapping[int, Sequence[int]]
    ) -> list[MicroBatch]:
        """Micro-batches that read any of `offsets` (by partition), of one generation or of all, in order."""
        found = self.rows(
            _BATCH + "(%(generation)s::int IS NULL OR generation = %(generation)s)"
            f" AND {_HOLDS} ORDER BY generation, position",
            {"generation": generation, **_spans(offsets)},
        )
        return [
            batch
            for batch in map(_batch, found)
            if any(batch.holds(number, offset) for number, some in offsets.items() for offset in some)
        ]

    def slices(self, topic: str, offsets: Mapping[int, Sequence[int]]) -> list[ArchiveSlice]:
        """Archive slices that hold any of `offsets`, in order."""
        found = self.rows(
            _SLICE + f"topic = %(topic)s AND {_HOLDS} ORDER BY position",
            {"topic": topic, **_spans(offsets)},
        )
        slices = [ArchiveSlice(**{**row, **_offsets(row)}) for row in found]
        return [
            piece
            for piece in slices
            if any(piece.holds(number, offset) for number, some in offsets.items() for offset in some)
        ]

    def archived_to(self, topic: str) -> dict[int, int]:
        """By partition, the offset that the archive has come to with slices that ended."""
        found = self.rows(
            "SELECT ends.key::int AS partition, max(ends.value::bigint) AS archived_to FROM ops.archive_slices,"
            " jsonb_each_text(end_offsets) AS ends WHERE topic = %s AND finished_at IS NOT NULL GROUP BY ends.key",
            (topic,),
        )
        return {row["partition"]: row["archived_to"] for row in found}

    def late_offsets(self, topic: str, generation: int, session_ids: Iterable[str]) -> set[tuple[int, int]]:
        """(partition, offset) of the sessions' events that the generation did not apply."""
        found = self.rows(
            "SELECT kafka_partition, kafka_offset FROM quality.late_events"
            " WHERE topic = %s AND generation = %s AND session_id = ANY(%s)",
            (topic, generation, sorted(set(session_ids))),
        )
        return {(row["kafka_partition"], row["kafka_offset"]) for row in found}

    def first_offset_of(self, generation: int, partition: int, since_ms: int) -> int:
        """An offset of the partition before which nothing has a Kafka time of `since_ms` (epoch ms) or later."""
        found = self.rows(
            "SELECT (start_offsets ->> %(partition)s)::bigint AS first FROM ops.stream_batches"
            " WHERE generation = %(generation)s AND (max_kafka_at IS NULL"
            " OR max_kafka_at >= to_timestamp(%(since_ms)s / 1000.0)) ORDER BY position LIMIT 1",
            {"partition": str(partition), "generation": generation, "since_ms": since_ms},
        )
        return next((row["first"] or 0 for row in found), 0)


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _where(condition: Mapping[str, Any]) -> sql.Composable:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in condition
    )


def _readings(condition: Mapping[str, Any], cut: Cut | None) -> sql.Composable:
    if cut is None:
        return _where(condition)
    return sql.SQL("is_final AND generation = {} AND ledger_position <= {} AND {}").format(
        sql.Literal(cut.generation), sql.Literal(cut.ledger_position), _where(condition)
    )


def _spans(offsets: Mapping[int, Sequence[int]]) -> dict[str, list[Any]]:
    some = {number: found for number, found in offsets.items() if found}
    return {
        "partitions": [str(number) for number in some],
        "firsts": [min(found) for found in some.values()],
        "lasts": [max(found) for found in some.values()],
    }


def _offsets(row: Row) -> dict[str, dict[int, int]]:
    names = ("start_offsets", "end_offsets")
    return {name: {int(number): offset for number, offset in row[name].items()} for name in names}


def _batch(row: Row) -> MicroBatch:
    return MicroBatch(**{**row, **_offsets(row)})
