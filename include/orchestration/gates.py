"""The gate of every DAG: Great Expectations through its Airflow provider, and what we add to it.

Added: severity (critical blocks, warning reports), every expectation's result in `quality.gate_results`,
Data Docs, one Slack alert, no personal ids anywhere, no retry of a verdict. Great Expectations is imported
while the task runs, never at parse.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException
from great_expectations_provider.common.errors import GXValidationFailed
from great_expectations_provider.operators.validate_checkpoint import GXValidateCheckpointOperator

from include.common.names import Conn, Pg, Pool
from include.common.postgres import connect
from include.gx.checkpoints import Subject, build_checkpoint, close_sources, postgres_query
from include.gx.results import ExpectationOutcome
from include.orchestration.gate_history.links import (
    PAGE_KEY,
    DataDocsLink,
    GateHistoryLink,
    docs_path,
)
from include.orchestration.job_environment import docs_url, features_dsn

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)
FAILED_KEY = "failed_expectations"
"""XCom key: names of the critical expectations that failed, also of a gate that blocked."""
_INSERT = f"""
INSERT INTO {Pg.GATE_RESULTS} (gate, dag_id, run_id, subject, expectation, column_name, severity, success,
                               unexpected_count, element_count, observed_value, not_checked)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""  # noqa: S608 - a constant
_FAILED_THIS_HOUR = f"""
SELECT DISTINCT expectation FROM {Pg.GATE_RESULTS}
WHERE gate = %s AND NOT success AND checked_at >= date_trunc('hour', now())
"""  # noqa: S608 - a constant


def _told_this_hour(gate: str, outcomes: Sequence[ExpectationOutcome]) -> bool:
    """Has each of these failed in a check of the gate in this clock hour before?"""
    with connect(features_dsn(), application_name="gates") as connection:
        known = connection.execute(_FAILED_THIS_HOUR, (gate,)).fetchall()
    return {outcome.expectation for outcome in outcomes} <= {row[0] for row in known}


def report_outcomes(
    gate: str,
    outcomes: Sequence[ExpectationOutcome],
    context: "Context | Mapping[str, Any]",
    runbook: str,
    data_docs: str | None = None,
) -> list[ExpectationOutcome]:
    """Record every outcome, tell Slack what failed; returns what blocks.

    What blocks is told each time. What only warns is told by the first check of each clock hour that finds it.
    """
    from include.orchestration.alerts import gate_failure_alert

    failed = [outcome for outcome in outcomes if outcome.failed]
    blocking = [outcome for outcome in failed if outcome.blocks]
    tell = bool(blocking) or (bool(failed) and not _told_this_hour(gate, failed))
    dag_run = context["dag_run"]
    record_outcomes(gate, dag_run.dag_id, dag_run.run_id, outcomes)
    for outcome in failed:
        log.log(logging.ERROR if outcome.blocks else logging.WARNING, outcome.describe())
    for outcome in outcomes:
        if outcome.not_checked is not None:
            log.info(outcome.describe())
    if tell:
        gate_failure_alert(
            gate=gate,
            outcomes=failed,
            context=context,
            runbook=runbook,
            blocked=bool(blocking),
            data_docs=data_docs,
        )
    return blocking


class GateRejectedError(AirflowFailException):
    """A critical expectation failed. Not retried: the same rows give the same verdict."""


def sqlalchemy_url(conn_id: str = Conn.POSTGRES) -> str:
    """SQLAlchemy URL (psycopg2) of an Airflow Postgres connection, password included: never log it."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    return str(PostgresHook(postgres_conn_id=conn_id).get_uri())


def postgres_batch(name: str, query: str) -> Callable[[Any], Any]:
    """`Subject.batch` over the rows of `query` in the feature database."""
    return lambda gx_context: postgres_query(gx_context, sqlalchemy_url(), name, query)


def record_outcomes(gate: str, dag_id: str, run_id: str, outcomes: Sequence[ExpectationOutcome]) -> None:
    """Append every outcome to `quality.gate_results`; a repeated check appends again (history to plot)."""
    rows = [
        (
            gate, dag_id, run_id, outcome.subject, outcome.expectation, outcome.column_name, outcome.severity,
            outcome.success, outcome.unexpected_count, outcome.element_count, outcome.observed_json(),
            outcome.not_checked,
        )
        for outcome in outcomes
    ]  # fmt: skip
    with connect(features_dsn(), application_name="gates") as connection, connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows)


class GateOperator(GXValidateCheckpointOperator):
    """One gate over one or more subjects.

    `gate` names it in `quality.gate_results`, Data Docs and alerts. `subjects` gets the task's context and
    returns what to check (so that a run's cut or slice can be read from XCom). `runbook` is the file name in
    docs/runbooks without `.md`. `on_rejected` is called with the context and the blocking outcomes before the
    task fails (to mark a cut rejected, say).

    Raises GateRejectedError (no retry) if a critical expectation failed or could not be evaluated; what only
    warns is reported to Slack and passes.
    """

    operator_extra_links = (DataDocsLink(), GateHistoryLink())

    def __init__(
        self,
        *,
        gate: str,
        subjects: Callable[["Context"], Sequence[Subject]],
        runbook: str,
        on_rejected: Callable[["Context", Sequence[ExpectationOutcome]], None] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("pool", Pool.GX)
        super().__init__(configure_checkpoint=self._configure, context_type="ephemeral", **kwargs)
        self.gate = gate
        self.subjects = subjects
        self.runbook = runbook
        self.on_rejected = on_rejected
        self._outcomes: list[ExpectationOutcome] = []

    def _configure(self, gx_context: Any) -> Any:
        raise NotImplementedError  # replaced in execute, where the task's context is known

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What was checked, with each verdict; Airflow's OpenLineage listener asks, also after a failure."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset

        from include.common.lineage.events import postgres_dataset
        from include.orchestration.lineage import assertions

        dsn = features_dsn()
        by_subject: dict[str, list[ExpectationOutcome]] = {}
        for outcome in self._outcomes:
            by_subject.setdefault(outcome.subject, []).append(outcome)
        checked = [
            (postgres_dataset(dsn, subject), found) for subject, found in by_subject.items() if "." in subject
        ]
        results = postgres_dataset(dsn, Pg.GATE_RESULTS)
        return OperatorLineage(
            inputs=[InputDataset(it.namespace, it.name, facets=assertions(found)) for it, found in checked],
            outputs=[OutputDataset(results.namespace, results.name)],
        )

    def execute(self, context: "Context") -> None:
        """Check, record, report; see the class."""
        logging.getLogger("great_expectations").setLevel(logging.WARNING)  # hundreds of lines at import
        outcomes = self._outcomes = []
        pages: list[str] = []
        opened: list[Any] = []

        def sink(found: list[ExpectationOutcome], addresses: list[str]) -> None:
            outcomes.extend(found)
            pages.extend(addresses)

        def configure(gx_context: Any) -> Any:
            opened.append(gx_context)
            checkpoint, parameters = build_checkpoint(gx_context, self.gate, self.subjects(context), sink)
            self.batch_parameters = parameters
            return checkpoint

        self.configure_checkpoint = configure
        try:
            super().execute(context)
        except GXValidationFailed:
            log.info("gate %s: at least one expectation failed; deciding by severity", self.gate)
        finally:
            close_sources(opened)
        if not outcomes:
            raise AirflowFailException(f"gate {self.gate} checked nothing: its suites are empty")

        for found in pages:
            log.info("Data Docs: %s", found)
        page = docs_path(pages) if pages else None
        context["ti"].xcom_push(key=PAGE_KEY, value=page)
        address = f"{docs_url()}{page}" if page else None
        blocking = report_outcomes(self.gate, outcomes, context, self.runbook, address)
        context["ti"].xcom_push(key=FAILED_KEY, value=[outcome.expectation for outcome in blocking])
        if blocking:
            if self.on_rejected is not None:
                self.on_rejected(context, blocking)
            raise GateRejectedError(
                f"gate {self.gate} blocks: " + "; ".join(outcome.describe() for outcome in blocking)
            )
        log.info("gate %s: %d expectations checked, nothing blocks", self.gate, len(outcomes))
