"""DAGs of `benchmarks.dbt_modes` alone: the model without its gates, its dbt tasks in each of Cosmos' execution modes."""

from airflow.sdk import chain, dag, task
from cosmos.constants import ExecutionMode

from include.orchestration.dbt.cosmos_config import MODELS, dbt_group
from include.orchestration.model import tasks
from include.orchestration.policy import START_DATE


def _model(mode: ExecutionMode) -> None:
    @dag(dag_id=f"bench__dbt_{mode.value}", schedule=None, start_date=START_DATE, max_active_runs=1)
    def model() -> None:
        cut = task(tasks.fix_cut, task_id=tasks.FIX_CUT_TASK)(run_id="{{ run_id }}")
        group = dbt_group("dbt", *MODELS, full_refresh=tasks.FULL_REFRESH, execution_mode=mode)
        chain(cut, group, task(tasks.publish, task_id="publish")(cut=cut))

    model()


for each in (ExecutionMode.LOCAL, ExecutionMode.WATCHER):
    _model(each)
