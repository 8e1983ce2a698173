"""privacy__prove_erasures: the search once more, Kafka included, when the topic's retention has passed."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from airflow.sdk.exceptions import AirflowSkipException

from include.common.erasure.erasures import checked_key, find_erasure
from include.common.names import Dag, Pg
from include.common.postgres import connect
from include.orchestration.erasure.finding import FoundError, NotSearchedError
from include.orchestration.erasure.places import find_places, subject_of
from include.orchestration.erasure.search import (
    Places,
    record_findings,
    require_nothing,
    search_kafka,
    search_stores,
    stores_not_searched,
)
from include.orchestration.erasure.search_kafka import retention_of
from include.orchestration.job_environment import erasure_secret, features_dsn

log = logging.getLogger(__name__)

OVERDUE_AFTER: Final = timedelta(days=3)
"""A request that no run has brought to its end by then is told."""


@dataclass(frozen=True)
class Due:
    """Erasures to prove, and those that wait for somebody."""

    to_prove: list[int]
    overdue: list[int]


def find_due(connection: psycopg.Connection, now: datetime) -> Due:
    """Whose time on the topic has passed at `now`, and who has no such time OVERDUE_AFTER the request."""
    rows = connection.execute(
        f"SELECT erasure_id, kafka_clear_after IS NOT NULL FROM {Pg.ERASURES}"  # noqa: S608  a constant
        " WHERE subject_encrypted IS NOT NULL AND (kafka_clear_after <= %s OR kafka_clear_after IS NULL AND requested_at <= %s)"
        " ORDER BY erasure_id",
        (now, now - OVERDUE_AFTER),
    ).fetchall()
    return Due([row[0] for row in rows if row[1]], [row[0] for row in rows if not row[1]])


def prove_erasures() -> list[int]:
    """Search for everybody who is due; whose search finds nothing is proven, and the id forgotten. Returns their numbers.

    Raises FoundError after all of them, naming those who were found or wait too long; AirflowSkipException where
    nobody is due.
    """
    with connect(features_dsn(), application_name=Dag.PROVE_ERASURES) as connection:
        due = find_due(connection, datetime.now(UTC))
        connection.commit()
        if not due.to_prove and not due.overdue:
            raise AirflowSkipException("nobody's time on the topic has passed")
        key, places = checked_key(erasure_secret()), find_places()
        proven, faults = [], []
        for number in due.to_prove:
            try:
                prove(connection, places, number, subject_of(find_erasure(connection, key, number)))
                proven.append(number)
            except (FoundError, NotSearchedError) as error:
                faults.append(str(error))
    faults += [
        f"erasure {number} was requested more than {OVERDUE_AFTER.days} days ago and has not ended: look at the runs of "
        f"{Dag.ERASE_USER}, or trigger it with this number"
        for number in due.overdue
    ]
    if faults:
        raise FoundError(" | ".join(faults))
    return proven


def prove(connection: psycopg.Connection, places: Places, erasure_id: int, user_id: str) -> None:
    """Search all stores and the topic; forget the id where nothing is found. Commits.

    Where the topic still holds the reader the date is moved on, so that the next search comes when there is something to
    hope for. Raises FoundError, NotSearchedError.
    """
    filed = connection.execute(
        f"SELECT requested_at FROM {Pg.ERASURES} WHERE erasure_id = %s",  # noqa: S608  a constant
        (erasure_id,),
    ).fetchone()
    requested_at = filed[0] if filed else None
    connection.commit()
    kafka, newest = search_kafka(places, user_id)
    findings = [*search_stores(places, user_id, stores_not_searched()), kafka]
    record_findings(connection, erasure_id, findings)
    if newest is not None:
        retention = retention_of(places.kafka, places.topic)
        connection.execute(
            f"UPDATE {Pg.ERASURES} SET kafka_clear_after = %s WHERE erasure_id = %s AND requested_at = %s",  # noqa: S608  a constant
            (None if retention.is_endless else retention.clear_after(newest), erasure_id, requested_at),
        )
    connection.commit()
    require_nothing(erasure_id, findings)
    proven = connection.execute(
        f"UPDATE {Pg.ERASURES} SET subject_encrypted = NULL, proven_at = clock_timestamp()"  # noqa: S608  a constant
        " WHERE erasure_id = %s AND requested_at = %s",
        (erasure_id, requested_at),
    ).rowcount
    connection.commit()
    if not proven:
        raise FoundError(
            f"erasure {erasure_id} was requested again while it was searched for: its new run goes on"
        )
    log.info(
        "erasure %d is proven: no store and no record of the topic holds the reader, whose id is forgotten",
        erasure_id,
    )
