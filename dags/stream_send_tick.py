"""### Stream: send tick. The wall clock, as a record on the stream's control topic

Every minute: sends one record to `webtoon_stream_control`. Its Kafka timestamp closes sessions of an idle topic
*provisionally* (their status is served, their state is kept), so that a reader who just stopped does not stay
"active" until somebody else reads on. Timers in Spark would make it run empty micro-batches for ever.

**Read by** `stream__sessionize`. **Safe to run twice**: a second tick in a minute changes nothing.
**After a failure** do nothing: the next minute sends the next tick. Clearing an old run is useless and harmless.
Runbook: `docs/runbooks/stream_send_tick.md`.
"""

from datetime import timedelta

from airflow.providers.apache.kafka.operators.produce import ProduceToTopicOperator
from airflow.sdk import dag

from include.common.names import Conn, Dag, Topic
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.SEND_TICK,
    schedule="* * * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.STREAM, Tier.HIGH, deadline_after=timedelta(minutes=5)),
)
def stream_send_tick() -> None:
    """One record."""
    ProduceToTopicOperator(
        task_id="send_tick",
        kafka_config_id=Conn.KAFKA,
        topic=Topic.STREAM_CONTROL,
        producer_function="include.orchestration.ticks.one_tick",
        delivery_callback="include.orchestration.ticks.require_delivery",
    )


stream_send_tick()
