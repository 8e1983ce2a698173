"""Checkpoint actions of our gates. Imported inside a gate's task only, never while a DAG file is parsed."""

from collections.abc import Callable
from typing import Any, Literal

from great_expectations.checkpoint import UpdateDataDocsAction  # noqa: TID253 - see the module's docstring
from great_expectations.checkpoint.actions import ValidationAction  # noqa: TID253
from great_expectations.compatibility.pydantic import PrivateAttr  # noqa: TID253

from include.gx.results import ExpectationOutcome, outcome_of, redact


class RedactedDataDocsAction(UpdateDataDocsAction):
    """Takes sample values of personal columns out of the results, then updates Data Docs.

    Subclasses GX's own action because GX runs that one before all others.
    """

    type: Literal["redacted_data_docs"] = "redacted_data_docs"

    def run(self, checkpoint_result: Any, action_context: Any = None) -> dict[Any, Any]:
        """Redact the results in memory and in the store, then do what GX does."""
        store = self._resolve_context().context.validation_results_store
        for identifier, suite_result in checkpoint_result.run_results.items():
            for result in suite_result.results:
                redact(result)
            store.set(identifier, suite_result)
        pages: dict[Any, Any] = super().run(checkpoint_result, action_context) if self.site_names else {}
        return pages


class CollectOutcomesAction(ValidationAction):
    """Hands every expectation's outcome, and the Data Docs pages, to the gate that runs the checkpoint."""

    type: Literal["collect_outcomes"] = "collect_outcomes"
    _sink: Callable[[list[ExpectationOutcome], list[str]], None] = PrivateAttr()

    def send_to(self, sink: Callable[[list[ExpectationOutcome], list[str]], None]) -> None:
        """Set who receives (outcomes, addresses of Data Docs pages); not stored with the checkpoint."""
        self._sink = sink

    def run(self, checkpoint_result: Any, action_context: Any = None) -> dict[Any, Any]:
        """Read the (already redacted) results."""
        outcomes = [
            outcome_of(suite_result.suite_name, result)
            for suite_result in checkpoint_result.run_results.values()
            for result in suite_result.results
        ]
        pages = self._get_data_docs_pages_from_prior_action(action_context) or {}
        self._sink(outcomes, [url for sites in pages.values() for url in sites.values() if url])
        return {"outcomes": len(outcomes)}
