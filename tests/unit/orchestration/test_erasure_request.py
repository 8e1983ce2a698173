"""The form: what it refuses, without quoting it, and what a second request keeps of the first."""

from typing import Any

import pytest
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError

from include.orchestration.erasure.request import PARAMS, checked_form

READER = "reader-17"


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ({}, "no user_id"),
        ({"user_id": READER}, "no reason"),
        ({"user_id": READER, "reason": "  "}, "no reason"),
        ({"user_id": "a\nb", "reason": "ticket 3"}, "control characters"),
        ({"user_id": READER, "reason": f"asked by {READER}"}, "holds the user_id"),
        ({"user_id": READER, "reason": "asked by READER-17"}, "holds the user_id"),
        ({"user_id": READER, "reason": "asked by READER-17, twice"}, "holds the user_id"),
    ],
)
def test_what_is_refused(form: dict[str, Any], fault: str) -> None:
    with pytest.raises(AirflowFailException, match=fault) as raised:
        checked_form(form)
    told = str(raised.value).casefold()
    assert READER not in told
    assert "asked" not in told
    assert "delete this run" in told


def test_what_is_filed() -> None:
    assert checked_form({"user_id": READER, "reason": " ticket 17 "}) == (READER, "ticket 17")
    assert checked_form({"user_id": '독자/1 "x"', "reason": "ticket 17"})[0] == '독자/1 "x"'


@pytest.mark.parametrize(
    ("name", "value", "is_good"),
    [
        ("user_id", READER, True), ("user_id", None, True), ("user_id", "독자 1", True), ("user_id", "", False),
        ("user_id", "x" * 128, True), ("user_id", "x" * 129, False), ("user_id", "a\tb", False), ("user_id", "a\n", False),
        ("user_id", "a\u0085b", False), ("user_id", 17, False), ("reason", "ticket", True), ("reason", "x", False),
        ("erasure_id", 3, True), ("erasure_id", 0, False), ("erasure_id", "3", False),
    ],
)  # fmt: skip
def test_airflow_checks_the_form(name: str, value: object, is_good: bool) -> None:
    params = ParamsDict(PARAMS)
    if is_good:
        params.update({name: value})
        assert params.validate()[name] == value
    else:
        with pytest.raises(ParamValidationError):
            params.update({name: value})
