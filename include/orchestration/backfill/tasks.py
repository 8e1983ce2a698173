"""Tasks of features__backfill: Airflow's form and XCom around the other modules here."""

import logging
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException

from include.common.backfills import read_manifest, staged_day, write_manifest
from include.common.hive.metastore import open_metastore
from include.common.names import Dag, Hive, Pg
from include.common.postgres import connect
from include.gx.checkpoints import Subject, parquet
from include.orchestration.backfill.form import FormError, Wish
from include.orchestration.backfill.plan import plan_day, settled_positions
from include.orchestration.backfill.rebuild import Job, RebuildError, rebuild, without_unreadable
from include.orchestration.backfill.report import as_markdown
from include.orchestration.backfill.revision import RevisionError
from include.orchestration.job_environment import (
    data_dir,
    erasure_key,
    events_topic,
    features_dsn,
    metastore_uri,
)
from include.orchestration.lineage import hive_table, postgres_table, tell
from include.orchestration.reconcile.day import Inputs, spans_of_day
from include.orchestration.reconcile.duck import open_duckdb
from include.orchestration.reconcile.inputs import Stores, read_inputs
from include.orchestration.reconcile.model import Day, ReconcileError

if TYPE_CHECKING:
    import duckdb
    from airflow.sdk import Context

log = logging.getLogger(__name__)

PLAN, REBUILD, REPORT = "plan_days", "rebuild_day", "report_outcome"
DAYS_AT_ONCE: Final = 2
MEMORY_LIMIT: Final = "2GB"
"""Of DuckDB in each rebuild_day, which spills to disk beyond it."""
REPORT_KEY = "report"
STAGING = f"{{{{ ti.xcom_pull(task_ids='{REPORT}', key='staging') }}}}"
"""Template: the folder that holds what is to be published."""
GATE = "session_features"


def plan_days() -> list[dict[str, Any]]:
    """The days of the form, each with how far it must be read. Fails before anything is changed where one cannot be
    rebuilt; what other runs have left in staging goes."""
    context = get_current_context()
    try:
        wish = Wish.of(context["params"])
    except FormError as error:
        raise AirflowFailException(str(error)) from error
    _remove_leftovers(staging_folder(str(context["run_id"])))
    with _opened() as (_, inputs, duck):
        planned, readable = [], without_unreadable(inputs, wish.days)
        for day in wish.days:
            planned.append(plan_day(duck, readable, day))
            log.info("%s", planned[-1].describe())
    refused = [it for it in planned if it.is_refused]
    if refused:
        raise AirflowFailException(
            f"{len(refused)} of {len(planned)} days cannot be rebuilt, nothing was changed. "
            f"{'. '.join(it.describe() for it in refused)}. Trigger again then, or without them"
        )
    return [asdict(it) for it in planned]


def rebuild_day(*, day: Mapping[str, Any]) -> dict[str, Any]:
    """Rebuild a day that plan_days has found possible, into the run's staging; returns what came of it."""
    context = get_current_context()
    wish, staging = Wish.of(context["params"]), staging_folder(str(context["run_id"]))
    chosen = Day(date.fromisoformat(day["dt"]))
    windows = {int(number): (window[0], window[1]) for number, window in day["windows"].items()}
    with _opened() as (stores, inputs, duck):
        lacking = {span.generation for span in spans_of_day(inputs.published, chosen)} - windows.keys()
        if lacking:
            raise AirflowFailException(
                f"generation {max(lacking)} was published since {PLAN}: clear {PLAN} and what follows"
            )
        positions = settled_positions(stores.connection, inputs.published, chosen)
        job = Job(chosen, windows, wish.days, wish.apply_late_events, staging, positions)
        try:
            made = rebuild(duck, inputs, job)
        except (RebuildError, RevisionError, ReconcileError) as error:
            raise AirflowFailException(str(error)) from error  # a retry would meet the same
    tell(
        reads=[
            *map(hive_table, (Hive.RAW_EVENTS, Hive.QUARANTINED_EVENTS, Hive.SESSION_FEATURES)),
            *map(postgres_table, (Pg.LATE_EVENTS, Pg.EPISODE_METADATA)),
        ]
    )
    log.info("%s: %s", chosen.dt, made.staged.counts)
    return asdict(made)


def report_outcome(*, outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Show the outcome by day; returns the days to publish, none in a dry run, which then ends."""
    context = get_current_context()
    dry_run, staging = Wish.of(context["params"]).dry_run, staging_folder(str(context["run_id"]))
    found = sorted(outcomes, key=lambda it: str(it["staged"]["dt"]))
    report = as_markdown(found, dry_run=dry_run)
    log.info("\n%s", report)
    context["ti"].xcom_push(key=REPORT_KEY, value=report)
    context["ti"].xcom_push(key="staging", value=str(staging))
    days = [staged_day(it["staged"]) for it in found]
    wanted = [] if dry_run else [day for day in days if day.counts.different]
    if not wanted:
        shutil.rmtree(staging, ignore_errors=True)
        return []
    write_manifest(staging, wanted)
    return [day.dt for day in wanted]


def rebuilt_subjects(context: "Context") -> Sequence[Subject]:
    """What gate_sessions checks: the rebuilt rows of each day that is to be published."""
    from include.gx.suites.session_features import build_rebuilt_suite

    def rows(name: str, folder: str, gx_context: Any) -> Any:
        return parquet(gx_context, name, Path(folder) / "part-00000.parquet")

    return [
        Subject(
            f"session_features-{day.dt}",
            build_rebuilt_suite,
            partial(rows, f"rebuilt_{day.dt}", day.folder),
        )
        for day in read_manifest(staging_folder(str(context["run_id"])))
    ]


def remove_staging() -> None:
    """What the run staged is published."""
    shutil.rmtree(staging_folder(str(get_current_context()["run_id"])), ignore_errors=True)


def staging_folder(run_id: str) -> Path:
    """`<data>/staging/backfill=<run id>`, without characters that Hadoop's paths do not take."""
    return data_dir() / "staging" / f"backfill={re.sub(r'[^A-Za-z0-9._-]', '_', run_id)}"


def _remove_leftovers(own: Path) -> None:
    """One run at a time: what another one has staged is of no use any more."""
    for folder in own.parent.glob("backfill=*"):
        if folder != own:
            log.info("removed: %s, left by an earlier run", folder.name)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened() -> "Iterator[tuple[Stores, Inputs, duckdb.DuckDBPyConnection]]":
    """One look at all stores, and a DuckDB to work with."""
    with (
        connect(features_dsn(), application_name=Dag.BACKFILL, autocommit=True) as connection,
        open_metastore(metastore_uri()) as metastore,
        tempfile.TemporaryDirectory(prefix="backfill-") as scratch,
        open_duckdb(Path(scratch), MEMORY_LIMIT) as duck,
    ):
        stores = Stores(connection, metastore, data_dir() / "warehouse", events_topic(), erasure_key())
        try:
            yield stores, read_inputs(stores, duck), duck
        except ReconcileError as error:
            raise AirflowFailException(str(error)) from error
