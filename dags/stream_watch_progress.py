"""### Stream: watch progress

Every minute: does the stream commit, does it fall behind, how many of its records are dead letters, is it fresh
enough? One process asks the ledger and Kafka; only a check that found a fault becomes a task that runs, and fails:
the failed task is the finding, skipped ones are well. A stream that commits nothing is told as that alone.

**It also stops a paused stream**: `stream__sessionize` is deferred and has no process that could see that it was
paused, so this DAG looks and has the driver stopped; that of `stream__roll_out`, too. Do not pause it before them.

**Alerts**: Slack names figure, limit, since when, and the section of the runbook; a fault that stays is told once an
hour. Limits are the Airflow variables `webtoon_stream_progress_limit_seconds`,
`webtoon_stream_lag_growth_limit_records`, `webtoon_dead_letter_limit_percent` and `webtoon_freshness_limit_seconds`;
shares and freshness are of the last ten minutes. Restarts in a loop are told by `stream__sessionize` itself.
**Safe to run twice**: it reads, and asks a paused stream to stop. Trigger a new run; clearing an old one looks at the
present, too. Nobody reads its output. Runbook: `docs/runbooks/stream_watch_progress.md`.
"""

from datetime import timedelta

from airflow.sdk import dag, task

from include.common.names import Dag
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy
from include.orchestration.stream_checks.faults import CHECKS
from include.orchestration.stream_checks.tasks import LOOK_TASK, FaultOperator, find_faults


@dag(
    dag_id=Dag.WATCH_PROGRESS,
    schedule="* * * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.STREAM, Tier.CRITICAL, deadline_after=timedelta(minutes=5), retries=0),
)
def stream_watch_progress() -> None:
    """One look, then a task for each fault."""
    look = task.branch(task_id=LOOK_TASK)(find_faults)()
    look >> [FaultOperator(task_id=check) for check in CHECKS]


stream_watch_progress()
