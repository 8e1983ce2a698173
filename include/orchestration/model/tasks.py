"""What the tasks of `features__model` do: connections and XCom around `include.orchestration.model`.

Great Expectations and its suites are imported when a gate runs, not when the DAG file is parsed.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

from include.common.names import MARTS, Dag, Pg
from include.common.postgres import connect
from include.common.thresholds import in_force
from include.gx.checkpoints import Subject
from include.gx.history import OUTLIER_Z
from include.gx.results import SAMPLE_SIZE, ExpectationOutcome
from include.orchestration import model
from include.orchestration.gate_history.history import cut_history
from include.orchestration.gates import postgres_batch
from include.orchestration.job_environment import events_topic, features_dsn
from include.orchestration.lineage import postgres_table, tell

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
FIX_CUT_TASK = "fix_cut"
SESSION_GATE = "session_features"
ACCEPT_FEWER = "accept_fewer_rows"
PARAMS = {
    "rebuild": Param(
        False,
        type="boolean",
        title="Rebuild the marts wholly",
        description="Read all final readings anew instead of what changed since the published cut: after final rows of "
        "realtime were deleted by hand, or to be sure.",
    ),
    ACCEPT_FEWER: Param(
        False,
        type="boolean",
        title="Accept far fewer rows",
        description="Publish marts that have less than half of the rows that are published, if that is right: after a first "
        "pruning, or a new generation that begins late. At least one row must be there.",
    ),
}
FULL_REFRESH = f"{{{{ ti.xcom_pull(task_ids='{FIX_CUT_TASK}')['rebuild_reason'] is not none }}}}"
"""Template: does the run's cut rebuild the marts wholly?"""


def cut_of(context: "Context") -> model.Cut:
    """The cut that this run fixed."""
    return model.Cut(**context["ti"].xcom_pull(task_ids=FIX_CUT_TASK))


def fix_cut(*, run_id: str, rebuild: str = "False") -> dict[str, Any]:
    """Fix the run's cut; skips the run, saying why, where there is nothing to model. `rebuild`: the form's, rendered."""
    try:
        cut = model.fix_cut(features_dsn(), run_id, rebuild=rebuild == "True")
    except model.NothingToModelError as nothing:
        raise AirflowSkipException(str(nothing)) from nothing
    tell(
        reads=map(postgres_table, (Pg.STREAM_BATCHES, Pg.SESSION_FEATURES)),
        writes=[postgres_table(Pg.MODEL_CUTS)],
    )
    log.info("cut %d: ledger position %d, as of %s", cut.cut_id, cut.ledger_position, cut.as_of)
    if cut.rebuild_reason is not None:
        log.info("the marts are rebuilt wholly: %s", cut.rebuild_reason)
    else:
        log.info("readings since ledger position %d are new", cut.base_position)
    return cut.as_dict()


def session_subjects(context: "Context") -> Sequence[Subject]:
    """What gate_sessions checks: readings of the cut that became final since its base, and those new since the cut before
    against earlier cuts' new ones; there may be none."""
    from include.gx.suites.session_features import (
        LOCATED_BY,
        OUTLIER_COLUMNS,
        build_quiet_suite,
        build_suite,
    )

    cut = cut_of(context)
    if not cut.is_rebuild and model.count_new_readings(features_dsn(), cut) == 0:
        rows = postgres_batch("readings_of_cut", model.readings_of_cut_query(cut))
        return [Subject(Pg.SESSION_FEATURES, build_quiet_suite, rows)]
    with connect(features_dsn(), application_name=Dag.MODEL, autocommit=True) as connection:
        thresholds = in_force(connection)
        history = cut_history(connection, cut, SESSION_GATE, OUTLIER_COLUMNS, thresholds)
    query = model.readings_of_cut_query(cut, history.ledger_position, OUTLIER_COLUMNS)
    return [
        Subject(
            Pg.SESSION_FEATURES,
            lambda: build_suite(history, thresholds[OUTLIER_Z]),
            postgres_batch("readings_of_cut", query),
            failing_rows=partial(_as_offsets, events_topic()),
            located_by=LOCATED_BY,
        )
    ]


def _as_offsets(topic: str, failed: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[str]]:
    """Readings by the offset of their last event: no personal id is needed to find one."""
    return {
        rule: [f"{topic}[{row['source_partition']}]@{row['last_offset']}" for row in rows[:SAMPLE_SIZE]]
        for rule, rows in failed.items()
    }


def mart_subjects(context: "Context") -> Sequence[Subject]:
    """What gate_marts checks: candidate rows that publication may change, their volume against what is published."""
    from include.gx.suites import episode_features, segment_features, user_features

    cut = cut_of(context)
    suites: dict[str, Callable[..., Any]] = {
        "user_features": user_features.build_suite,
        "episode_features": episode_features.build_suite,
        "segment_features": segment_features.build_suite,
    }
    published = model.published_row_counts(features_dsn(), cut)
    smallest = {"smallest_share": 0.0} if context["params"].get(ACCEPT_FEWER) else {}

    def suite(mart: str) -> Any:
        rows = published[mart]
        if model.is_partial(mart, cut):
            return suites[mart](rows.total, checked_rows=rows.checked, **smallest)
        return suites[mart](rows.total, **smallest)

    is_quiet = not cut.is_rebuild and model.count_new_readings(features_dsn(), cut) == 0
    return [
        Subject(
            f"{Pg.MARTS_CANDIDATE_SCHEMA}.{mart}",
            partial(suite, mart),
            postgres_batch(mart, model.checked_query(mart, cut)),
        )
        for mart in MARTS
        if not (is_quiet and model.is_partial(mart, cut))
    ]


def reject_cut(context: "Context", blocking: Sequence[ExpectationOutcome]) -> None:
    """Mark the run's cut rejected; the published marts stay as they are."""
    cut = cut_of(context)
    model.reject_cut(features_dsn(), cut.cut_id)
    log.error("cut %d is rejected by %s", cut.cut_id, ", ".join(outcome.expectation for outcome in blocking))


def publish(*, cut: dict[str, Any]) -> dict[str, int]:
    """Publish the candidate marts; returns rows changed by mart."""
    changed = model.publish(features_dsn(), int(cut["cut_id"]))
    tell(
        reads=[postgres_table(f"{Pg.MARTS_CANDIDATE_SCHEMA}.{mart}") for mart in MARTS],
        writes=[postgres_table(f"{Pg.MARTS_SCHEMA}.{mart}") for mart in MARTS],
    )
    log.info("cut %s is published; rows changed: %s", cut["cut_id"], changed)
    return changed
