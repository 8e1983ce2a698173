"""What the tasks of `features__model` do: connections and XCom around `include.orchestration.model`.

Great Expectations and its suites are imported when a gate runs, not when the DAG file is parsed.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

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


def cut_of(context: "Context") -> model.Cut:
    """The cut that this run fixed."""
    return model.Cut(**context["ti"].xcom_pull(task_ids=FIX_CUT_TASK))


def fix_cut(*, run_id: str) -> dict[str, Any]:
    """Fix the run's cut; skips the run, saying why, where there is nothing to model."""
    try:
        cut = model.fix_cut(features_dsn(), run_id)
    except model.NothingToModelError as nothing:
        raise AirflowSkipException(str(nothing)) from nothing
    tell(
        reads=map(postgres_table, (Pg.STREAM_BATCHES, Pg.SESSION_FEATURES)),
        writes=[postgres_table(Pg.MODEL_CUTS)],
    )
    log.info("cut %d: ledger position %d, as of %s", cut.cut_id, cut.ledger_position, cut.as_of)
    return cut.as_dict()


def session_subjects(context: "Context") -> Sequence[Subject]:
    """What gate_sessions checks: the readings of the cut, and those new in it against earlier cuts' new ones."""
    from include.gx.suites.session_features import LOCATED_BY, OUTLIER_COLUMNS, build_suite

    cut = cut_of(context)
    with connect(features_dsn(), application_name=Dag.MODEL, autocommit=True) as connection:
        thresholds = in_force(connection)
        history = cut_history(connection, cut, SESSION_GATE, OUTLIER_COLUMNS, thresholds)
    return [
        Subject(
            Pg.SESSION_FEATURES,
            lambda: build_suite(history, thresholds[OUTLIER_Z]),
            postgres_batch(
                "readings_of_cut", model.readings_of_cut_query(cut, history.ledger_position, OUTLIER_COLUMNS)
            ),
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
    tell(
        reads=[postgres_table(f"{Pg.MARTS_CANDIDATE_SCHEMA}.{mart}") for mart in MARTS],
        writes=[postgres_table(f"{Pg.MARTS_SCHEMA}.{mart}") for mart in MARTS],
    )
    log.info("cut %s is published; rows changed: %s", cut["cut_id"], changed)
    return changed
