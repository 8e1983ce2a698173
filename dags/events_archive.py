"""### Events archive: Kafka -> Hive `raw_events`, by slices that pass the raw gate

Every 10 minutes: fixes the offsets of a *slice* (from the end of the one before to the topic's end) in
`ops.archive_slices` **before** anything is read, stages it with Spark (accepted events, dead letters with
their reason), gates it, and publishes it to Hive `raw_events` (dt, hour by event time) or puts it into
`quarantined_events`. Dead letters go to `dead_letters` either way. Produced = archived + quarantined +
dead letters is checked by (partition, offset); a task fails if one offset is missing or double.

**Read by** whoever takes asset `hive_raw_events`. **Skips** where nothing new was produced.
**Safe to run twice**: a cleared run reads the very same offsets, and its files replace themselves. **Clear** a
failed run; a new trigger starts after it and leaves its slice unarchived until it is cleared.
**If the gate blocks**: the run is failed on purpose, the slice is in quarantine, Slack names the expectation;
see the runbook `events_archive`.
"""

from datetime import timedelta

from airflow.sdk import chain, dag, task

from include.common.names import Dag
from include.orchestration import archive
from include.orchestration.assets import RAW_EVENTS
from include.orchestration.gates import GateOperator
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy
from include.orchestration.spark_batch import SparkBatchOperator

RUNBOOK = "events_archive"


@dag(
    dag_id=Dag.ARCHIVE,
    schedule="*/10 * * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.EVENTS, Tier.HIGH, deadline_after=timedelta(minutes=20)),
)
def events_archive() -> None:
    """Record -> stage -> gate -> publish, or quarantine where the gate blocks."""
    slice_id = task.short_circuit(task_id=archive.RECORD_TASK)(archive.record_slice)(run_id="{{ run_id }}")
    stage = SparkBatchOperator(
        task_id=archive.STAGE_TASK,
        job="archive_events",
        application_args=["--slice-id", f"{{{{ ti.xcom_pull(task_ids='{archive.RECORD_TASK}') }}}}"],
    )
    gate = GateOperator(
        task_id=archive.GATE_TASK, gate=archive.GATE, subjects=archive.raw_gate_subjects, runbook=RUNBOOK
    )
    publish = task(task_id="publish_slice", outlets=[RAW_EVENTS])(archive.publish_slice)(slice_id=slice_id)
    quarantine = task(task_id="quarantine_slice", trigger_rule="one_failed")(archive.quarantine_slice)(
        slice_id=slice_id
    )
    chain(slice_id, stage, gate, [publish, quarantine])


events_archive()
