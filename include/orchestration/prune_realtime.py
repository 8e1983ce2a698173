"""Tasks of ops__maintain that keep `realtime` short: ask the stream, its only writer, and see that it is done.

Plain functions over an open connection end in `_in` and are tested without Airflow.
"""

import logging
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString

import psycopg
from airflow.sdk import get_current_context
from psycopg import sql

from include.common.names import Dag
from include.common.postgres import connect
from include.common.retention import REALTIME_DAYS
from include.common.thresholds import in_force
from include.orchestration.job_environment import features_dsn
from include.orchestration.maintain import Options

log = logging.getLogger(__name__)

POPULARITY_DAYS: Final = "popularity_window_days"
WITHIN: Final = timedelta(minutes=30)
"""For the stream to be done."""

_PUBLISHED: LiteralString = """
SELECT cut.generation, cut.ledger_position, cut.as_of
FROM ops.model_cuts AS cut JOIN ops.stream_generations AS generation USING (generation)
WHERE cut.published_at IS NOT NULL AND generation.status = 'current'
ORDER BY cut.published_at DESC LIMIT 1
"""
_UNFINISHED: LiteralString = """
SELECT max(request_id) FROM ops.prune_requests AS request
WHERE generation = %(generation)s AND NOT EXISTS (
    SELECT FROM ops.prunings AS done WHERE done.request_id = request.request_id AND done.finished_at IS NOT NULL
)
"""
_STATE: LiteralString = """
SELECT generation.status, readings, readers, episodes, finished_at
FROM ops.prune_requests JOIN ops.stream_generations AS generation USING (generation) LEFT JOIN ops.prunings USING (request_id)
WHERE request_id = %(request_id)s
"""


def ask_to_prune() -> int | None:
    """Ask the stream to remove what is old; the request's number, None where there is nothing to remove."""
    options = Options.of(get_current_context()["params"])
    with connect(features_dsn(), application_name=Dag.MAINTAIN) as connection:
        return ask_to_prune_in(connection, dry_run=options.dry_run)


def ask_to_prune_in(connection: psycopg.Connection, *, dry_run: bool = False) -> int | None:
    """As `ask_to_prune`. A request that the stream has not done yet is not made a second time.

    Rows stay at least as long as popularity looks back from the newest published cut. Readings beyond that cut stay, too:
    no mart has them yet.
    """
    published = connection.execute(_PUBLISHED).fetchone()
    if published is None:
        log.info("nothing to prune: no cut of the current generation is published yet (%s)", Dag.MODEL)
        return None
    generation, position, as_of = published
    waiting = connection.execute(_UNFINISHED, {"generation": generation}).fetchone()
    if waiting is not None and waiting[0] is not None:
        log.info("pruning %d was asked for before and is not done yet", waiting[0])
        return None if dry_run else int(waiting[0])
    thresholds = in_force(connection)
    days = thresholds[REALTIME_DAYS]
    before: datetime = _one(
        connection,
        "SELECT least(now() - %(days)s * interval '1 day', %(as_of)s - %(window)s * interval '1 day')",
        days=days, as_of=as_of, window=thresholds[POPULARITY_DAYS],
    )[0]  # fmt: skip
    found = _one(connection, _old(), changed_before=before, up_to_position=position)
    log.info(
        "%s%d readings, %d readers and %d episodes have not changed since %s; %d rows of progress are as old",
        "would be pruned: " if dry_run else "", *found[:3], before, found[3],
    )  # fmt: skip
    if dry_run or not any(found):
        return None
    request: int = _one(
        connection,
        "INSERT INTO ops.prune_requests (generation, changed_before, up_to_position)"
        " VALUES (%(generation)s, %(before)s, %(position)s) RETURNING request_id",
        generation=generation, before=before, position=position,
    )[0]  # fmt: skip
    return request


def is_pruned(request_id: int | None) -> bool:
    """Has the stream done what it was asked for, if it was asked?"""
    if request_id is None:
        return True
    with connect(features_dsn(), application_name=Dag.MAINTAIN) as connection:
        return is_pruned_in(connection, request_id)


def is_pruned_in(connection: psycopg.Connection, request_id: int) -> bool:
    """As `is_pruned`; also where its generation is the current one no longer, as nobody will do it then."""
    status, readings, readers, episodes, finished_at = _one(connection, _STATE, request_id=request_id)
    if finished_at is not None:
        log.info("pruning %d: %d readings, %d readers, %d episodes", request_id, readings, readers, episodes)
        return True
    if status != "current":
        log.info("pruning %d: its generation is %s now; the next run asks again", request_id, status)
        return True
    log.info(
        "pruning %d: the stream has removed %d readings so far; nothing moves? Is %s running?",
        request_id, readings or 0, Dag.SESSIONIZE,
    )  # fmt: skip
    return False


def _old() -> sql.Composed:
    """What the stream would remove: old readings, readers and episodes of whom no other reading is left, progress."""
    from include.spark_jobs.stream_sessionize.pruning import OLD_READING

    return sql.SQL(
        "SELECT (SELECT count(*) FROM realtime.session_features WHERE {old}),"
        " (SELECT count(*) FROM realtime.user_features AS row WHERE committed_at < %(changed_before)s AND NOT EXISTS"
        " (SELECT FROM realtime.session_features AS reading WHERE reading.user_id = row.user_id AND NOT ({old}))),"
        " (SELECT count(*) FROM realtime.episode_features AS row WHERE committed_at < %(changed_before)s AND NOT EXISTS"
        " (SELECT FROM realtime.session_features AS reading WHERE reading.episode_id = row.episode_id AND NOT ({old}))),"
        " (SELECT count(*) FROM ops.stream_progress WHERE observed_at < %(changed_before)s)"
    ).format(old=OLD_READING)


def _one(
    connection: psycopg.Connection, query: LiteralString | sql.Composed, **parameters: object
) -> tuple[Any, ...]:
    row = connection.execute(query, parameters).fetchone()
    if row is None:
        raise LookupError(f"no row: {query}")
    return row
