"""### Features publish batch: closed readings and marts -> Hive

Runs when `features__model` has published (asset `feature_marts`): a Spark job brings Hive to the newest
published cut. Closed readings of landing files that the ledger lists (bytes checked against its hash) go to
`session_features` (dt by started_at), and how each episode was read on the same days to `content_quality_daily`.
The marts go to `user_features_daily`, `episode_features_daily`, `segment_features_daily` (dt of the cut), rows that
changed in them to `user_feature_history` and `episode_feature_history` (dt of known_at), which are only added to.
Touched partitions are written whole to new folders, then point at them. A partition sensor guards what follows: the
counts that readers see through HiveServer2 must be those that were published. Then what the histories hold leaves
the outbox `ops.mart_changes`, and folders that neither a partition nor the last two publications name are removed.

**Read by** whoever takes asset `hive_batch_features`. **Skips** where no cut is published yet.
**Safe to run twice**: same rows, in new folders; a history gets no row twice. Clearing or triggering anew are the
same; both bring Hive to the newest cut. See the runbook `features_publish_batch`.
"""

from datetime import timedelta

from airflow.providers.apache.hive.sensors.named_hive_partition import NamedHivePartitionSensor
from airflow.sdk import chain, dag, task

from include.common.names import Conn, Dag
from include.orchestration import publish_batch
from include.orchestration.assets import BATCH_FEATURES, FEATURE_MARTS
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy
from include.orchestration.spark_batch import SparkBatchOperator


@dag(
    dag_id=Dag.PUBLISH_BATCH,
    schedule=[FEATURE_MARTS],
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.FEATURES, Tier.HIGH, deadline_after=timedelta(minutes=20)),
)
def features_publish_batch() -> None:
    """Publish -> wait for the partitions -> compare counts -> empty the outbox, clean up."""
    publish = SparkBatchOperator(
        task_id="publish_features", job="publish_features", application_args=["--run-id", "{{ run_id }}"]
    )
    partitions = task.short_circuit(task_id="list_partitions")(publish_batch.list_partitions)(
        run_id="{{ run_id }}"
    )
    wait = NamedHivePartitionSensor(
        task_id="await_partitions",
        partition_names=partitions,
        metastore_conn_id=Conn.METASTORE,
        mode="reschedule",
        poke_interval=10,
        timeout=300,
    )
    verify = task(task_id="verify_counts", outlets=[BATCH_FEATURES])(publish_batch.verify_counts)(
        run_id="{{ run_id }}"
    )
    empty = task(task_id="remove_brought_changes")(publish_batch.remove_brought_changes)()
    clean_up = task(task_id="remove_old_folders")(publish_batch.remove_old_folders)()
    chain(publish, partitions, wait, verify, [empty, clean_up])


features_publish_batch()
