"""The trigger form of simulate__produce_events says what the simulator does, and what it says is what happens."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from include.orchestration.simulate import DEAD_LETTERS, PARAMS, TROUBLES, WRONG, chosen_records
from include.simulator import plan as plans
from include.simulator.plan import PlanError

NOW_MS = 1_767_225_600_000


def filled(**changes: Any) -> dict[str, Any]:
    return {**{name: param.value for name, param in PARAMS.items()}, **changes}


def test_defaults_are_the_simulators() -> None:
    assert {kind: trouble.share for kind, trouble in TROUBLES.items()} == plans.DEFAULT_SHARES
    assert set(DEAD_LETTERS | WRONG) == set(plans.FAULT_SHARES)
    form = filled()
    assert [form[name] for name in ("events", "readers", "seed", "hours", "rate")] == [
        plans.DEFAULT_EVENTS, plans.DEFAULT_READERS, plans.DEFAULT_SEED, plans.DEFAULT_HOURS, None,
    ]  # fmt: skip


def test_what_the_form_lets_through_the_simulator_takes() -> None:
    limits = {
        "events": (1, plans.MAX_EVENTS),
        "readers": (1, plans.MAX_READERS),
        "hours": (plans.MIN_HOURS, plans.MAX_HOURS),
        "rate": (plans.MIN_RATE, plans.MAX_RATE),
    }
    for name, (least, most) in limits.items():
        schema = PARAMS[name].schema
        assert least <= schema["minimum"] < schema["maximum"] <= most


def test_every_field_is_explained_and_in_a_section() -> None:
    for name, param in PARAMS.items():
        assert {"title", "section", "type"} <= set(param.schema), name
        assert param.description, name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("events", 0),
        ("events", 1.5),
        ("hours", 0),
        ("late_share", 1.1),
        ("late_share", None),
        ("rate", "fast"),
    ],
)
def test_what_cannot_be_is_refused_by_the_form(name: str, value: Any) -> None:
    with pytest.raises(ParamValidationError):
        PARAMS[name].__copy__().resolve(value)


def test_a_form_as_it_comes_is_a_backfill_that_ends_now() -> None:
    records, paced = chosen_records(filled(events=500), NOW_MS)
    due = [record.due_ms for record in records if record.kind == "event"]
    assert not paced
    assert min(due) >= NOW_MS - 6 * 3_600_000
    assert max(due) <= NOW_MS + 120_000


def test_shares_of_the_form_count() -> None:
    records, _ = chosen_records(filled(events=2000, unknown_episode_share=0.4, duplicate_share=0), NOW_MS)
    counts = Counter(record.kind for record in records)
    assert counts["unknown_episode"] / counts.total() == pytest.approx(0.4, rel=0.1)
    assert counts["duplicate"] == 0


def test_with_a_rate_it_is_live_and_ends() -> None:
    records, paced = chosen_records(filled(events=300, rate=100), NOW_MS)
    assert paced
    assert sum(record.kind in ("event", "late") for record in records) == 300
    records, _ = chosen_records(filled(rate=100, duration_s=2), NOW_MS)
    assert sum(record.kind in ("event", "late") for record in records) == pytest.approx(200, rel=0.4)


def test_a_file_is_replayed_and_a_missing_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"a\nb\n")
    records, paced = chosen_records(filled(from_file=str(file)), NOW_MS)
    assert not paced
    assert [record.value for record in records] == [b"a", b"b"]
    with pytest.raises(ValueError, match="No such file"):
        chosen_records(filled(from_file=str(tmp_path / "absent")), NOW_MS)


def test_shares_that_cannot_be_together_are_refused() -> None:
    with pytest.raises(PlanError, match="together"):
        chosen_records(filled(not_json_share=0.6, null_key_share=0.6), NOW_MS)
