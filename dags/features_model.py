"""### Features model: closed readings become published marts

Every 10 minutes: fixes a *cut* (one ledger position; final readings up to it never change again), gates the readings
that became final since the published cut, computes what they change with dbt into the candidate marts, gates the
candidate, and publishes it in one transaction. Where the candidate cannot be gone on from, or the form says `rebuild`,
everything is read and computed anew; `fix_cut` logs why.
Readers (the feature API through `serving.*`, `features__publish_batch` by asset `feature_marts`) never see a
row that has not passed; after a failure the marts stay as they were.

**Skips** where no reading is final yet, or (a cleared old run) where a newer cut is published.
**Safe to run twice**: a cleared run reads the same cut again. Clear the newest run; instead of clearing an
older one trigger a new run. **If a gate blocks**, the cut is rejected and Slack names the expectation.
Runbook: `docs/runbooks/features_model.md`.
"""

from datetime import timedelta

from airflow.sdk import chain, dag, task

from include.common.names import Dag
from include.orchestration.assets import FEATURE_MARTS
from include.orchestration.dbt.cosmos_config import MODELS, dbt_group
from include.orchestration.gates import GateOperator
from include.orchestration.model import tasks
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy

RUNBOOK = "features_model"
EVERY = timedelta(minutes=10)
DEADLINE_AFTER = timedelta(minutes=20)


@dag(
    dag_id=Dag.MODEL,
    schedule=EVERY,
    start_date=START_DATE,
    doc_md=__doc__,
    params=tasks.PARAMS,
    **dag_policy(Domain.FEATURES, Tier.CRITICAL, deadline_after=DEADLINE_AFTER),
)
def features_model() -> None:
    cut = task(tasks.fix_cut, task_id=tasks.FIX_CUT_TASK)(
        run_id="{{ run_id }}", rebuild="{{ params.rebuild }}"
    )
    gate_sessions = GateOperator(
        task_id="gate_sessions",
        gate=tasks.SESSION_GATE,
        subjects=tasks.session_subjects,
        on_rejected=tasks.reject_cut,
        runbook=RUNBOOK,
    )
    marts = dbt_group("dbt", *MODELS, full_refresh=tasks.FULL_REFRESH)
    gate_marts = GateOperator(
        task_id="gate_marts",
        gate="feature_marts",
        subjects=tasks.mart_subjects,
        on_rejected=tasks.reject_cut,
        runbook=RUNBOOK,
    )
    publish = task(tasks.publish, task_id="publish", outlets=[FEATURE_MARTS])(cut=cut)
    chain(cut, gate_sessions, marts, gate_marts, publish)


features_model()
