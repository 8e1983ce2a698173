"""### Ops: maintain the batch store

Every day at 03:30 UTC, or by hand: puts the small files that `events__archive` leaves into few of up to 128 MB
(`raw_events`, `quarantined_events`, `dead_letters`), drops Hive partitions and removes published landing files that
are older than their policy (`include/common/retention.py`, days in `reference.thresholds`), tells the Thrift
Server, and removes folders that no partition has pointed at for a day. A new folder is written, then the partition
points at it: readers see the old files or the new ones. No row changes.

Of `realtime` it asks the stream, its only writer, to remove readings, readers and episodes that have not changed for
14 days (`retention_realtime_days`), and rows of `ops.stream_progress` as old, and waits until that is done; the next
`features__model` rebuilds the marts then.

**By hand** the form has a dry run: the logs say what would be done, and nothing is. **Beside the archive** it is
safe: both hold the same lock while they change what a partition shows.
**Safe to run twice**; clearing and triggering anew are the same: the second run finds nothing left to do.
**If it fails** nothing else does, files stay many or old for a day longer. See the runbook `ops_maintain`.
"""

from datetime import timedelta

from airflow.sdk import chain, dag, task

from include.common.names import Dag, Pool
from include.orchestration import maintain, prune_realtime
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.MAINTAIN,
    schedule="30 3 * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    params=maintain.PARAMS,
    **dag_policy(Domain.OPS, Tier.MEDIUM, deadline_after=timedelta(hours=2)),
)
def ops_maintain() -> None:
    """Compact -> drop what is old -> tell readers -> remove what nobody needs; and the stream prunes realtime."""
    compact = task(task_id="compact_tables", pool=Pool.SPARK)(maintain.compact_tables)()
    drop = task(task_id="drop_expired_partitions")(maintain.drop_expired_partitions)()
    landing = task(task_id="remove_landing_files")(maintain.remove_landing_files)()
    refresh = task(task_id="refresh_readers")(maintain.refresh_readers)()
    sweep = task(task_id="remove_unreferenced_folders")(maintain.remove_unreferenced_folders)()
    asked = task(task_id="ask_to_prune")(prune_realtime.ask_to_prune)()
    task.sensor(
        task_id="await_pruning",
        mode="reschedule",
        poke_interval=20,
        timeout=prune_realtime.WITHIN.total_seconds(),
    )(prune_realtime.is_pruned)(asked)
    chain([compact, drop, landing], refresh, sweep)


ops_maintain()
