"""What follows dbt's build in Cosmos' producer task: tests that only warn are told, and each model's lineage.

The tasks of single models wait for the producer (execution mode watcher) and see of dbt no more than that it went well.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from include.common.lineage.events import NOT_SENT, emit_as_child
from include.common.names import Pg
from include.gx.results import ExpectationOutcome
from include.orchestration.alert_text import runbook_of
from include.orchestration.gates import report_outcomes
from include.orchestration.lineage import lineage_environment

log = logging.getLogger(__name__)
GATE = "dbt_tests"
"""What `quality.gate_results` calls tests of severity warn."""


def after_build(project_dir: str, *, context: Mapping[str, Any], **_: Any) -> None:
    """`callback` of Cosmos' producer, called after dbt, also where a model failed; `project_dir` is its copy of the
    project."""
    target = Path(project_dir) / "target"
    if not (target / "run_results.json").is_file():
        return
    tell_lineage(context)
    report_warnings(context, warnings_of(target))


def warnings_of(target: Path) -> list[ExpectationOutcome]:
    """dbt tests that warned, of dbt's artefacts in `target`; nothing waits for them."""
    nodes = json.loads((target / "manifest.json").read_text())["nodes"]
    results = json.loads((target / "run_results.json").read_text())["results"]
    return [
        ExpectationOutcome(
            subject=f"{Pg.MARTS_CANDIDATE_SCHEMA}.{_model_of(nodes[result['unique_id']])}",
            expectation=nodes[result["unique_id"]]["name"],
            column_name=None,
            severity="warning",
            success=False,
            unexpected_count=None,
            element_count=None,
            observed_value=result.get("message"),
            sample=(),
            error=None,
        )
        for result in results
        if result["status"] == "warn"
    ]


def _model_of(test: Mapping[str, Any]) -> str:
    """The model that a generic test stands with; of a singular one, what it reads first."""
    node = test.get("attached_node") or next(iter(test["depends_on"]["nodes"]), test["unique_id"])
    return str(node).split(".")[-1]


def report_warnings(context: Mapping[str, Any], outcomes: list[ExpectationOutcome]) -> None:
    """Recorded and told as a gate's warnings are; without one nothing is."""
    if outcomes:
        report_outcomes(GATE, outcomes, context, runbook_of(context["ti"].dag_id))


def tell_lineage(context: Mapping[str, Any]) -> None:
    """OpenLineage's COMPLETE of every model that dbt built, each a child of the producer's task."""
    events = getattr(context["task"], "openlineage_events_completes", [])
    environment = lineage_environment(context["ti"]) if events else {}
    if not environment:
        return
    try:
        emit_as_child(events, environment)
    except NOT_SENT as error:  # must not fail the build
        log.warning("lineage of the models is not sent: %s", error)
