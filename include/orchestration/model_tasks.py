"""What the tasks of `features__model` do: connections and XCom around `include.orchestration.model`.

Great Expectations and its suites are imported when a gate runs, not when the DAG file is parsed.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from include.common.names import MARTS, Pg
from include.gx.checkpoints import Subject
from include.gx.results import ExpectationOutcome
from include.orchestration import model
from include.orchestration.gates import postgres_batch
from include.orchestration.job_environment import features_dsn

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
FIX_CUT_TASK = "fix_cut"


def cut_of(context: "Context") -> model.Cut:
    """The cut that this run fixed."""
    return model.Cut(**context["ti"].xcom_pull(task_ids=FIX_CUT_TASK))


def fix_cut(*, run_id: str) -> dict[str, Any]:
    """Fix the run's cut; skips the run, saying why, where there is nothing to model."""
    try:
        cut = model.fix_cut(features_dsn(), run_id)
    except model.NothingToModelError as nothing:
        raise AirflowSkipException(str(nothing)) from nothing
    log.info("cut %d: ledger position %d, as of %s", cut.cut_id, cut.ledger_position, cut.as_of)
    return cut.as_dict()


def session_subjects(context: "Context") -> Sequence[Subject]:
    """What gate_sessions checks: the readings of the cut."""
    from include.gx.suites import session_features

    query = model.readings_of_cut_query(cut_of(context))
    return [
        Subject(Pg.SESSION_FEATURES, session_features.build_suite, postgres_batch("readings_of_cut", query))
    ]


def mart_subjects(context: "Context") -> Sequence[Subject]:
    """What gate_marts checks: every candidate mart, its volume against what is published now."""
    from include.gx.suites import episode_features, segment_features, user_features

    suites = {
        "user_features": user_features.build_suite,
        "episode_features": episode_features.build_suite,
        "segment_features": segment_features.build_suite,
    }
    published = model.published_row_counts(features_dsn())

    def subject(mart: str) -> Subject:
        candidate = f"{Pg.MARTS_CANDIDATE_SCHEMA}.{mart}"
        query = f"SELECT * FROM {candidate}"  # noqa: S608 - constants
        return Subject(candidate, lambda: suites[mart](published[mart]), postgres_batch(mart, query))

    return [subject(mart) for mart in MARTS]


def reject_cut(context: "Context", blocking: Sequence[ExpectationOutcome]) -> None:
    """Mark the run's cut rejected; the published marts stay as they are."""
    cut = cut_of(context)
    model.reject_cut(features_dsn(), cut.cut_id)
    log.error("cut %d is rejected by %s", cut.cut_id, ", ".join(outcome.expectation for outcome in blocking))


def publish(*, cut: dict[str, Any]) -> dict[str, int]:
    """Publish the candidate marts; returns rows changed by mart."""
    changed = model.publish(features_dsn(), int(cut["cut_id"]))
    log.info("cut %s is published; rows changed: %s", cut["cut_id"], changed)
    return changed
