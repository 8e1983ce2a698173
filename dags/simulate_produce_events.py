"""### Simulate: produce events. Readers who are not there, for demos and tests

Run by hand, with a form: how many events of which period (as fast as it goes) or at which rate (live), and which
share of each kind of trouble, or a JSON Lines file to replay byte for byte. Sends to the topic of connection
`kafka_default`; the task's return value has the counts. Same seed and start: same bytes. Clearing or failing the
running task stops it in good order.

**Read by** everything that reads the topic: don't point it at a topic that real readers write to.
**Safe to run twice** in that nothing breaks; each run produces events of its own. Clearing a run sends a new lot:
trigger anew instead. Runbook: `docs/runbooks/simulate_produce_events.md`.
"""

from airflow.sdk import dag, task

from include.common.names import Dag
from include.orchestration import simulate
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.PRODUCE_EVENTS,
    schedule=None,
    start_date=START_DATE,
    doc_md=__doc__,
    params=simulate.PARAMS,
    **dag_policy(Domain.SIMULATE, Tier.LOW, deadline_after=None),
)
def simulate_produce_events() -> None:
    """One producer."""
    task(simulate.produce_events, task_id="produce_events", execution_timeout=simulate.TASK_LIMIT)()


simulate_produce_events()
