"""Each expectation of the raw gate has a slice that fails it and no other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from include.contract.derive import constraints
from include.contract.event import MAX_FUTURE_MS
from include.gx.history import MIN_DAYS, MIN_SLICES, SliceHistory
from include.gx.results import ExpectationOutcome, outcome_of
from include.gx.suites.raw_events import RawGateLimits, build_suite, raw_frame

ROWS = 200
KNOWN = {"ep1": "drama"}


NOW_MS = 1_795_500_000_000
HISTORY = SliceHistory(
    recorded_at_ms=NOW_MS + 60_000,
    seconds=600,
    daily_rates=[ROWS / 600] * MIN_DAYS,
    slices=MIN_SLICES,
    counts={"country": {"KR": 600}, "device": {"phone": 600}, "genre": {"drama": 600}},
)
"""Of slices like the good one."""


def good_frame() -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "event_id": [f"e{number}" for number in range(ROWS)],
            "user_id": "u1", "session_id": "s1", "episode_id": "ep1", "event_type": "enter", "country": "KR",
            "device": "phone", "platform": "ios", "timestamp": NOW_MS, "scroll_ratio": 0.5,
            "ui_version": "7", "utc_offset_minutes": 540, "ahead_of_kafka_ms": -10, "genre": "drama",
        }
    )  # fmt: skip
    empty = pd.DataFrame(
        dict.fromkeys(["repeated_event_id", "unknown_episode_id", "dead_letter_reason"], [None] * ROWS)
    )
    return pd.concat([rows, empty.astype(object)], axis=1)


def check(
    frame: pd.DataFrame, limits: RawGateLimits | None = None, history: SliceHistory = HISTORY
) -> list[ExpectationOutcome]:
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    source = context.data_sources.add_pandas("slices").add_dataframe_asset("slice")
    batch = source.add_batch_definition_whole_dataframe("whole").get_batch(
        batch_parameters={"dataframe": frame}
    )
    result = batch.validate(build_suite(limits or RawGateLimits(), history), result_format="SUMMARY")
    outcomes = [outcome_of("slice", found) for found in result.results]
    assert [outcome.describe() for outcome in outcomes if outcome.error] == []
    return outcomes


def failed_rules(frame: pd.DataFrame, limits: RawGateLimits | None = None) -> list[str]:
    return [outcome.expectation for outcome in check(frame, limits) if outcome.failed]


def put(column: str, value: Any, rows: int = 1) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[: rows - 1, column] = value
        return frame

    return change


def half(column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return put(column, value, rows=ROWS // 2)


def scroll_without_ratio(frame: pd.DataFrame) -> pd.DataFrame:
    frame.loc[0, "event_type"] = "scroll"
    frame.loc[0, "scroll_ratio"] = None
    return frame


AGAINST_HISTORY = {
    "volume_as_in_this_hour_of_earlier_days", "country_drift", "device_drift", "genre_drift",
}  # fmt: skip
CASES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "dead_letter_share": put("dead_letter_reason", "not_json", rows=11),
    "repeated_event_share": put("repeated_event_id", "e1", rows=21),
    "unknown_episode_share": put("unknown_episode_id", "undefined", rows=3),
    "not_from_the_future": put("ahead_of_kafka_ms", MAX_FUTURE_MS + 1),
    "scroll_ratio_present_on_scroll": scroll_without_ratio,
    "scroll_ratio_in_range": put("scroll_ratio", 1.01),
    "timestamp_in_range": put("timestamp", -1),
    "volume_as_in_this_hour_of_earlier_days": lambda frame: frame.head(ROWS * 3 // 10 - 1),
    "newest_event_is_fresh": put("timestamp", NOW_MS - 59 * 60_000 - 1, rows=ROWS),
    "country_drift": half("country", "US"),
    "device_drift": half("device", "tablet"),
    "genre_drift": half("genre", "romance"),
    "utc_offset_minutes_in_range": put("utc_offset_minutes", 841),
    **{f"{name}_present": put(name, None) for name, field in constraints().items() if field.required},
    **{f"{name}_allowed": put(name, "nonesuch") for name, field in constraints().items() if field.allowed_values},
    **{f"{name}_length": put(name, "x" * 129) for name, field in constraints().items() if field.kind == "string" and field.max_length},
    **{f"{name}_text": put(name, "a\u0007") for name, field in constraints().items() if field.forbidden_pattern},
}  # fmt: skip


def test_a_good_slice_passes_and_every_expectation_has_its_case() -> None:
    assert [outcome.describe() for outcome in check(good_frame()) if outcome.success is not True] == []
    suite = build_suite(RawGateLimits(), HISTORY)
    rules = [found.meta["rule"] for found in suite.expectations]
    assert len(rules) == len(set(rules))
    assert set(rules) == set(CASES)
    warnings = {found.meta["rule"] for found in suite.expectations if found.severity != "critical"}
    assert warnings == AGAINST_HISTORY | {"newest_event_is_fresh"}


@pytest.mark.parametrize("rule", CASES)
def test_each_expectation_fails_alone(rule: str) -> None:
    assert failed_rules(CASES[rule](good_frame())) == [rule]


def test_without_history_there_is_no_verdict_and_what_was_seen_is_kept() -> None:
    young = SliceHistory(HISTORY.recorded_at_ms, 600, [1.0] * (MIN_DAYS - 1), MIN_SLICES - 1)
    outcomes = check(half("device", "tablet")(good_frame()), history=young)
    told = {outcome.expectation: outcome for outcome in outcomes if outcome.not_checked is not None}
    assert set(told) == AGAINST_HISTORY
    assert {outcome.success for outcome in told.values()} == {None}
    assert [outcome.expectation for outcome in outcomes if outcome.failed or outcome.blocks] == []
    assert told["device_drift"].observed_value == {"counts": {"phone": 100, "tablet": 100}}
    assert "no verdict: 2 earlier slices, 3 needed" in told["device_drift"].describe()
    first = SliceHistory(HISTORY.recorded_at_ms)
    (volume,) = [it for it in check(good_frame(), history=first) if it.expectation.startswith("volume")]
    assert volume.not_checked == "the first slice: how long it took to arrive is not known"


def test_drift_is_told_in_shares() -> None:
    (outcome,) = [it for it in check(half("country", "US")(good_frame())) if it.failed]
    assert outcome.describe() == (
        "[warning] country_drift on slice.country: PSI 3.540, 0.250 allowed; moved most: US 0.1% -> 50.0%, KR 99.9% -> 50.0%"
    )
    assert outcome.observed_value["counts"] == {"US": 100, "KR": 100}


def test_volume_above_the_limit_warns() -> None:
    frame = pd.concat([good_frame()] * 3 + [good_frame().head(1)], ignore_index=True)
    assert failed_rules(frame) == ["volume_as_in_this_hour_of_earlier_days"]
    assert failed_rules(frame, RawGateLimits.of({"raw_volume_most": 4.0})) == []


def test_shares_at_the_limit_pass_and_thresholds_move_it() -> None:
    at_limit = put("unknown_episode_id", "undefined", rows=2)(good_frame())
    assert failed_rules(at_limit) == []
    strict = RawGateLimits.of({"raw_unknown_episode_share": 0.0, "popularity_window_days": 7})
    assert failed_rules(at_limit, strict) == ["unknown_episode_share"]


def test_a_slice_of_dead_letters_only_fails(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"reason": ["not_json", "null_key"], "kafka_partition": [0, 0], "kafka_offset": [0, 1]}),
        tmp_path / "letters.parquet",
    )
    frame = raw_frame([], [tmp_path / "letters.parquet"], KNOWN)
    # and no event is no fresh event; the volume is small, too
    assert set(failed_rules(frame)) == {
        "dead_letter_share", "volume_as_in_this_hour_of_earlier_days", "newest_event_is_fresh",
    }  # fmt: skip


def test_records_of_erased_readers_are_no_refused_ones(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    reasons = ["erased_reader", "null_key", "erased_reader"]
    letters = pa.table({"reason": reasons, "kafka_partition": [0] * 3, "kafka_offset": [0, 1, 2]})
    pq.write_table(letters, tmp_path / "letters.parquet")
    frame = raw_frame([], [tmp_path / "letters.parquet"], KNOWN)
    assert list(frame["dead_letter_reason"]) == ["null_key"]
