"""### Stream: sessionize. Reading events become rows of `realtime.*`, within seconds, for ever

Always on: one task starts a Spark driver that runs detached, and is deferred from then on: a trigger watches, no
worker slot is held. The driver outlives the death of task, worker, triggerer and Airflow; whoever comes next
reconnects to it. It keeps open sessions in its checkpoint, commits one PostgreSQL transaction a micro-batch
(`realtime.*`, the ledger `ops.stream_batches`) and lands closed readings for `features__publish_batch`; the button
*Stream progress* on the task shows how it got on. It is restarted with back-off (5 s, doubled up to 1 min) when it fails, loses its
heartbeat, or commits nothing while records wait; of a restart loop Slack is told at restarts 1, 2, 4, 8 and every eighth.

**Read by** the feature API (`serving.*`), `features__model` and `features__publish_batch` by the ledger.
**Safe to run twice**: there is one driver, a second start finds it; a repeated micro-batch is not applied again.
**To stop it** pause the DAG: `stream__watch_progress` sees that within a minute, and the driver finishes its
micro-batch; unpause to go on. To stop it at once, pause it and mark the run failed. **To restart it** (after an
update, say) clear the task. No deadline, since it never ends: freshness and restarts are its alarms.
Runbook: `docs/runbooks/stream_sessionize.md`.
"""

from datetime import timedelta

from airflow.sdk import dag

from include.common.names import Dag
from include.orchestration.alerts import restart_callback
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy
from include.orchestration.progress_page.link import ProgressLink
from include.orchestration.supervised_spark.operator import SupervisedSparkSubmitOperator

RESTARTS = 200
"""Of one run, four hours of a restart loop; the next run begins at once, with a short back-off again."""


@dag(
    dag_id=Dag.SESSIONIZE,
    schedule="@continuous",
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.STREAM, Tier.CRITICAL, deadline_after=None),
)
def stream_sessionize() -> None:
    """One supervised driver."""
    SupervisedSparkSubmitOperator(
        task_id="supervise_stream",
        driver_name="sessionize",
        application="include/spark_jobs/stream_sessionize/job.py",
        links=[ProgressLink()],
        stalled="include.orchestration.stream_health.stream_stall_probe",
        retries=RESTARTS,
        retry_delay=timedelta(seconds=5),
        max_retry_delay=timedelta(minutes=1),
        execution_timeout=None,
        on_retry_callback=restart_callback,
    )


stream_sessionize()
