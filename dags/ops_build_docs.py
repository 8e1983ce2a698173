"""### Ops: build docs. The dbt project as a page of the docs server

Runs after `features__model` has published (asset `feature_marts`) and ends at once unless the dbt project is another
than the one the page shows: then dbt reads the columns of the store and writes one static page, `dbt/index.html` of the
docs folder (natively `.stack/docs`, served beside the gates' Data Docs).

**Read by** people: models, columns, tests, lineage. **Skips** where nothing changed, or where there is no docs folder.
**Safe to run twice**; clearing and triggering anew are the same. Delete `dbt/manifest.sha256` there to have the page
built anew. **If it fails** nothing else does: the old page stays. Runbook: `docs/runbooks/ops_build_docs.md`.
"""

from datetime import timedelta

from airflow.sdk import chain, dag, task

from include.common.names import Dag
from include.orchestration.assets import FEATURE_MARTS
from include.orchestration.dbt import docs
from include.orchestration.dbt.cosmos_config import dbt_docs_operator
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.BUILD_DOCS,
    schedule=[FEATURE_MARTS],
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.OPS, Tier.LOW, deadline_after=timedelta(minutes=20)),
)
def ops_build_docs() -> None:
    """Has it changed -> build."""
    changed = task.short_circuit(task_id="find_change")(docs.find_change)()
    chain(changed, dbt_docs_operator("build_docs"))


ops_build_docs()
