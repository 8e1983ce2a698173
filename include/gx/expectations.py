"""Expectations that Great Expectations lacks. Imported inside a gate's task or a test, never while a DAG is parsed."""

from typing import Any, ClassVar

from great_expectations.expectations import ExpectColumnQuantileValuesToBeBetween  # noqa: TID253  see the module's docstring
from great_expectations.expectations.expectation import ColumnAggregateExpectation  # noqa: TID253  see the module's docstring
from great_expectations.render import LegacyRendererType, RenderedStringTemplateContent  # noqa: TID253  see the module's docstring
from great_expectations.render.renderer.renderer import renderer  # noqa: TID253  see the module's docstring

from include.gx.statistics import Psi, population_stability_index

KEPT_VALUES = 300
"""Values of a histogram that are kept, the most frequent ones; the rest is one entry."""
OTHERS = "(others)"


class ExpectColumnPsiToBeBelow(ColumnAggregateExpectation):
    """The column's values are distributed as in `expected_counts` (rows by value): PSI at most `limit`, or noise.

    Observed: `told` for a person, `psi`, and `counts`, which is the history of later checks. Without
    `expected_counts` it only counts, and succeeds.
    """

    expected_counts: dict[str, int]
    limit: float

    metric_dependencies = ("column.value_counts",)
    success_keys = ("expected_counts", "limit")
    args_keys = ("column", "expected_counts", "limit")
    library_metadata: ClassVar[dict[str, Any]] = {
        "maturity": "production", "tags": ["drift"], "contributors": [], "requirements": [],
        "has_full_test_suite": True, "manually_reviewed_code": True,
    }  # fmt: skip

    def _validate(self, metrics: dict[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
        counts = _kept({str(value): int(rows) for value, rows in metrics["column.value_counts"].items()})
        expected = dict(self.configuration.kwargs["expected_counts"])
        limit = float(self.configuration.kwargs["limit"])
        found = population_stability_index(expected, counts)
        observed: dict[str, Any] = {"counts": counts}
        if found is not None:
            observed |= {"told": _told(found, limit), "psi": round(found.value, 4)}
        success = found is None or found.value <= max(limit, found.noise)
        return {"success": success, "result": {"observed_value": observed}}

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def _prescriptive_renderer(
        cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None, **_: Any
    ) -> list[Any]:
        """The line in Data Docs that says what is expected."""
        kwargs = (configuration or result.expectation_config).kwargs
        rows = sum(kwargs["expected_counts"].values())
        against = f"{rows:,} earlier rows" if rows else "nothing yet: no history"
        template = {
            "template": "$column is distributed as in $against: PSI at most $limit, or noise",
            "params": {"column": kwargs["column"], "against": against, "limit": kwargs["limit"]},
        }
        return [RenderedStringTemplateContent(content_block_type="string_template", string_template=template)]

    @classmethod
    def _get_observed_value_from_evr(cls, result: Any) -> str:
        """The cell in Data Docs that says what was observed."""
        observed = (result.result if result else None) or {}
        observed = observed.get("observed_value") or {}
        return str(
            observed.get("told") or f"{len(observed.get('counts', ()))} values, nothing to compare with"
        )


class ExpectColumnQuantilesToBeBetween(ExpectColumnQuantileValuesToBeBetween):
    """Great Expectations' own, with a result that can be stored: its own holds numpy's booleans, which are no JSON."""

    def _validate(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        found = super()._validate(*args, **kwargs)
        inside = [bool(each) for each in found["result"]["details"]["success_details"]]
        result = {**found["result"], "details": {"success_details": inside}}
        return {"success": all(inside), "result": result}


def _kept(counts: dict[str, int]) -> dict[str, int]:
    ordered = sorted(counts.items(), key=lambda entry: -entry[1])
    rest = sum(rows for _, rows in ordered[KEPT_VALUES:])
    return dict(ordered[:KEPT_VALUES]) | ({OTHERS: rest} if rest else {})


def _told(found: Psi, limit: float) -> str:
    moved = ", ".join(f"{value} {before:.1%} -> {now:.1%}" for value, before, now in found.most_moved)
    return f"PSI {found.value:.3f}, {max(limit, found.noise):.3f} allowed; moved most: {moved}"
