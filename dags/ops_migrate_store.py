"""### Ops: migrate the stores

Brings the three stores to what this checkout expects: PostgreSQL (the files of `include/common/migrations`
that were not applied yet), Kafka (the events topic and the stream's control topic), Hive (database `webtoon` and
its tables, so that a reader never meets a missing one). What is there already stays as it is.

**Run by hand**: before the first run of any other DAG and after each update of the code. The form sets
partitions, replication and retention of a *new* events topic.
**Safe to run twice**; clearing and triggering anew are the same. The three tasks do not depend on each other.
**If it fails** the message says which file, topic or table differs and how to mend it; what was applied before
stays. Runbook: `docs/runbooks/ops_migrate_store.md`.
"""

from airflow.sdk import dag, task

from include.common.names import Dag
from include.orchestration import migrate_store
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.MIGRATE_STORE,
    schedule=None,
    start_date=START_DATE,
    doc_md=__doc__,
    params=migrate_store.PARAMS,
    **dag_policy(Domain.OPS, Tier.LOW, deadline_after=None),
)
def ops_migrate_store() -> None:
    """Database, topics and tables, side by side."""
    task(migrate_store.migrate_database, task_id="migrate_database")()
    task(migrate_store.create_topics, task_id="create_topics")()
    task(migrate_store.create_hive_tables, task_id="create_hive_tables")()


ops_migrate_store()
