"""### Features reconcile: stream = batch

Every day, after the archive and the publisher have come past midnight: recomputes days of Hive's `session_features` from
`raw_events` and `quarantined_events`, less the offsets in `quality.late_events`, in SQL that shares nothing with the
stream, and compares every feature of every row: equal, different, only in Hive, only recomputed, doubled. The late list
is checked as well. By itself it takes all days whose rows were published since they were last found equal; the form takes
a range of days.

A day is compared once it is closed: all its sessions are final and published, and the archive has come past them. A day
that is not is reported as not checked, with the reason.

**Read by** people: table `quality.reconciliation` (history), page `reconciliation/` of the docs folder.
**Alerts**: one differing row fails `compare_days`; Slack names days, columns and counts. It is not retried.
**Safe to run twice**: it reads, and adds its findings. To look again clear the run, or trigger one with the days.
Runbook: `docs/runbooks/features_reconcile.md`.
"""

from datetime import timedelta

from airflow.sdk import dag, task

from include.common.names import Dag
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy
from include.orchestration.reconcile import tasks


@dag(
    dag_id=Dag.RECONCILE,
    schedule="15 3 * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    params=tasks.PARAMS,
    **dag_policy(Domain.FEATURES, Tier.HIGH, deadline_after=timedelta(hours=4)),
)
def features_reconcile() -> None:
    """Which days -> compare them."""
    days = task.short_circuit(task_id="find_days")(tasks.find_days)()
    task(task_id="compare_days", execution_timeout=timedelta(hours=3))(tasks.compare_days)(
        days=days, run_id="{{ run_id }}"
    )


features_reconcile()
