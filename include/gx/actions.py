"""Checkpoint actions of our gates. Imported inside a gate's task only, never while a DAG file is parsed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from great_expectations.checkpoint import UpdateDataDocsAction  # noqa: TID253  see the module's docstring
from great_expectations.checkpoint.actions import ValidationAction  # noqa: TID253  see the module's docstring
from great_expectations.compatibility.pydantic import PrivateAttr  # noqa: TID253  see the module's docstring
from great_expectations.data_context.store import (  # noqa: TID253  see the module's docstring
    ExpectationsStore,
    ValidationResultsStore,
)

from include.gx.checkpoints import FailingRows
from include.gx.results import OFFSETS, ExpectationOutcome, outcome_of, redact, rule_of, take_failing_rows

KEPT_RESULTS = 150
"""Validation results kept for Data Docs; older ones are dropped with their pages (`quality.gate_results` stays)."""


def _on_disk(folder: Path) -> dict[str, Any]:
    return {
        "class_name": "TupleFilesystemStoreBackend",
        "base_directory": str(folder),
        "filepath_suffix": ".json",
    }


class RedactedDataDocsAction(UpdateDataDocsAction):
    """Takes sample values of personal columns and long lists out of the results, keeps them in `store_dir`,
    updates Data Docs.

    Subclasses GX's own action because GX runs that one before all others. The checkpoint ran against stores
    in memory, so nothing unredacted is ever written; Data Docs are built from the folder of redacted results
    because GX deletes pages whose result is not in its store.
    """

    type: Literal["redacted_data_docs"] = "redacted_data_docs"
    store_dir: str | None = None
    _failing_rows: FailingRows | None = PrivateAttr(default=None)

    def tell(self, failing_rows: FailingRows | None) -> None:
        """Set who is told which rows failed; not stored with the checkpoint."""
        self._failing_rows = failing_rows

    def run(self, checkpoint_result: Any, action_context: Any = None) -> dict[Any, Any]:
        """Redact, keep, then do what GX does; returns the pages' addresses by result."""
        results = [result for suite in checkpoint_result.run_results.values() for result in suite.results]
        self._tell_rows(results)
        for result in results:
            redact(result)
        if self.store_dir is None:
            return {}
        self._keep(checkpoint_result, Path(self.store_dir))
        pages: dict[Any, Any] = super().run(checkpoint_result, action_context)
        return pages

    def _tell_rows(self, results: list[Any]) -> None:
        taken = [(result, take_failing_rows(result)) for result in results]
        if self._failing_rows is None:
            return
        failed = {
            rule_of(result.expectation_config): rows for result, rows in taken if rows and not result.success
        }
        samples = self._failing_rows(failed)
        for result, _ in taken:
            rule = rule_of(result.expectation_config)
            if rule in failed:
                result.result[OFFSETS] = list(samples.get(rule, ()))

    def _keep(self, checkpoint_result: Any, folder: Path) -> None:
        context = self._resolve_context().context
        suites = ExpectationsStore(_on_disk(folder / "suites"), {"root_directory": str(folder)})
        results = ValidationResultsStore(_on_disk(folder / "results"), {"root_directory": str(folder)})
        for definition in checkpoint_result.checkpoint_config.validation_definitions:
            suites.add_or_update(suites.get_key(definition.suite.name), definition.suite)
        for identifier, suite_result in checkpoint_result.run_results.items():
            results.set(identifier, suite_result)
        newest_first = sorted(results.list_keys(), key=lambda key: key.run_id.run_time, reverse=True)
        for key in newest_first[KEPT_RESULTS:]:
            results.remove_key(key)
        kept = {key.expectation_suite_identifier.name for key in newest_first[:KEPT_RESULTS]}
        for key in suites.list_keys():
            if key.name not in kept:  # a slice's suite is named after the slice
                suites.remove_key(key)
        context.stores[context.expectations_store_name] = suites
        context.stores[context.validation_results_store_name] = results


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
