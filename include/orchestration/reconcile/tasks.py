"""Tasks of features__reconcile, and its trigger form. `find` and `reconcile` do the work and know no Airflow."""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from include.common.hive.metastore import open_metastore
from include.common.names import Dag
from include.common.postgres import connect
from include.common.settings import docs_root
from include.orchestration.job_environment import (
    data_dir,
    erasure_key,
    events_topic,
    features_dsn,
    metastore_uri,
)
from include.orchestration.reconcile import published as store
from include.orchestration.reconcile.archive import read_archive
from include.orchestration.reconcile.day import judge
from include.orchestration.reconcile.duck import open_duckdb
from include.orchestration.reconcile.inputs import Stores, ensure_tables, read_inputs, session_locations
from include.orchestration.reconcile.model import Day, Outcome, ReconcileError, Verdict
from include.orchestration.reconcile.record import days_between, due_days, history, last_of_each_day, record
from include.orchestration.reconcile.report import ENTRIES, describe, write_page

_Found = TypeVar("_Found")
log = logging.getLogger(__name__)

MOST_DAYS: Final = 366
MEMORY_LIMIT: Final = "4GB"
"""Of DuckDB, which spills to disk beyond it."""
_DAY = "Empty: all days whose rows were published since they were last found equal"
PARAMS: Final = {
    "from_day": Param(
        None, type=["null", "string"], format="date", title="First day", description=f"UTC, of started_at. {_DAY}",
    ),
    "to_day": Param(
        None, type=["null", "string"], format="date", title="Last day", description="Empty: the first day alone",
    ),
}  # fmt: skip
"""The trigger form."""


class StreamBatchMismatchError(AirflowFailException):
    """Hive does not hold what the archived events make. A retry finds the same."""


def find_days() -> list[str]:
    """Days to compare, as ISO dates: those of the form, or all that are due; none ends the run."""
    params = get_current_context()["params"]
    try:
        days = wanted_days(params) or _with_stores(find)
    except ReconcileError as error:
        raise AirflowFailException(str(error)) from error
    log.info("to compare: %s", ", ".join(day.dt for day in days) or "nothing")
    return [day.dt for day in days]


def compare_days(*, days: Sequence[str], run_id: str) -> dict[str, str]:
    """Compare each day, record it, write the page; returns day -> verdict.

    Raises StreamBatchMismatchError where a row differs, after all days were compared.
    """
    chosen = [Day(date.fromisoformat(dt)) for dt in days]
    try:
        outcomes = _with_stores(lambda stores: reconcile(stores, chosen, run_id))
    except ReconcileError as error:
        raise AirflowFailException(str(error)) from error
    wrong = [outcome for outcome in outcomes if outcome.verdict is Verdict.DIFFERENT]
    if wrong:
        raise StreamBatchMismatchError(
            f"{len(wrong)} of {len(outcomes)} days are not as recomputed. {'. '.join(map(describe, wrong))}"
        )
    return {outcome.day.dt: outcome.verdict.value for outcome in outcomes}


def wanted_days(form: Mapping[str, Any]) -> list[Day]:
    """Days that the form names; empty where it names none. Raises ReconcileError for an impossible range."""
    first, last = form["from_day"], form["to_day"] or form["from_day"]
    if first is None:
        if last is not None:
            raise ReconcileError("to_day is given without from_day: trigger again with both, or with neither")
        return []
    days = days_between(date.fromisoformat(first), date.fromisoformat(last))
    if not 0 < len(days) <= MOST_DAYS:
        raise ReconcileError(f"{first} to {last} is no range of 1 to {MOST_DAYS} days: trigger again")
    return days


def find(stores: Stores) -> list[Day]:
    """Days with events or published rows that are due; none before the first publication."""
    ensure_tables(stores)
    if store.find_published(stores.connection, stores.topic) is None:
        log.info("no session_features were published yet")
        return []
    locations = session_locations(stores)
    days = read_archive(stores.metastore).days() | {Day(date.fromisoformat(dt)) for dt in locations}
    return due_days(days, locations, last_of_each_day(stores.connection))


def reconcile(stores: Stores, days: Sequence[Day], run_id: str) -> list[Outcome]:
    """Judge and record each of `days`. Raises ReconcileError where nothing was published yet."""
    outcomes = []
    with (
        tempfile.TemporaryDirectory(prefix="reconcile-") as scratch,
        open_duckdb(Path(scratch), MEMORY_LIMIT) as duck,
    ):
        inputs = read_inputs(stores, duck)
        for day in days:
            outcome = judge(duck, inputs, day)
            record(stores.connection, run_id, outcome)
            log.info("%s; %d events read in %.1f s", describe(outcome), outcome.events_read, outcome.seconds)
            outcomes.append(outcome)
    docs = docs_root()
    if docs is not None:
        log.info("page: %s", write_page(docs, history(stores.connection, ENTRIES)))
    return outcomes


def _with_stores(work: Callable[[Stores], _Found]) -> _Found:
    with (
        connect(features_dsn(), application_name=Dag.RECONCILE, autocommit=True) as connection,
        open_metastore(metastore_uri()) as metastore,
    ):
        stores = Stores(connection, metastore, data_dir() / "warehouse", events_topic(), erasure_key())
        return work(stores)
