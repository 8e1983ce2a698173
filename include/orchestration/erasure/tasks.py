"""Tasks of privacy__erase_user beside those of the batch store (`batch_steps`) and the stream (`stream_step`)."""

import logging
from datetime import UTC, datetime

import psycopg

from include.common.erasure.erasures import record_step
from include.common.erasure.needles import Needles
from include.common.names import Pg
from include.orchestration.erasure.airflow_rest import airflow_rest
from include.orchestration.erasure.airflow_traces import erase_files, erase_runs, runs_with
from include.orchestration.erasure.finding import FoundError, NotSearchedError
from include.orchestration.erasure.places import airflow_dsn, find_places, logs_dir, open_subject
from include.orchestration.erasure.search import (
    AIRFLOW,
    record_findings,
    require_nothing,
    search_kafka,
    search_stores,
    stores_not_searched,
)
from include.orchestration.erasure.search_kafka import retention_of
from include.orchestration.erasure.search_postgres import refresh_statistics
from include.orchestration.job_environment import features_dsn

log = logging.getLogger(__name__)

AIRFLOW_STEP, PAGES_STEP = "airflow", "pages"


def erase_from_airflow(*, erasure_id: int) -> int:
    """Delete runs whose form or values hold the id, their logs, and other logs that do; returns how many runs and files.

    The form's own run is one of them. Raises AirflowRefusedError while such a run goes on, NotSearchedError without access.
    """
    number = int(erasure_id)
    with open_subject(number) as (connection, user_id):
        needles, dsn, logs = Needles(user_id), airflow_dsn(), logs_dir()
        removed = 0
        if dsn is not None:
            runs = runs_with(dsn, needles)
            if runs:
                removed += erase_runs(runs, airflow_rest().delete_run, logs)
            _refresh_statistics(dsn, needles)
        elif AIRFLOW not in stores_not_searched():
            raise NotSearchedError(
                "without connection airflow_metadata nobody can tell which runs of Airflow hold the id: set it (runbook)"
            )
        if logs is not None:
            removed += erase_files(logs, needles)
        record_step(connection, number, AIRFLOW_STEP, removed)
    return removed


def erase_from_pages(*, erasure_id: int) -> int:
    """Remove pages of the docs folder (traces, reports, Data Docs) that show the id; returns how many.

    Afterwards the feature database's statistics, which sample its columns, are made anew where they hold it.
    """
    number = int(erasure_id)
    with open_subject(number) as (connection, user_id):
        needles, docs = Needles(user_id), find_places().docs_dir
        removed = 0 if docs is None else erase_files(docs, needles)
        refresh_statistics(features_dsn(), needles)
        record_step(connection, number, PAGES_STEP, removed)
    return removed


def search_all_stores(*, erasure_id: int) -> None:
    """Search every store but Kafka and record what was found. Raises FoundError, NotSearchedError."""
    number = int(erasure_id)
    with open_subject(number) as (connection, user_id):
        connection.commit()  # no transaction stays open over the search
        findings = search_stores(find_places(), user_id, stores_not_searched())
        record_findings(connection, number, findings)
        connection.commit()
    require_nothing(number, findings)


def record_erasure(*, erasure_id: int) -> str:
    """Count what Kafka still holds and write when it will be gone; the reader is erased. Returns that time.

    Raises FoundError where the topic keeps its records for ever.
    """
    number = int(erasure_id)
    places = find_places()
    with open_subject(number) as (connection, user_id):
        connection.commit()
        finding, newest = search_kafka(places, user_id)
        record_findings(connection, number, [finding])
        retention = retention_of(places.kafka, places.topic)
        endless = newest is not None and retention.is_endless
        clear_after = None if endless else (retention.clear_after(newest) if newest else datetime.now(UTC))
        connection.execute(
            f"UPDATE {Pg.ERASURES} SET erased_at = clock_timestamp(), kafka_clear_after = %s WHERE erasure_id = %s",  # noqa: S608  a constant
            (clear_after, number),
        )
        connection.commit()
    if clear_after is None:
        raise FoundError(
            f"every store but Kafka has forgotten the reader of erasure {number}; {places.topic} holds {finding.found} records "
            f"and keeps them for ever: set its retention.ms, then clear this task"
        )
    log.info(
        "erasure %d: no store holds the reader. %s holds %d records still, until %s; privacy__prove_erasures searches then",
        number, places.topic, finding.found, clear_after.isoformat(timespec="seconds"),
    )  # fmt: skip
    return clear_after.isoformat(timespec="seconds")


def _refresh_statistics(dsn: str, needles: Needles) -> None:
    try:
        refresh_statistics(dsn, needles)
    except psycopg.errors.InsufficientPrivilege:
        log.warning(
            "the role of connection airflow_metadata may not ANALYZE: the search tells whether it must"
        )
