"""### Stream: roll out. A new generation of the stream beside the current one, compared, swapped in or dropped

Run by hand, with a form: with changed rules or layout, or the same ones, from the earliest record that Kafka holds, a
timestamp or offsets. A second driver fills `realtime_shadow` while `stream__sessionize` goes on. Once it has caught up,
the row difference is shown (log and task `decide`, under Required Actions) and a person swaps it in or drops it; after
two days without an answer it is dropped. The swap is one transaction; the driver goes on as the current one until
`stream__sessionize` has started its own. With `roll_back` the generation before the current one is put in its place.

**Read by** everything that reads `realtime.*` and the ledger: rows and rules change for all of them at once.
**Safe to run twice**: a cleared task does not repeat what was done; a new run drops a shadow that an earlier one left.
Clear a failed task to go on. To begin anew mark the failed run failed first, which stops the driver of the shadow (until
then a new run stays queued), then trigger. Mark `run_shadow` failed to stop that driver only.
Runbook: `docs/runbooks/stream_roll_out.md`.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import HITLBranchOperator
from airflow.sdk import chain, dag, task
from airflow.task.trigger_rule import TriggerRule

from include.common.names import Dag
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy
from include.orchestration.roll_out import form, tasks
from include.orchestration.supervised_spark.operator import SupervisedSparkSubmitOperator

ANSWER_WITHIN = timedelta(days=2)
CATCH_UP_WITHIN = timedelta(days=1)
SWAP_IN, DROP = "Swap in", "Drop (or leave as it is)"


@dag(
    dag_id=Dag.ROLL_OUT,
    schedule=None,
    start_date=START_DATE,
    doc_md=__doc__,
    params=form.PARAMS,
    **dag_policy(Domain.STREAM, Tier.CRITICAL, deadline_after=None),
)
def stream_roll_out() -> None:
    """Plan, fill, compare, decide, then swap or drop."""
    plan = task.branch(tasks.plan_generation, task_id=tasks.PLAN)()
    run = SupervisedSparkSubmitOperator(
        task_id=tasks.RUN,
        driver_name="shadow_sessionize",
        application="include/spark_jobs/stream_sessionize/job.py",
        application_args=["--name", "shadow_sessionize", "--generation", tasks.GENERATION],
        retries=20,
        retry_delay=timedelta(seconds=5),
    )
    # holds its slot: a scheduler that is busy for longer than the interval takes a rescheduled task for a lost one
    level = task.sensor(
        tasks.is_level_now, task_id=tasks.AWAIT, mode="poke", poke_interval=2,
        timeout=CATCH_UP_WITHIN.total_seconds(), execution_timeout=CATCH_UP_WITHIN,
    )()  # fmt: skip
    # a roll-back has nothing to await
    compare = task(tasks.compare_generations, task_id=tasks.COMPARE, trigger_rule=TriggerRule.NONE_FAILED)()
    decide = HITLBranchOperator(
        task_id=tasks.DECIDE,
        subject=f"Generation {tasks.GENERATION}: swap it in?",
        body=tasks.REPORT,
        options=[SWAP_IN, DROP],
        options_mapping={SWAP_IN: tasks.SWAP, DROP: tasks.DROP},
        defaults=DROP,
        response_timeout=ANSWER_WITHIN,
    )
    swap = task(tasks.swap_generations, task_id=tasks.SWAP)(number=tasks.GENERATION)
    drop = task(tasks.drop_shadow, task_id=tasks.DROP)(number=tasks.GENERATION)
    chain(plan, [run, level, compare])
    chain(level, compare, decide, [swap, drop])


stream_roll_out()
