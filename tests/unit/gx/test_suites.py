"""Each suite passes good rows, and each of its rules is broken by a slice that breaks no other."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from include.gx.history import MIN_CUTS, MIN_READINGS, CutHistory
from include.gx.results import outcome_of
from include.gx.rules import quantiles_rule
from include.gx.suites import episode_features, segment_features, session_features, user_features
from tests.unit.gx import slices

CUTS = CutHistory(
    ledger_position=6,
    new_readings=MIN_READINGS,
    quantiles={
        "new_dwell_time_ms": [(1000, 1000)] * MIN_CUTS,
        "new_event_count": [(3, 3)] * MIN_CUTS,
        "new_scroll_event_count": [(1, 1)] * MIN_CUTS,
    },
)
"""Of cuts like the good rows; each quantile may move by a tenth, or by 1."""
SUITES = {
    "session_features": (lambda: session_features.build_suite(CUTS), slices.SESSION_FEATURES),
    # 4 rows published: half of them, 2, must be there
    "user_features": (lambda: user_features.build_suite(4), slices.USER_FEATURES),
    "episode_features": (lambda: episode_features.build_suite(4), slices.EPISODE_FEATURES),
    "segment_features": (lambda: segment_features.build_suite(4), slices.SEGMENT_FEATURES),
}
NOTHING_TO_MEASURE = {
    "has_rows": {
        "readings_with_scroll",
        "no_runaway_reading",
        *(quantiles_rule(column) for column in session_features.OUTLIER_COLUMNS),
    }
}
"""Of no rows there are no quantiles and no shares, either."""
Check = Callable[[str, pd.DataFrame], dict[str, bool]]


@pytest.fixture(scope="module")
def check() -> Check:
    """`check(suite name, frame)` gives rule -> passed, of one ephemeral GX context."""
    import great_expectations as gx
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("slices")
    batches: dict[str, Any] = {}
    built: dict[str, Any] = {}
    for name, (build, _) in SUITES.items():
        batches[name] = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        built[name] = build()

    def run(name: str, frame: pd.DataFrame) -> dict[str, bool]:
        batch = batches[name].get_batch(batch_parameters={"dataframe": frame})
        result = batch.validate(built[name], result_format="SUMMARY")
        assert expectationSuiteValidationResultSchema.dumps(result), "a gate stores it"
        outcomes = [outcome_of(name, one) for one in result.results]
        assert [outcome.describe() for outcome in outcomes if outcome.error] == []
        return {outcome.expectation: outcome.success for outcome in outcomes}

    return run


@pytest.mark.parametrize("name", SUITES)
def test_every_rule_has_its_own_name_and_a_breaking_slice(name: str) -> None:
    rules = [it.meta["rule"] for it in SUITES[name][0]().expectations]
    assert len(rules) == len(set(rules))
    assert set(rules) == set(SUITES[name][1].breaking)


@pytest.mark.parametrize("name", SUITES)
def test_good_rows_pass_every_rule(name: str, check: Check) -> None:
    passed = check(name, SUITES[name][1].good)
    assert [rule for rule, success in passed.items() if not success] == []


@pytest.mark.parametrize(
    ("name", "rule"), [(name, rule) for name, (_, parts) in SUITES.items() for rule in parts.breaking]
)
def test_slice_breaks_its_rule_and_no_other(name: str, rule: str, check: Check) -> None:
    parts = SUITES[name][1]
    passed = check(name, parts.breaking[rule](parts.good))
    failed = {broken for broken, success in passed.items() if not success}
    assert failed - NOTHING_TO_MEASURE.get(rule, set()) == {rule}
