"""### Ops: watch freshness. Every published table against its SLO

Every 5 minutes one process asks the ledgers and the topic, for every table that readers use (realtime, serving,
marts, Hive): how long did what came in the last 10 minutes take from Kafka to the published row, and how old is the
oldest event that is not in it yet? 99 % must have been faster, and nothing may wait for longer, than the table's SLO:
`freshness_slo_s:<table>` in `reference.thresholds` (thresholds.csv, `reference__load`). A table with nothing new
because nothing was produced is idle, not late. History: `ops.freshness`; page *Freshness* in menu Browse.

Slack hears of a breach once, once an hour while it lasts, and when it has ended.
**Safe to run twice**: one more measurement. Trigger a new run; clearing an old one measures the present, too.
**Read by** the page, and `report__daily`. Runbook: `docs/runbooks/ops_watch_freshness.md`.
"""

from datetime import timedelta

from airflow.sdk import chain, dag, task

from include.common.names import Dag
from include.orchestration.freshness import tasks
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.WATCH_FRESHNESS,
    schedule="*/5 * * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.OPS, Tier.MEDIUM, deadline_after=timedelta(minutes=10)),
)
def ops_watch_freshness() -> None:
    """Measure -> tell."""
    chain(task(tasks.record_freshness)(), task(tasks.send_changes)())


ops_watch_freshness()
