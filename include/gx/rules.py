"""Small builders that the suites share: named rules with a severity, and what the contract says of a column.

Imported inside a gate's task or a test; Great Expectations is imported inside the functions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from include.contract.derive import constraints
from include.gx.statistics import robust_range


def critical(rule: str) -> dict[str, Any]:
    """Keyword arguments of an expectation that blocks; `rule` names it in results and alerts."""
    return {"severity": "critical", "meta": {"rule": rule}}


def warning(rule: str, not_checked: str | None = None, rows: int | None = None) -> dict[str, Any]:
    """Keyword arguments of an expectation that only reports.

    With `not_checked` (why) it gives no verdict, and what it observed is history for later ones. `rows`: how many it
    looks at, where Great Expectations does not say.
    """
    meta = {"rule": rule, "not_checked": not_checked, "rows": rows}
    return {"severity": "warning", "meta": {name: value for name, value in meta.items() if value is not None}}


def distributed_as_before(
    column: str, counts: Mapping[str, int], limit: float, not_checked: str | None
) -> Any:
    """The distribution of `column` is that of earlier slices (`counts`): their PSI is at most `limit`."""
    from include.gx.expectations import ExpectColumnPsiToBeBelow

    return ExpectColumnPsiToBeBelow(
        column=column,
        expected_counts=dict(counts),
        limit=limit,
        **warning(drift_rule(column), not_checked),
    )


def drift_rule(column: str) -> str:
    """Name of the rule on the distribution of `column`."""
    return f"{column}_drift"


QUANTILES = (0.5, 0.99)


def quantiles_as_before(
    column: str, history: Sequence[Sequence[float]], z: float, not_checked: str | None, rows: int
) -> Any:
    """The QUANTILES of `column`, not NULL in `rows` rows, are within a robust z-score of `z` of earlier ones."""
    from include.gx.expectations import ExpectColumnQuantilesToBeBetween

    known = zip(*history, strict=True) if history else ((0.0,) for _ in QUANTILES)
    ranges = [list(robust_range([float(value) for value in values], z)) for values in known]
    return ExpectColumnQuantilesToBeBetween(
        column=column,
        quantile_ranges={"quantiles": list(QUANTILES), "value_ranges": ranges},
        **warning(quantiles_rule(column), not_checked, rows),
    )


def quantiles_rule(column: str) -> str:
    """Name of the rule on the quantiles of `column`."""
    return f"{column}_quantiles_as_before"


def contract_column(column: str, field: str | None = None, *, nullable: bool = False) -> list[Any]:
    """What the event contract says of `field` (by default the column's name), as expectations on `column`."""
    import great_expectations.expectations as gxe

    said = constraints()[field or column]
    found: list[Any] = []
    if not nullable:
        found.append(gxe.ExpectColumnValuesToNotBeNull(column=column, **critical(f"{column}_present")))
    if said.allowed_values is not None:
        found.append(
            gxe.ExpectColumnValuesToBeInSet(
                column=column, value_set=list(said.allowed_values), **critical(f"{column}_allowed")
            )
        )
    if said.minimum is not None or said.maximum is not None:
        found.append(in_range(column, said.minimum, said.maximum))
    if said.kind == "string" and (said.min_length is not None or said.max_length is not None):
        found.append(
            gxe.ExpectColumnValueLengthsToBeBetween(
                column=column,
                min_value=said.min_length,
                max_value=said.max_length,
                **critical(f"{column}_length"),
            )
        )
    return found


def in_range(
    column: str, minimum: float | None, maximum: float | None, where: Any = None, rule: str | None = None
) -> Any:
    """Values (not NULL) within [minimum, maximum]; `where` is a GX row condition."""
    import great_expectations.expectations as gxe

    condition = {} if where is None else {"row_condition": where}
    return gxe.ExpectColumnValuesToBeBetween(
        column=column,
        min_value=minimum,
        max_value=maximum,
        **condition,
        **critical(rule or f"{column}_in_range"),
    )


def present(column: str, where: Any = None, rule: str | None = None) -> Any:
    """Values are not NULL; `where` is a GX row condition."""
    import great_expectations.expectations as gxe

    condition = {} if where is None else {"row_condition": where}
    return gxe.ExpectColumnValuesToNotBeNull(
        column=column, **condition, **critical(rule or f"{column}_present")
    )


def absent(column: str, where: Any, rule: str) -> Any:
    """Values are NULL where `where` holds."""
    import great_expectations.expectations as gxe

    return gxe.ExpectColumnValuesToBeNull(column=column, row_condition=where, **critical(rule))


def at_least(larger: str, smaller: str, rule: str, where: Any = None) -> Any:
    """Row by row `larger` >= `smaller`, where both are there; `where` is a GX row condition."""
    import great_expectations.expectations as gxe

    condition = {} if where is None else {"row_condition": where}
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=larger,
        column_B=smaller,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        **condition,
        **critical(rule),
    )


def volume(
    published_rows: int, smallest_share: float, checked_rows: int | None = None, spare: int = 1000
) -> list[Any]:
    """Rows against those published now: less than `smallest_share` of them blocks, `spare` more than three times warns.

    `checked_rows`: where only some keys are checked, how many of the published rows are theirs; the others stay.
    """
    import math

    import great_expectations.expectations as gxe

    others = 0 if checked_rows is None else published_rows - checked_rows
    least = max(1, math.ceil(published_rows * smallest_share))
    expectations = [
        gxe.ExpectTableRowCountToBeBetween(
            min_value=max(0, least - others), **critical("volume_against_published")
        )
    ]
    if published_rows > 0:
        expectations.append(
            gxe.ExpectTableRowCountToBeBetween(
                max_value=published_rows * 3 + spare - others, **warning("volume_growth_against_published")
            )
        )
    return expectations
