"""The form of quality__release_slice: nobody decides without a name and a reason."""

from typing import Any

import pytest

from include.orchestration.release_slice import DecisionError, Wish

FORM = {
    "slice_id": " s1 ",
    "decision": "release",
    "reason": "late reference",
    "decided_by": None,
    "dry_run": False,
}


def test_the_user_who_triggers_decides_and_is_noted_beside_another_who_is_named() -> None:
    assert Wish.of(FORM, "ada") == Wish("s1", "release", "ada", "late reference", dry_run=False)
    assert Wish.of(FORM | {"decided_by": "grace"}, "ada").by == "grace (triggered by ada)"
    assert Wish.of(FORM | {"decided_by": "grace"}, None).by == "grace"


@pytest.mark.parametrize(
    ("changes", "user", "missing"),
    [
        ({"slice_id": None}, "ada", "slice_id missing"),
        ({"reason": "  "}, "ada", "reason missing"),
        ({}, None, "decided_by missing"),
        ({"reason": None}, None, "reason and decided_by missing"),
    ],
)
def test_what_is_missing_is_named(changes: dict[str, Any], user: str | None, missing: str) -> None:
    with pytest.raises(DecisionError, match=f"^{missing}: trigger again"):
        Wish.of(FORM | changes, user)
