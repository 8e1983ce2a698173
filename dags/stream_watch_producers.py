"""### Stream: watch producers

Every 5 minutes: does the broker answer, is the events topic there with the expected partitions, is its newest
event young enough (Kafka time), has every platform sent something lately, is the stream near the topic's end?
One sensor a check, so the failed task is the finding. Checks that another one implies come after it: a broker
that is down is told once, not five times.

**Alerts**: Slack names the check, what was seen and allowed, since when, and the runbook; a check that goes on
failing is told again once an hour. Limits are the Airflow variables `webtoon_newest_event_limit_seconds`,
`webtoon_platform_silence_limit_seconds`, `webtoon_stream_lag_limit_records` and `webtoon_events_partitions`.
**An idle topic fails on purpose** once its newest event is older than the limit; pause the DAG where nobody produces.
**Safe to run twice**: it only reads. Trigger a new run; clearing an old one looks at the present, too.
Nobody reads its output. Runbook: `docs/runbooks/stream_watch_producers.md`.
"""

from datetime import timedelta

from airflow.sdk import chain, dag

from include.common.names import Dag
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy
from include.orchestration.sensors.kafka_sensors import (
    BrokerSensor,
    NewestEventSensor,
    PlatformSensor,
    StreamLagSensor,
    TopicSensor,
)

WAIT = timedelta(minutes=1)
"""A broker that is restarted is back by then. The other checks have their patience in their limits."""
LOOK_AGAIN_S = 20


@dag(
    dag_id=Dag.WATCH_PRODUCERS,
    schedule="*/5 * * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.STREAM, Tier.CRITICAL, deadline_after=timedelta(minutes=10), retries=0),
)
def stream_watch_producers() -> None:
    """Broker -> topic -> newest event -> platforms, and the stream's lag beside the last two."""
    broker = BrokerSensor(task_id="reach_broker", wait=WAIT, poke_interval=LOOK_AGAIN_S)
    topic = TopicSensor(task_id="find_topic", wait=WAIT, poke_interval=LOOK_AGAIN_S)
    newest = NewestEventSensor(task_id="check_newest_event")
    platforms = PlatformSensor(task_id="check_platforms")
    lag = StreamLagSensor(task_id="check_stream_lag")
    chain(broker, topic, newest, platforms)
    chain(topic, lag)


stream_watch_producers()
