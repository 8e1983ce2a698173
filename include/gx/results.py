"""What a gate found, as plain records: for `quality.gate_results`, Slack and the tasks downstream.

No Great Expectations import: the records are read off its result objects by their documented fields.
"""

import json
from dataclasses import dataclass
from typing import Any

PERSONAL_COLUMNS = frozenset({"user_id", "session_id", "event_id"})
"""Columns whose values identify a reader, or lead to one: never in samples, XCom, Slack or Data Docs."""
_HIDDEN = PERSONAL_COLUMNS | {"repeated_event_id"}
"""Those, and what suites derive from them."""
SAMPLE_SIZE = 5
OFFSETS = "sample_offsets"
"""Where a result keeps some of the rows that broke its expectation, as `topic[partition]@offset`."""
_LONG = ("unexpected_list", "unexpected_index_list", "unexpected_index_query", "unexpected_rows")
_SAMPLES = (
    "partial_unexpected_list",
    "partial_unexpected_counts",
    "partial_unexpected_index_list",
    *_LONG,
)


@dataclass(frozen=True)
class ExpectationOutcome:
    """One expectation's result.

    `subject` is the table or slice checked, `expectation` its rule's name (meta "rule") or else its GX type,
    `column_name` the column(s) it looks at (comma-separated) or None. Counts are rows; None where GX has
    none (an aggregate, or `error`: the check itself could not run, which counts as failed). `offsets` are some
    of the failing rows. `not_checked` says why there is no verdict (`success` is None then).
    """

    subject: str
    expectation: str
    column_name: str | None
    severity: str
    success: bool | None
    unexpected_count: int | None
    element_count: int | None
    observed_value: Any
    sample: tuple[str, ...]
    error: str | None
    offsets: tuple[str, ...] = ()
    not_checked: str | None = None

    @property
    def failed(self) -> bool:
        """True if it was checked and did not hold."""
        return self.success is False

    @property
    def blocks(self) -> bool:
        """True if the gate must not open because of this."""
        return self.failed and self.severity == "critical"

    def describe(self) -> str:
        """One line for a person: which expectation, how many rows, samples."""
        where = f"{self.subject}.{self.column_name}" if self.column_name else self.subject
        line = f"[{self.severity}] {self.expectation} on {where}"
        if self.error is not None:
            return f"{line}: could not be checked: {self.error}"
        if self.not_checked is not None:
            return f"{line}: no verdict: {self.not_checked}"
        if self.unexpected_count is not None:
            line += f": {self.unexpected_count} of {self.element_count} rows"
        elif isinstance(self.observed_value, dict) and "told" in self.observed_value:
            line += f": {self.observed_value['told']}"
        elif self.observed_value is not None:
            line += f": observed {self.observed_value}"
        if self.sample:
            line += f"; for instance {', '.join(self.sample)}"
        if self.offsets:
            line += f"; at {', '.join(self.offsets)}"
        return line

    def observed_json(self) -> str | None:
        """Observed value, samples and error as JSON, or None where there is nothing to tell."""
        told = {
            "observed": self.observed_value,
            "sample": list(self.sample) or None,
            "offsets": list(self.offsets) or None,
            "error": self.error,
        }
        told = {name: value for name, value in told.items() if value is not None}
        return json.dumps(told, default=str) if told else None


def columns_of(kwargs: dict[str, Any]) -> list[str]:
    """Columns that an expectation of these `kwargs` looks at, in order."""
    named = [kwargs.get("column"), kwargs.get("column_A"), kwargs.get("column_B")]
    named += kwargs.get("column_list") or []
    return [column for column in named if column]


def rule_of(config: Any) -> str:
    """Name of an expectation: meta "rule", or else its GX type."""
    return str((config.meta or {}).get("rule") or config.type)


def take_failing_rows(result: Any) -> list[Any]:
    """Index labels (or locating columns) of the rows that one GX result found; lists of all rows leave it."""
    found = result.result
    rows: list[Any] = found.get("unexpected_index_list") or found.get("partial_unexpected_index_list") or []
    for name in (*_LONG, "partial_unexpected_index_list"):
        found.pop(name, None)
    return rows


def redact(result: Any) -> None:
    """Delete sample values of one GX `ExpectationValidationResult` that looks at a personal column, in place.

    Also what an exception said, which may quote a value.
    """
    if _HIDDEN.isdisjoint(columns_of(result.expectation_config.kwargs)):
        return
    for info in _exceptions(result.exception_info):
        info["exception_message"] = "not shown, because it may quote a personal id"
        info["exception_traceback"] = None
    for name in _SAMPLES:
        result.result.pop(name, None)
    if not isinstance(result.result.get("observed_value"), (int, float, type(None))):
        result.result.pop("observed_value")


def _error(exception_info: dict[str, Any] | None) -> str | None:
    """First exception's message; GX nests the record under a metric id where a metric failed."""
    for info in _exceptions(exception_info):
        message = str(info.get("exception_message") or "unknown error").strip()
        return message.splitlines()[0][:300]
    return None


def _exceptions(exception_info: dict[str, Any] | None) -> list[dict[str, Any]]:
    if not exception_info:
        return []
    infos = [exception_info] if "raised_exception" in exception_info else list(exception_info.values())
    return [info for info in infos if info.get("raised_exception")]


def outcome_of(subject: str, result: Any) -> ExpectationOutcome:
    """The record of one (redacted) GX `ExpectationValidationResult`."""
    config = result.expectation_config
    found = result.result
    sample = found.get("partial_unexpected_list") or []
    distinct = list(dict.fromkeys(str(value)[:100] for value in sample))[:SAMPLE_SIZE]
    severity = str(getattr(config.severity, "value", config.severity))
    error = _error(result.exception_info)
    not_checked = None if error else (config.meta or {}).get("not_checked")
    return ExpectationOutcome(
        subject=subject,
        expectation=rule_of(config),
        column_name=", ".join(columns_of(config.kwargs)) or None,
        severity=severity,
        success=None if not_checked else bool(result.success),
        unexpected_count=found.get("unexpected_count"),
        element_count=found.get("element_count", (config.meta or {}).get("rows")),
        observed_value=found.get("observed_value"),
        sample=tuple(distinct),
        error=error,
        offsets=tuple(found.get(OFFSETS) or ()),
        not_checked=not_checked,
    )
