"""The form of stream__roll_out, and where a new generation begins to read."""

from datetime import UTC, datetime
from typing import Any

import pytest

from include.contract.event import MAX_FUTURE_MS
from include.contract.rules import SessionRules
from include.orchestration.roll_out.form import LAYOUT, PARAMS, RULES, FormError, Wish
from include.orchestration.roll_out.start import Held, Start, choose_start, warm_up_ms
from include.spark_jobs.stream_sessionize.generations import SETTINGS, Plan

RULE = SessionRules(gap_ms=1000, max_length_ms=10_000, lateness_ms=100)
WARM_MS = 11_100 + MAX_FUTURE_MS
NOW_MS = 10_000_000
DEFAULTS = {name: param.value for name, param in PARAMS.items()}


def wish(**form: Any) -> Wish:
    return Wish.of({**DEFAULTS, **form})


def held(low: int = 0, *, first_ms: int = 0) -> Held:
    """Two partitions; of the first a record a second since `first_ms`, offset 0 at time 0; the second is empty."""
    return Held(
        low={"0": low, "1": 0},
        high={"0": 10_000, "1": 0},
        first_ms={"0": low * 1000 + first_ms},
        offsets_at=lambda time_ms: {"0": max(0, -(-time_ms // 1000)), "1": 0},
        times_at=lambda offsets: {"0": offsets["0"] * 1000} if offsets["0"] < 10_000 else {},
    )


def at(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat()


def start(form: dict[str, Any], found: Held, oldest_open_ms: int | None = None) -> Start:
    return choose_start(wish(**form), RULE, found, oldest_open_ms, NOW_MS)


def test_an_empty_form_is_a_roll_out_from_the_beginning_with_the_same_settings() -> None:
    assert wish() == Wish("roll_out", "earliest", None, None, {})


def test_seconds_of_the_form_are_settings_of_a_generation() -> None:
    asked = wish(gap_s=60, lateness_s=0, max_length_s=7200, dwell_cap_s=5, state_partitions=4)
    plan = Plan().with_settings(asked.settings)
    assert plan.rules == SessionRules(
        gap_ms=60_000, max_length_ms=7_200_000, lateness_ms=0, dwell_cap_ms=5000
    )
    assert (plan.state_partitions, plan.buckets_per_partition) == (4, 8)
    assert {setting for setting, *_ in RULES.values()} | LAYOUT.keys() == set(SETTINGS)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"start": "timestamp"}, "from_timestamp is missing, and start is timestamp"),
        ({"from_timestamp": "2026-11-26T00:00:00Z"}, "from_timestamp is given, and start is earliest"),
        ({"start": "offsets"}, "from_offsets is missing"),
        ({"start": "timestamp", "from_timestamp": "2026-11-26T00:00:00"}, "has no time zone"),
        ({"start": "timestamp", "from_timestamp": "yesterday"}, "write it like 2026-11-26T04:00:00Z"),
        ({"start": "offsets", "from_offsets": {"0": -1}}, "'0': -1 is no partition and offset"),
        ({"start": "offsets", "from_offsets": {"first": 1}}, "'first': 1 is no partition"),
        ({"start": "offsets", "from_offsets": {"0": True}}, "is no partition and offset"),
        ({"action": "roll_back", "gap_s": 60}, "takes the generation before the current one as it is"),
        ({"action": "roll_back", "start": "offsets", "from_offsets": {"0": 1}}, "as it is"),
        ({"gap_s": 0}, "gap_ms must be above 0"),
    ],
)
def test_what_cannot_be_is_refused_with_the_field(form: dict[str, Any], message: str) -> None:
    with pytest.raises(FormError, match=message):
        wish(**form)


def test_the_warm_up_is_length_gap_lateness_and_the_producers_clocks() -> None:
    assert warm_up_ms(RULE) == WARM_MS


def test_from_the_beginning_everything_is_computed_anew() -> None:
    assert start({}, held(), oldest_open_ms=5) == Start({"0": 0, "1": 0}, None)


def test_where_kafka_has_deleted_records_older_sessions_are_copied() -> None:
    chosen = start({}, held(low=100))
    assert chosen == Start({"0": 100, "1": 0}, 100_000 + WARM_MS)
    with_open = start({}, held(low=100), oldest_open_ms=100_000)
    assert with_open.publish_from_ms == 100_000 + WARM_MS
    assert "never become final" in with_open.notes[0]


def test_too_short_a_retention_is_refused() -> None:
    with pytest.raises(FormError, match="wait until then, or keep events longer"):
        start({}, held(low=9_900))


def test_from_a_timestamp_reading_starts_a_warm_up_earlier() -> None:
    chosen = start({"start": "timestamp", "from_timestamp": at(5_000_000)}, held())
    assert chosen.publish_from_ms == 5_000_000
    assert chosen.offsets == {"0": -(-(5_000_000 - WARM_MS) // 1000), "1": 0}


def test_the_point_moves_before_the_oldest_open_session() -> None:
    chosen = start({"start": "timestamp", "from_timestamp": at(5_000_000)}, held(), oldest_open_ms=4_000_000)
    assert chosen.publish_from_ms == 4_000_000 - RULE.lateness_ms
    assert "computed anew from 1970-01-01 01:06:39 UTC on" in chosen.notes[0]


def test_a_timestamp_so_early_that_all_is_read_copies_nothing() -> None:
    assert start({"start": "timestamp", "from_timestamp": at(WARM_MS)}, held()) == Start(
        {"0": 0, "1": 0}, None
    )


def test_a_timestamp_that_kafka_cannot_serve_names_the_earliest_one() -> None:
    with pytest.raises(FormError, match=r"the earliest timestamp is 1970-01-01 00:06:51 UTC"):
        start({"start": "timestamp", "from_timestamp": at(300_000)}, held(low=100))
    with pytest.raises(FormError, match="is in the future"):
        start({"start": "timestamp", "from_timestamp": at(NOW_MS + 1000)}, held())


def test_offsets_are_taken_as_given_and_the_point_is_a_warm_up_later() -> None:
    form = {"start": "offsets", "from_offsets": {"0": 2000, "1": 0}}
    assert start(form, held()) == Start({"0": 2000, "1": 0}, 2_000_000 + WARM_MS)
    assert start({"start": "offsets", "from_offsets": {"0": 0, "1": 0}}, held()).publish_from_ms is None


@pytest.mark.parametrize(
    ("offsets", "oldest_open_ms", "message"),
    [
        ({"0": 1}, None, "names partitions 0; the topic has 0, 1"),
        ({"0": 10_001, "1": 0}, None, "partition 0 holds 0 to 10000, not 10001"),
        ({"0": 10_000, "1": 0}, None, "from_offsets is too late"),
        ({"0": 9_990, "1": 0}, None, "from_offsets is too late"),
        ({"0": 5000, "1": 0}, 5_000_000, r"These would do: \{'0': 4689, '1': 0\}"),
    ],
)
def test_offsets_that_cannot_be_are_refused(
    offsets: dict[str, int], oldest_open_ms: int | None, message: str
) -> None:
    with pytest.raises(FormError, match=message):
        start({"start": "offsets", "from_offsets": offsets}, held(), oldest_open_ms)
