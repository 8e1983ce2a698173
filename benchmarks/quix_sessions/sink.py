"""Quix Streams' own PostgreSQL sink, and rows in the form that it takes.

It upserts, and deletes nothing: a re-keyed row is written again with `is_removed`. Of a batch it takes the columns
of the first row, and leaves out columns that are None: every row has all columns, and NULL is written as such.
"""

from typing import Any

import msgspec
from psycopg2.extensions import AsIs
from quixstreams.sinks.community.postgresql import PostgreSQLSink

from include.contract.sessions import Reading, ReadingKey

SCHEMA, TABLE = "quix", "readings"
KEY = ("session_id", "session_start_ms", "episode_id")
_NULL = AsIs("NULL")
_REMOVED: dict[str, Any] = {**dict.fromkeys(Reading._fields, _NULL), "is_removed": True}
_encode_json = msgspec.json.Encoder(order="sorted").encode


def build_sink(host: str, port: int, dbname: str, user: str, password: str) -> PostgreSQLSink:
    """Upserts by key into the table that schema.sql has made."""
    return PostgreSQLSink(
        host=host,
        port=port,
        dbname=dbname,
        user=user,
        password=password,
        schema_name=SCHEMA,
        table_name=TABLE,
        primary_key_columns=list(KEY),
        upsert_on_primary_key=True,
        # the table is there: no DDL in every batch
        schema_auto_update=False,
        include_metadata=False,
    )


def as_row(reading: Reading) -> dict[str, Any]:
    """A row to upsert."""
    row = {
        name: _NULL if value is None else value for name, value in zip(Reading._fields, reading, strict=True)
    }
    experiments = reading.experiments
    row["experiments"] = _encode_json(experiments).decode() if experiments else "{}"
    row["is_removed"] = False
    return row


def as_removed(key: ReadingKey) -> dict[str, Any]:
    """What is written over a row that is no more."""
    return {**_REMOVED, **key._asdict()}
