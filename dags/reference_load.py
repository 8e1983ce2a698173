"""### Reference load: titles, episodes, time zones, experiments, thresholds -> PostgreSQL `reference`

Loads a whole reference from CSV files (form: a folder, or `simulator` for the simulated service's own catalogue).
All files are checked before anything is replaced; every fault is told with file, line and mend. Then one
transaction: unchanged rows stay, changed ones are closed and opened anew (valid_from, valid_to), rows that vanished
are closed. Thresholds are set only by a thresholds.csv; a value that somebody set stays without one. A load that
would remove more than 10 % or change more than half of a table's rows (thresholds `reference_removed_share`,
`reference_changed_share`) fails and says what it would do, unless `allow_mass_change` is set. What is valid and looks
wrong (an episode read before its launch, removed though it is read, ...) is a warning in the log.

**Run by hand**, after `ops__migrate_store` and whenever the catalogue changes. `dry_run` reports what would change.
**Read by** the raw gate (known episodes, limits), dbt (genre, tags, rating, popularity settings), `serving.*`; asset
`reference`. **Safe to run twice**: a second load changes nothing. Clearing reads the source's files of today.
**If it fails** nothing was changed: mend the files that the message names and clear the run.
Runbook: `docs/runbooks/reference_load.md`.
"""

from airflow.sdk import chain, dag, task

from include.common.names import Dag
from include.orchestration import reference_load as tasks
from include.orchestration.assets import REFERENCE
from include.orchestration.policy import START_DATE, Domain, Tier, dag_policy


@dag(
    dag_id=Dag.REFERENCE_LOAD,
    schedule=None,
    start_date=START_DATE,
    doc_md=__doc__,
    params=tasks.PARAMS,
    **dag_policy(Domain.REFERENCE, Tier.LOW, deadline_after=None),
)
def reference_load() -> None:
    """Check -> load."""
    check = task(tasks.check_reference, task_id="check_reference")()
    load = task(tasks.load_reference, task_id="load_reference", outlets=[REFERENCE])()
    chain(check, load)


reference_load()
