"""Tasks of quality__release_slice: what a person decides on a slice that the raw gate refused.

The archive stays the one writer of the Hive tables: this is its own work, with its own functions
(include.orchestration.archive), begun by a person instead of a verdict. The rows come from quarantine itself, so
that neither Kafka nor the staging folder need to hold the slice any more.

A discarded slice's rows stay in quarantine, marked: every offset must be found somewhere, and reconciliation and
traces read what the stream read. Nothing that passes its gate is ever taken from there.
"""

import logging
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from include.common.archive.accounting import SliceAccountingError, check_slice_accounting, rows_of_slice
from include.common.archive.quarantined_rows import stage_released
from include.common.archive.slice_files import read_slice
from include.common.archive.slices import (
    Decision,
    Slice,
    SliceError,
    load_slice,
    mark_discarded,
    mark_published,
)
from include.common.erasure.erasures import erased_readers
from include.common.hive.tables import DEAD_LETTERS, QUARANTINED_EVENTS, RAW_EVENTS
from include.common.names import Conn, Dag, Hive, Pg
from include.common.postgres import connect
from include.orchestration.alert_text import moment
from include.orchestration.archive import Stores, counts_of, with_stores
from include.orchestration.job_environment import features_dsn

log = logging.getLogger(__name__)
RELEASE, DISCARD = "release", "discard"
DECIDE_TASK, RELEASE_TASK, DISCARD_TASK = "decide", "release_slice", "discard_slice"
MADE: Final = {RELEASE: "released", DISCARD: "discarded"}
"""What the slice is in quality.quarantine_slices after the decision."""
PARAMS: Final = {
    "slice_id": Param(
        None, type=["null", "string"], title="Slice",
        description=f"slice_id of a row of {Pg.QUARANTINE_SLICES} with status quarantined; the alert names it",
    ),
    "decision": Param(
        RELEASE, type="string", enum=[RELEASE, DISCARD], title="Decision",
        description="release: its rows move to raw_events as if the gate had passed them. discard: they stay in "
        "quarantine for good, marked",
    ),
    "reason": Param(
        None, type=["null", "string"], title="Why",
        description="For who reads the history: what was wrong, and why this is right",
    ),
    "decided_by": Param(
        None, type=["null", "string"], title="Who decides",
        description="Empty: the user of Airflow who triggers the run, and who is noted in any case",
    ),
    "dry_run": Param(
        False, type="boolean", title="Dry run", description="Say what would be moved, and where to; change nothing"
    ),
}  # fmt: skip
"""The trigger form."""


class DecisionError(SliceError):
    """The slice cannot be released or discarded; the message says why, and the mend."""


@dataclass(frozen=True)
class Wish:
    """What the form asks for."""

    slice_id: str
    decision: str
    by: str
    reason: str
    dry_run: bool

    @classmethod
    def of(cls, params: Any, triggered_by: str | None) -> "Wish":
        """The wish of a run that Airflow's user `triggered_by` began; raises DecisionError where a field is missing.

        Who decides by the form is noted with the user, who cannot be written over.
        """
        named = str(params.get("decided_by") or "").strip()
        by = f"{named} (triggered by {triggered_by})" if named and triggered_by else named or triggered_by
        given = {"slice_id": params.get("slice_id"), "reason": params.get("reason"), "decided_by": by}
        said = {name: str(value or "").strip() for name, value in given.items()}
        missing = [name for name, value in said.items() if not value]
        if missing:
            raise DecisionError(f"{' and '.join(missing)} missing: trigger again and fill the form in")
        return cls(
            said["slice_id"], params["decision"], said["decided_by"], said["reason"], bool(params["dry_run"])
        )


def decide() -> str | None:
    """Check that the decision can be carried out and say what it does; the task that follows, None in a dry run."""
    context = get_current_context()
    try:
        wish = Wish.of(context["params"], getattr(context["dag_run"], "triggering_user_name", None))
        with connect(features_dsn(), application_name=Dag.RELEASE_SLICE, autocommit=True) as connection:
            piece = load_slice(connection, wish.slice_id)
            made = decided_already(connection, piece, wish.decision)
    except SliceError as error:
        raise AirflowFailException(str(error)) from error  # a retry would meet the same
    context["ti"].xcom_push(key="wish", value=asdict(wish))
    report = with_stores(piece.slice_id, plan_files)
    if made:
        log.info("slice %s is %s already: nothing to do", wish.slice_id, MADE[wish.decision])
    elif wish.decision == RELEASE:
        log.info("%d rows move to raw_events: %s", report["quarantined"], report["partitions"])
    else:
        log.info("%d rows stay in quarantined_events, marked discarded", report["quarantined"])
    if wish.dry_run:
        log.info("a dry run: nothing was changed")
        return None
    return RELEASE_TASK if wish.decision == RELEASE else DISCARD_TASK


def release_slice() -> dict[str, Any]:
    """Move the slice's rows from quarantine to raw_events, and let SQL readers see it; returns its counts."""
    counts = _carry_out(release_slice_files)
    _refresh_tables()
    return counts


def discard_slice() -> dict[str, Any]:
    """Mark the slice discarded; returns its counts."""
    return _carry_out(discard_slice_files)


def _carry_out(work: Any) -> dict[str, Any]:
    wish = Wish(**get_current_context()["ti"].xcom_pull(task_ids=DECIDE_TASK, key="wish"))
    decision = Decision(wish.by, wish.reason)
    try:
        return with_stores(wish.slice_id, lambda stores, piece: work(stores, piece, decision))
    except DecisionError as error:
        raise AirflowFailException(str(error)) from error


def _refresh_tables() -> None:
    """The Thrift Server remembers which files a partition has; it is another program than the one that moved them."""
    from airflow.providers.apache.hive.hooks.hive import HiveServer2Hook

    hook = HiveServer2Hook(hiveserver2_conn_id=Conn.HIVESERVER2)
    for table in (RAW_EVENTS, QUARANTINED_EVENTS):
        hook.run(f"REFRESH TABLE {Hive.DATABASE}.{table.name}")


def decided_already(connection: Any, piece: Slice, decision: str) -> bool:
    """False where the slice waits for the decision, True where this very one was made.

    Raises DecisionError where it is not in quarantine.
    """
    row = connection.execute(
        f"SELECT status, decided_by, decided_at, decision_reason FROM {Pg.QUARANTINE_SLICES} WHERE slice_id = %s",  # noqa: S608  a constant
        (piece.slice_id,),
    ).fetchone()
    if row is None:
        raise DecisionError(
            f"slice {piece.slice_id} was never in quarantine, it is {piece.status}: nothing is to be decided. "
            f"Those that wait stand in {Pg.QUARANTINE_SLICES} with status quarantined"
        )
    status, by, at, reason = row
    if status == MADE[decision]:
        return True
    if status != "quarantined":
        raise DecisionError(
            f"slice {piece.slice_id} is not in quarantine: it was {status} by {by or 'its archive run'} at {_at(at)} "
            f"({reason or 'no reason given'}). To judge it anew clear task archive_slice of run {piece.run_id} with "
            f"what follows, as long as Kafka holds its offsets"
        )
    return False


def plan_files(stores: Stores, piece: Slice) -> dict[str, Any]:
    """Rows of the slice in quarantine, and the partitions of raw_events that they belong to."""
    hours: Counter[str] = Counter()
    for path in stores.files(QUARANTINED_EVENTS, piece):
        rows = read_slice(path, piece.slice_id, ["event_time"])
        times = rows["event_time"].to_pylist()
        hours.update(f"dt={time:%Y-%m-%d}/hour={time.hour}" for time in times)
    return {
        "slice_id": piece.slice_id,
        "quarantined": sum(hours.values()),
        "partitions": dict(sorted(hours.items())),
    }


def release_slice_files(stores: Stores, piece: Slice, decision: Decision) -> dict[str, Any]:
    """Move the slice from quarantined_events to raw_events and mark it released. Safe to repeat, also half-way.

    Raises DecisionError, SliceAccountingError (an offset missing or double): nothing then counts as released.
    """
    letters = stores.files(DEAD_LETTERS, piece)
    dead_letters = rows_of_slice(piece, letters)
    if not decided_already(stores.connection, piece, RELEASE):
        if not _adds_up(piece, [*stores.files(RAW_EVENTS, piece), *letters]):
            quarantined = stores.files(QUARANTINED_EVENTS, piece)
            _check_nobody_erased(stores, piece, quarantined)
            check_slice_accounting(piece, [*quarantined, *letters])
            _place_released(stores, piece, quarantined)
        stores.place(QUARANTINED_EVENTS, piece, None)
        stores.check_placed(piece)
        mark_published(
            stores.connection, piece, piece.produced - dead_letters, dead_letters, decision=decision
        )
    return counts_of(piece, archived=piece.produced - dead_letters, quarantined=0, dead_letters=dead_letters)


def discard_slice_files(stores: Stores, piece: Slice, decision: Decision) -> dict[str, Any]:
    """Mark the slice discarded; its rows stay where they are. Safe to repeat.

    Raises DecisionError, SliceAccountingError.
    """
    letters = stores.files(DEAD_LETTERS, piece)
    dead_letters = rows_of_slice(piece, letters)
    if not decided_already(stores.connection, piece, DISCARD):
        # of a release that stopped half-way raw_events may hold rows that quarantine has no more
        check_slice_accounting(piece, [*stores.files(QUARANTINED_EVENTS, piece), *letters])
        stores.place(RAW_EVENTS, piece, None)
        stores.check_placed(piece)
        mark_discarded(stores.connection, piece, piece.produced - dead_letters, dead_letters, decision)
    return counts_of(piece, archived=0, quarantined=piece.produced - dead_letters, dead_letters=dead_letters)


def _place_released(stores: Stores, piece: Slice, quarantined: list[Path]) -> None:
    folder = stores.data / "staging" / f"release={piece.slice_id}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        stage_released(quarantined, piece.slice_id, folder)
        stores.place(RAW_EVENTS, piece, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_nobody_erased(stores: Stores, piece: Slice, quarantined: list[Path]) -> None:
    erased = erased_readers(stores.connection, stores.erasure_key)
    users = (
        read_slice(path, piece.slice_id, ["user_id"])["user_id"].unique().to_pylist() for path in quarantined
    )
    if erased and erased.among(user for some in users for user in some if user is not None):
        raise DecisionError(
            f"slice {piece.slice_id} holds rows of a reader who is being erased ({Pg.ERASURES}): trigger again when "
            f"that has come past the archive ({Pg.ERASURE_STEPS})"
        )


def _adds_up(piece: Slice, files: list[Path]) -> bool:
    try:
        check_slice_accounting(piece, files)
    except SliceAccountingError:
        return False
    return True


def _at(value: datetime | None) -> str:
    return moment(value) if value else "an unknown time"
