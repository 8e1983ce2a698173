"""What the tasks of stream__roll_out do: Airflow's connections and XCom around the other modules here."""

import logging
import time
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from include.common.kafka.offsets import watermarks
from include.common.names import Dag
from include.common.postgres import connect
from include.orchestration.alerts import send_alert
from include.orchestration.job_environment import data_dir, events_topic, features_dsn, kafka_client_config
from include.orchestration.roll_out import generations
from include.orchestration.roll_out.comparison import compare
from include.orchestration.roll_out.files import remove_files
from include.orchestration.roll_out.form import ROLL_BACK, FormError, Wish
from include.orchestration.roll_out.generations import Entry, RollOutError
from include.orchestration.roll_out.report import as_markdown
from include.orchestration.roll_out.start import choose_start
from include.orchestration.roll_out.swap import swap
from include.orchestration.roll_out.tables import TablesError
from include.orchestration.roll_out.topic import held

log = logging.getLogger(__name__)

PLAN, RUN, AWAIT, COMPARE, DECIDE, SWAP, DROP = (
    "plan_generation",
    "run_shadow",
    "await_shadow",
    "compare_generations",
    "decide",
    "swap_generations",
    "drop_shadow",
)
RUNBOOK = "stream_roll_out"
GENERATION = f"{{{{ ti.xcom_pull(task_ids='{PLAN}', key='generation') }}}}"
"""Template: the generation that the run is about."""
REPORT = f"{{{{ ti.xcom_pull(task_ids='{COMPARE}') }}}}"
"""Template: what `decide` shows."""


def plan_generation() -> list[str]:
    """Begin the shadow that the form asks for, or find the generation to roll back to; returns the tasks that
    follow."""
    context = get_current_context()
    ti, dsn = context["ti"], features_dsn()
    try:
        wish = Wish.of(context["params"])
        number = _retired(dsn) if wish.action == ROLL_BACK else _begin(dsn, wish, str(context["run_id"]))
    except (FormError, RollOutError, TablesError) as error:
        raise AirflowFailException(str(error)) from error  # a retry would meet the same
    ti.xcom_push(key="generation", value=number)
    return [COMPARE] if wish.action == ROLL_BACK else [RUN, AWAIT, COMPARE]


def _begin(dsn: str, wish: Wish, run_id: str) -> int:
    with connect(dsn, application_name=Dag.ROLL_OUT, autocommit=True) as connection:
        before = generations.current(connection)
        shadow = generations.with_status(connection, "shadow")
        oldest = connection.execute(
            # a copy from the generation before (batch_id -1) never becomes final
            "SELECT min(session_start_ms) FROM realtime.session_features WHERE NOT is_final AND batch_id >= 0"
        ).fetchone()
    if shadow is not None and shadow.run_id == run_id:
        return shadow.number
    plan = before.plan.with_settings(wish.settings)
    start = choose_start(
        wish, plan.rules, held(kafka_client_config(), events_topic()), oldest[0] if oldest else None,
        int(time.time() * 1000),
    )  # fmt: skip
    _drop_left(dsn, shadow)
    plan = generations.publishing_from(plan, start.publish_from_ms)
    number = generations.begin(dsn, run_id, plan, start.offsets)
    log.info("generation %d: reads from %s, %s", number, start.offsets, plan)
    for note in start.notes:
        log.warning("%s", note)
    return number


def _retired(dsn: str) -> int:
    with connect(dsn, application_name=Dag.ROLL_OUT, autocommit=True) as connection:
        shadow = generations.with_status(connection, "shadow")
        found = generations.with_status(connection, "retired")
    if found is None:
        raise RollOutError("there is no retired generation: nothing was swapped in that could be rolled back")
    _check_can_go_on(found)
    _drop_left(dsn, shadow)
    return found.number


def _check_can_go_on(entry: Entry) -> None:
    """Raise RollOutError unless its checkpoint is there and Kafka still holds what it has to read next."""
    _check_checkpoint(entry)
    marks = watermarks(kafka_client_config(), events_topic())
    gone = [
        f"partition {number} at {offset}, of which Kafka holds {low} to {high}"
        for number, (low, high) in marks.items()
        if not low <= (offset := entry.reached.get(str(number), 0)) <= high
    ]
    if gone:
        raise RollOutError(
            f"generation {entry.number} would go on in {'; '.join(gone)}: events in between are gone for it. Roll out a "
            f"new generation instead"
        )


def _check_checkpoint(entry: Entry) -> None:
    """Raise RollOutError where it is gone: an erasure removes one that holds the reader."""
    checkpoint = data_dir() / "checkpoints" / entry.checkpoint
    if not (checkpoint / "offsets").is_dir():
        raise RollOutError(f"generation {entry.number} has no checkpoint at {checkpoint}: roll out a new one")


def is_level_now() -> bool:
    """Has the shadow read as far as the current generation? For a sensor; fails where its driver does not
    run."""
    ti, dsn = get_current_context()["ti"], features_dsn()
    number = int(ti.xcom_pull(task_ids=PLAN, key="generation"))
    with connect(dsn, application_name=Dag.ROLL_OUT, autocommit=True) as connection:
        before, shadow = generations.current(connection), generations.find(connection, number)
    if shadow.status == "current":
        return True
    states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[RUN], run_ids=[ti.run_id])
    state = states.get(ti.run_id, {}).get(RUN)
    if shadow.status != "shadow" or state in ("failed", "success"):
        raise AirflowFailException(
            f"generation {number} is {shadow.status} and task {RUN} is {state}: no driver fills it. Clear {RUN} (to go "
            f"on) or the whole run (to begin anew)"
        )
    left = generations.records_behind(shadow, before, _ends())
    log.info("%d records to where the current generation stands", left)
    return not left


def _ends() -> dict[str, int]:
    marks = watermarks(kafka_client_config(), events_topic())
    return {str(number): found.high for number, found in marks.items()}


def compare_generations() -> str:
    """Compare, and tell Slack that somebody must decide; returns the report."""
    context = get_current_context()
    ti = context["ti"]
    number = int(ti.xcom_pull(task_ids=PLAN, key="generation"))
    compared = compare(features_dsn(), number, str(context["run_id"]))
    report = as_markdown(compared)
    log.info("%s", report)
    in_motion = sum(difference.in_motion for difference in compared.found)
    send_alert(
        f"{Dag.ROLL_OUT}: generation {number} waits for a decision",
        [
            f"{compared.different} rows differ from the current generation, {in_motion} are in motion",
            f"Answer task {DECIDE} of run {context['run_id']} (Required Actions); after two days it is dropped",
        ],
        RUNBOOK,
    )
    return report


def swap_generations(*, number: str) -> dict[str, Any]:
    """Swap the generation in; returns what was done. Safe to repeat."""
    dsn = features_dsn()
    try:
        with connect(dsn, application_name=Dag.ROLL_OUT, autocommit=True) as connection:
            entry = generations.find(connection, int(number))
        if entry.status == "retired":
            _check_can_go_on(entry)
        done = swap(dsn, entry.number, ends=_ends(), check_retired=_check_checkpoint)
        if done is None:
            log.info("generation %d is current already", entry.number)
            return {"current": entry.number}
        log.info(
            "generation %d is current; commits waited %.1f s, readers %.3f s; generation %d is kept for the way back",
            entry.number, done.held_s, done.closed_s, done.retired,
        )  # fmt: skip
        if done.dropped is not None:
            with connect(dsn, application_name=Dag.ROLL_OUT, autocommit=True) as connection:
                old = generations.find(connection, done.dropped)
            # it was current once: features__publish_batch has its landing files from there
            remove_files(data_dir(), old, landing=False)
    except TablesError as error:
        raise AirflowFailException(str(error)) from error
    except RollOutError as error:
        raise AirflowException(str(error)) from error
    return {
        "current": entry.number,
        "retired": done.retired,
        "dropped": done.dropped,
        "closed_s": done.closed_s,
    }


def drop_shadow(*, number: str) -> str:
    """Drop the shadow, its checkpoint and landing; a retired generation stays as it is. Safe to repeat."""
    dsn = features_dsn()
    with connect(dsn, application_name=Dag.ROLL_OUT, autocommit=True) as connection:
        entry = generations.find(connection, int(number))
    if entry.status == "retired":
        return f"generation {entry.number} stays retired"
    _drop(dsn, entry.number)
    return f"generation {entry.number} is dropped"


def _drop_left(dsn: str, shadow: Entry | None) -> None:
    """Drop what an earlier run left (there is one run at a time)."""
    if shadow is not None:
        log.warning("generation %d was left by run %s: dropping it", shadow.number, shadow.run_id)
        _drop(dsn, shadow.number)


def _drop(dsn: str, number: int) -> None:
    entry = generations.drop(dsn, number)
    removed = remove_files(data_dir(), entry, landing=True)
    log.info("generation %d is dropped; deleted: %s", number, ", ".join(map(str, removed)) or "nothing")
