"""### Features backfill: rebuild days from raw events

Run by hand, with a form: rebuilds a range of days of Hive's `session_features` from `raw_events` and
`quarantined_events` by the contract's engine, and compares the rows with what the partitions hold: equal, new, changed
(in which columns), gone. A dry run, the default, ends there: the outcome by day is in the log (and XCom `report`) of
`report_outcome`. Otherwise the days that differ pass the session gate and are published by the publisher's job, a new
folder each, with `content_quality_daily` of the same days; then `features__model` is triggered to rebuild the marts. With
`apply_late_events` it makes the late-corrected revision, which features__reconcile then knows of.

`plan_days` fails, and nothing is changed, where a day cannot be rebuilt: it names the day, the reason and the mend.
`realtime` and the daily partitions of the marts are not rebuilt: see the runbook.

**Read by** whoever reads Hive; asset `hive_batch_features`.
**Safe to run twice**: the second run finds every row equal and publishes nothing. After a failure clear the failed task:
days that were published stay, the others follow; or trigger anew. Runbook: `docs/runbooks/features_backfill.md`.
"""

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import chain, dag, task

from include.common.names import Dag
from include.orchestration import publish_batch
from include.orchestration.assets import BATCH_FEATURES
from include.orchestration.backfill import form, tasks
from include.orchestration.gates import GateOperator
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy
from include.orchestration.spark_batch import SparkBatchOperator

RUNBOOK = "features_backfill"
DAY_TAKES_AT_MOST = timedelta(hours=3)


@dag(
    dag_id=Dag.BACKFILL,
    schedule=None,
    start_date=START_DATE,
    doc_md=__doc__,
    params=form.PARAMS,
    **dag_policy(Domain.FEATURES, Tier.LOW, deadline_after=None),
)
def features_backfill() -> None:
    """Plan -> rebuild each day -> show, and end a dry run -> gate -> publish -> marts."""
    days = task(task_id=tasks.PLAN, execution_timeout=DAY_TAKES_AT_MOST)(tasks.plan_days)()
    rebuilt = task(
        task_id=tasks.REBUILD,
        max_active_tis_per_dagrun=tasks.DAYS_AT_ONCE,
        execution_timeout=DAY_TAKES_AT_MOST,
    )(tasks.rebuild_day).expand(day=days)
    report = task.short_circuit(task_id=tasks.REPORT)(tasks.report_outcome)(outcomes=rebuilt)
    gate = GateOperator(
        task_id="gate_sessions", gate=tasks.GATE, subjects=tasks.rebuilt_subjects, runbook=RUNBOOK
    )
    publish = SparkBatchOperator(
        task_id="publish_days",
        job="publish_features",
        application_args=["--run-id", "{{ run_id }}", "--backfill", tasks.STAGING],
    )
    verify = task(task_id="verify_counts", outlets=[BATCH_FEATURES])(publish_batch.verify_counts)(
        run_id="{{ run_id }}"
    )
    marts = TriggerDagRunOperator(
        task_id="refresh_marts", trigger_dag_id=Dag.MODEL, conf={"rebuild": True}, wait_for_completion=False
    )
    clean_up = task(task_id="remove_staging")(tasks.remove_staging)()
    chain(report, gate, publish, verify, [marts, clean_up])


features_backfill()
