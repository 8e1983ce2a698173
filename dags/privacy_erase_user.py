"""### Privacy: erase user. One reader is forgotten, in every store, and searched for afterwards

Run by hand, with a form: the `user_id` and why. The run that the form starts files the request in `ops.erasures` (the id
encrypted) and starts a second run, which does the work and deletes the first, because Airflow keeps a run's form: look for
the run with an `erasure_id`. Each store's own writer removes its rows: the stream first (it restarts by itself and drops
what still comes from Kafka), then the archive, the marts through a whole rebuild, the Hive tables, what Airflow keeps
itself, and pages. Then every store is searched byte by byte. What Kafka holds goes with its retention;
`privacy__prove_erasures` searches again then.

**Read by** who answers for personal data: `ops.erasures` (a keyed hash, no id), `ops.erasure_steps`,
`ops.erasure_searches`. **Safe to run twice**: everything is done anew and removes nothing. **If it fails**, nothing is
proven: the message names the store and the mend; clear the failed task to go on, do not trigger anew.
Runbook: `docs/runbooks/privacy_erase_user.md`.
"""

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import chain, dag, task

from include.common.names import Dag, Pool
from include.orchestration.erasure import batch_steps, request, stream_step, tasks
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy

NUMBER = f"{{{{ ti.xcom_pull(task_ids='{request.FILE}', key='{request.NUMBER}') }}}}"
SEARCH_WITHIN = timedelta(hours=6)
REWRITE_WITHIN = timedelta(hours=6)


@dag(
    dag_id=Dag.ERASE_USER,
    schedule=None,
    start_date=START_DATE,
    doc_md=__doc__,
    params=request.PARAMS,
    render_template_as_native_obj=True,
    **dag_policy(Domain.PRIVACY, Tier.CRITICAL, deadline_after=None),
)
def privacy_erase_user() -> None:
    """File the request and start anew by its number; then stream, batch store, Airflow and pages, search, record."""
    file = task.branch(request.file_request, task_id=request.FILE)()
    start = TriggerDagRunOperator(
        task_id=request.START,
        trigger_dag_id=Dag.ERASE_USER,
        trigger_run_id=f"erasure_{NUMBER}__{{{{ dag_run.run_after.isoformat() }}}}",
        conf={request.NUMBER: NUMBER},
        skip_when_already_exists=True,
    )
    stream = task.sensor(
        stream_step.is_stream_done, task_id=request.AWAIT, mode="reschedule", poke_interval=10,
        timeout=2 * stream_step.WAIT.total_seconds(),
    )(erasure_id=NUMBER)  # fmt: skip
    archive = task(
        batch_steps.erase_from_archive, pool=Pool.SPARK, execution_timeout=REWRITE_WITHIN
    )(erasure_id=NUMBER)  # fmt: skip
    model = TriggerDagRunOperator(
        task_id="build_marts",
        trigger_dag_id=Dag.MODEL,
        conf={"rebuild": True},
        wait_for_completion=True,
        deferrable=True,
        poke_interval=10,
        fail_when_dag_is_paused=True,
    )
    marts = task(batch_steps.erase_from_marts)(erasure_id=NUMBER)
    features = task(
        batch_steps.erase_from_features, pool=Pool.SPARK, execution_timeout=REWRITE_WITHIN
    )(erasure_id=NUMBER)  # fmt: skip
    airflow = task(tasks.erase_from_airflow)(erasure_id=NUMBER)
    pages = task(tasks.erase_from_pages)(erasure_id=NUMBER)
    search = task(tasks.search_all_stores, execution_timeout=SEARCH_WITHIN)(erasure_id=NUMBER)
    record = task(tasks.record_erasure, execution_timeout=SEARCH_WITHIN)(erasure_id=NUMBER)
    chain(file, [start, stream])
    chain(stream, archive, model, marts, features, airflow, pages, search, record)


privacy_erase_user()
