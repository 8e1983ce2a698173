"""### Privacy: prove erasures. The last search, when Kafka has let go of a reader, too

Every day at 04:30 UTC: for each erasure whose time on the topic has passed (`ops.erasures.kafka_clear_after`) every store
is searched again, Kafka included. Nothing found: `proven_at` is set and the encrypted id wiped, so that nothing of the
reader is left but a keyed hash. It tells of requests, too, that no run has brought to their end for three days.

**Read by** who answers for personal data: `ops.erasures`, `ops.erasure_searches`. **Safe to run twice**: what is proven is
not searched again. Clearing and triggering anew are the same. **If it fails**, the message names erasure, store and mend;
where the topic still holds the reader, somebody sends events of him still, and the next search comes when those
are too old. Runbook: `docs/runbooks/privacy_prove_erasures.md`.
"""

from datetime import timedelta

from airflow.sdk import dag, task

from include.common.names import Dag
from include.orchestration.erasure import prove
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy

SEARCH_WITHIN = timedelta(hours=8)


@dag(
    dag_id=Dag.PROVE_ERASURES,
    schedule="30 4 * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    **dag_policy(Domain.PRIVACY, Tier.MEDIUM, deadline_after=SEARCH_WITHIN),
)
def privacy_prove_erasures() -> None:
    """One task."""
    task(prove.prove_erasures, execution_timeout=SEARCH_WITHIN)()


privacy_prove_erasures()
