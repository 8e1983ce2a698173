"""Each expectation of the raw gate has a slice that fails it and no other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.contract.derive import constraints
from include.contract.event import MAX_FUTURE_MS
from include.gx.suites.raw_events import RawGateLimits, build_suite, raw_frame

ROWS = 200
KNOWN = {"ep1"}


def good_frame() -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "event_id": [f"e{number}" for number in range(ROWS)],
            "user_id": "u1", "session_id": "s1", "episode_id": "ep1", "event_type": "enter", "country": "KR",
            "device": "phone", "platform": "ios", "timestamp": 1_795_500_000_000, "scroll_ratio": 0.5,
            "ui_version": "7", "utc_offset_minutes": 540, "ahead_of_kafka_ms": -10,
        }
    )  # fmt: skip
    empty = pd.DataFrame(
        dict.fromkeys(["repeated_event_id", "unknown_episode_id", "dead_letter_reason"], [None] * ROWS)
    )
    return pd.concat([rows, empty.astype(object)], axis=1)


def failed_rules(frame: pd.DataFrame, limits: RawGateLimits | None = None) -> list[str]:
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_pandas("slices").add_dataframe_asset("slice")
    batch = source.add_batch_definition_whole_dataframe("whole").get_batch(
        batch_parameters={"dataframe": frame}
    )
    result = batch.validate(build_suite(limits or RawGateLimits()))
    return [found.expectation_config.meta["rule"] for found in result.results if not found.success]


def put(column: str, value: Any, rows: int = 1) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[: rows - 1, column] = value
        return frame

    return change


def scroll_without_ratio(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[0, "event_type"] = "scroll"
    frame.loc[0, "scroll_ratio"] = None
    return frame


CASES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "dead_letter_share": put("dead_letter_reason", "not_json", rows=11),
    "repeated_event_share": put("repeated_event_id", "e1", rows=21),
    "unknown_episode_share": put("unknown_episode_id", "undefined", rows=3),
    "not_from_the_future": put("ahead_of_kafka_ms", MAX_FUTURE_MS + 1),
    "scroll_ratio_present_on_scroll": scroll_without_ratio,
    "scroll_ratio_in_range": put("scroll_ratio", 1.01),
    "timestamp_in_range": put("timestamp", -1),
    "utc_offset_minutes_in_range": put("utc_offset_minutes", 841),
    **{f"{name}_present": put(name, None) for name, field in constraints().items() if field.required},
    **{f"{name}_allowed": put(name, "nonesuch") for name, field in constraints().items() if field.allowed_values},
    **{f"{name}_length": put(name, "x" * 129) for name, field in constraints().items() if field.kind == "string" and field.max_length},
    **{f"{name}_text": put(name, "a\u0007") for name, field in constraints().items() if field.forbidden_pattern},
}  # fmt: skip


def test_a_good_slice_passes_and_every_expectation_has_its_case() -> None:
    assert failed_rules(good_frame()) == []
    suite = build_suite(RawGateLimits())
    assert {found.meta["rule"] for found in suite.expectations} == set(CASES)
    assert {found.severity for found in suite.expectations} == {"critical"}


@pytest.mark.parametrize("rule", CASES)
def test_each_expectation_fails_alone(rule: str) -> None:
    assert failed_rules(CASES[rule](good_frame())) == [rule]


def test_shares_at_the_limit_pass_and_thresholds_move_it() -> None:
    at_limit = put("unknown_episode_id", "undefined", rows=2)(good_frame())
    assert failed_rules(at_limit) == []
    strict = RawGateLimits.of({"raw_unknown_episode_share": 0.0, "popularity_window_days": 7})
    assert failed_rules(at_limit, strict) == ["unknown_episode_share"]


def test_a_slice_of_dead_letters_only_fails(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"reason": ["not_json", "null_key"]}), tmp_path / "letters.parquet")
    frame = raw_frame([], [tmp_path / "letters.parquet"], KNOWN)
    assert failed_rules(frame) == ["dead_letter_share"]
