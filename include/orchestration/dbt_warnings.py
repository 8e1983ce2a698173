"""dbt tests of severity warn: recorded and told as a gate's warnings are. Nothing waits for them."""

from collections.abc import Mapping
from typing import Any

from include.common.names import Pg
from include.gx.results import ExpectationOutcome
from include.orchestration.alert_text import runbook_of
from include.orchestration.gates import report_outcomes

GATE = "dbt_tests"
"""What `quality.gate_results` calls them."""


def report_dbt_warnings(context: Mapping[str, Any]) -> None:
    """`on_warning_callback` of Cosmos' test tasks, whose context has `test_names` and `test_results`."""
    ti = context["ti"]
    model = ti.task_id.split(".")[-2]  # <group>.<model>.test
    outcomes = [
        ExpectationOutcome(
            subject=f"{Pg.MARTS_CANDIDATE_SCHEMA}.{model}",
            expectation=name,
            column_name=None,
            severity="warning",
            success=False,
            unexpected_count=None,
            element_count=None,
            observed_value=result,
            sample=(),
            error=None,
        )
        for name, result in zip(context["test_names"], context["test_results"], strict=True)
    ]
    report_outcomes(GATE, outcomes, context, runbook_of(ti.dag_id))
