"""### Report: daily. One page about a day, and a short message that links it

Every day at 03:00 UTC, about the day before (most of its sessions are final and published by then), or by hand with
a form about any day that is over. Events, readings, completion and exit by country and genre against the same day of
the week before, most read and falling episodes, gates, quarantine, freshness against SLO, deadlines missed. Readings
are the final ones that Hive shows for the day; the page says which cut they are of.

**Read by** people: `reports/<date>.html` and `reports/index.html` of the docs folder; Slack has the link. No personal
ids. **Safe to run twice**: the same figures give the same page. Clearing and triggering anew are the same, and tell
Slack again. Skips where there is no docs folder. Runbook: `docs/runbooks/report_daily.md`.
"""

from datetime import timedelta

from airflow.sdk import dag, task

from include.common.names import Dag
from include.orchestration.daily_report import tasks
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.REPORT_DAILY,
    schedule="0 3 * * *",
    start_date=START_DATE,
    doc_md=__doc__,
    params=tasks.PARAMS,
    **dag_policy(Domain.REPORT, Tier.LOW, deadline_after=timedelta(hours=1)),
)
def report_daily() -> None:
    """Build -> tell."""
    report = task(tasks.build_report)()
    task(tasks.send_summary)(report=report)


report_daily()
