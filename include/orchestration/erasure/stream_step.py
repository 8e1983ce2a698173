"""Waiting for the stream: it sees the request by itself, restarts and takes the reader out of all that it owns.

A tick wakes it, because an idle topic gives it no micro-batch to look in.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from airflow.sdk.exceptions import AirflowFailException

from include.common.names import Dag, Pg, Topic
from include.common.postgres import connect
from include.orchestration.job_environment import features_dsn, kafka_client_config
from include.orchestration.supervised_spark.pause import is_paused
from include.orchestration.ticks import one_tick, require_delivery

log = logging.getLogger(__name__)

WAIT: Final = timedelta(minutes=30)
_FLUSH_S: Final = 20.0


def is_stream_done(*, erasure_id: int, dag_run: Any) -> bool:
    """Has the stream done its part? Sends it a tick if not.

    Raises AirflowFailException when it has not within WAIT of the run's start, saying what keeps it.
    """
    number = int(erasure_id)
    if _is_recorded(number):
        return True
    paused = is_paused(Dag.SESSIONIZE)
    why = (
        f"{Dag.SESSIONIZE} is paused: unpause it"
        if paused
        else f"{Dag.SESSIONIZE} has not done its part of erasure {number} yet: is its driver running (its task's log, "
        f"{Dag.WATCH_PROGRESS})?"
    )
    waited = datetime.now(UTC) - dag_run.start_date
    if waited > WAIT:
        raise AirflowFailException(
            f"{why} Nothing else was removed. Mend it, then clear this task: waited for {WAIT.seconds // 60} minutes"
        )
    if paused:
        log.warning("%s", why)
    else:
        log.info("%s A tick is sent", why)
        send_tick(kafka_client_config())
    return False


def send_tick(client_config: dict[str, str]) -> None:
    """One record on the stream's control topic. Raises TickNotSentError."""
    from confluent_kafka import Producer

    producer = Producer({key: value for key, value in client_config.items() if key != "group.id"})
    for key, value in one_tick():
        producer.produce(Topic.STREAM_CONTROL, value=value, key=key, on_delivery=require_delivery)
    producer.flush(_FLUSH_S)


def _is_recorded(erasure_id: int) -> bool:
    with connect(features_dsn(), application_name=Dag.ERASE_USER) as connection:
        row = connection.execute(
            f"SELECT 1 FROM {Pg.ERASURE_STEPS} WHERE erasure_id = %s AND store = 'stream'",  # noqa: S608  a constant
            (erasure_id,),
        ).fetchone()
    return row is not None
