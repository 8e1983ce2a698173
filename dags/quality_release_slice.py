"""### Quality release slice: a slice that the raw gate refused is released, or discarded

Run by hand, with a form: slice, decision, why. **Release**: its rows move from Hive `quarantined_events` to
`raw_events` as if the gate had passed them, and asset `hive_raw_events` says so; they come from quarantine itself,
so it works after Kafka and the staging folder have let go of the slice. **Discard**: its rows stay in quarantine,
marked, so that every offset is still accounted for. Who, why and when stand in `quality.quarantine_slices` and
`ops.archive_slices`. With `dry_run` it says what it would do.

**Read by** whoever takes asset `hive_raw_events`. **Safe to run twice**: what was decided stays as it is; another
decision on the same slice is refused. **Clear** a failed run: it goes on where it stopped.
Runbook: `docs/runbooks/quality_release_slice.md`.
"""

from airflow.sdk import chain, dag, task

from include.common.names import Dag
from include.orchestration import release_slice as tasks
from include.orchestration.assets import RAW_EVENTS
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.RELEASE_SLICE,
    schedule=None,
    start_date=START_DATE,
    doc_md=__doc__,
    params=tasks.PARAMS,
    **dag_policy(Domain.QUALITY, Tier.MEDIUM, deadline_after=None),
)
def quality_release_slice() -> None:
    """Decide, then release or discard; neither in a dry run."""
    decide = task.branch(tasks.decide, task_id=tasks.DECIDE_TASK)()
    release = task(tasks.release_slice, task_id=tasks.RELEASE_TASK, outlets=[RAW_EVENTS])()
    discard = task(tasks.discard_slice, task_id=tasks.DISCARD_TASK)()
    chain(decide, [release, discard])


quality_release_slice()
