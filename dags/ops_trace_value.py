"""### Ops: trace value. Where does a served or trained value come from?

Run by hand, with a form: a row or value (`marts.user_features/u42/user_exit_rate`) is followed back to its cut and gate
results, its readings, the stream's micro-batches, Kafka offsets and archive slices, and on to the raw events, and is
added up anew from them. The same as `make trace`, for people without a shell.

**Read by** whoever asked: a page under `trace/` of the docs folder (natively `.stack/docs`, on the docs server), its
place is what the task returns; the text stands in the task's log. Ids that were typed stand in it, no others do; pages
are kept for a week. **Safe to run twice**: it only reads; clearing writes the same page anew. **If it fails**, the log
says why: mend the value and trigger anew. A value that differs is told, and fails nothing.
Runbook: `docs/runbooks/ops_trace_value.md`.
"""

from airflow.sdk import dag, task

from include.common.names import Dag
from include.orchestration import trace_value
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.TRACE_VALUE,
    schedule=None,
    start_date=START_DATE,
    doc_md=__doc__,
    params=trace_value.PARAMS,
    **dag_policy(Domain.OPS, Tier.LOW, deadline_after=None),
)
def ops_trace_value() -> None:
    """One task."""
    task(trace_value.trace_value, task_id="trace_value")(
        value="{{ params.traced_value }}", limit="{{ params.limit }}", run_id="{{ run_id }}"
    )


ops_trace_value()
