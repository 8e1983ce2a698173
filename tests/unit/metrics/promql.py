"""Reads PromQL: which series an expression selects, by which labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser as promql


@dataclass(frozen=True)
class Selection:
    """One selector; `labels` are those it matches on, and those that the aggregations around it group by."""

    metric: str
    labels: frozenset[str]
    values: frozenset[tuple[str, str]]


def selections(expression: str) -> list[Selection]:
    """All selectors of an expression; raises ValueError where it is no PromQL."""
    return list(_walk(promql.parse(expression), frozenset()))


def _walk(node: Any, grouped_by: frozenset[str]) -> Iterator[Selection]:
    if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
        grouped_by = grouped_by | set(node.modifier.labels)
    if isinstance(node, promql.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql.VectorSelector):
        matchers = node.matchers.matchers
        yield Selection(
            str(node.name),
            grouped_by | {it.name for it in matchers},
            frozenset((it.name, it.value) for it in matchers if it.op == promql.MatchOp.Equal),
        )
    for name in ("lhs", "rhs", "expr", "param"):
        child = getattr(node, name, None)
        if isinstance(child, promql.Expr):
            yield from _walk(child, grouped_by)
    for child in getattr(node, "args", None) or ():
        yield from _walk(child, grouped_by)
