"""Schemas and constraints say what the decoder does, and come from one definition."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from include.contract.derive import FieldConstraint, arrow_schema, constraints, json_schema, spark_schema
from include.contract.event import ContractError, ReadingEvent, decode
from tests.hypothesis_profiles import examples

FIELDS = [field.name for field in msgspec.structs.fields(ReadingEvent)]
VALIDATOR = Draft202012Validator(json_schema())
GOOD: dict[str, Any] = {
    "event_id": "e-1",
    "user_id": "u-1",
    "session_id": "s-1",
    "episode_id": "e-2",
    "event_type": "enter",
    "country": "KR",
    "device": "phone",
    "platform": "android",
    "timestamp": 1_709_251_200_000,
}


def test_every_schema_has_the_fields_of_the_contract() -> None:
    assert list(constraints()) == FIELDS
    assert list(json_schema()["properties"]) == FIELDS
    assert arrow_schema().names == FIELDS
    assert spark_schema().names == FIELDS


def test_required_fields_are_not_nullable_anywhere() -> None:
    required = {name for name, constraint in constraints().items() if constraint.required}
    assert required == set(GOOD)
    assert set(json_schema()["required"]) == required
    assert {field.name for field in arrow_schema() if not field.nullable} == required
    assert {field.name for field in spark_schema() if not field.nullable} == required


def test_types() -> None:
    spark = {field.name: field.dataType.simpleString() for field in spark_schema()}
    arrow = {field.name: str(field.type) for field in arrow_schema()}
    assert (spark["timestamp"], arrow["timestamp"]) == ("bigint", "int64")
    assert (spark["scroll_ratio"], arrow["scroll_ratio"]) == ("double", "double")
    assert (spark["experiments"], arrow["experiments"]) == ("map<string,string>", "map<string, string>")
    assert (spark["utc_offset_minutes"], arrow["utc_offset_minutes"]) == ("int", "int32")
    assert (spark["event_type"], arrow["country"]) == ("string", "string")


def test_constraints() -> None:
    found = constraints()
    assert found["event_type"].allowed_values == ("enter", "scroll", "complete", "exit")
    assert len(found["country"].allowed_values or ()) == 249
    assert (found["scroll_ratio"].minimum, found["scroll_ratio"].maximum) == (0.0, 1.0)
    assert found["scroll_ratio"].required_on == "scroll"
    assert [name for name, it in found.items() if it.required_on] == ["scroll_ratio"]
    assert (found["user_id"].min_length, found["user_id"].max_length) == (1, 128)
    assert found["user_id"].forbidden_pattern
    assert (found["experiments"].max_length, found["experiments"].kind) == (32, "map")
    assert isinstance(found["experiments"].entry, FieldConstraint)


@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "unknown"]),
        st.none()
        | st.booleans()
        | st.integers(-1000, 1000)
        | st.floats(-0.5, 1.5).filter(lambda number: not number.is_integer())
        | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
        | st.sampled_from(["x" * 128, "x" * 129, "scroll", "KR", "tablet", "web"])
        | st.dictionaries(st.text("ab\n", max_size=2), st.text("ab", max_size=2) | st.integers(), max_size=2),
        max_size=3,
    )
)
@settings(max_examples=examples(600))
def test_the_json_schema_accepts_what_the_decoder_accepts(changes: dict[str, Any]) -> None:
    event = {**GOOD, **changes}
    try:
        decode(json.dumps(event).encode())
        accepted = True
    except ContractError:
        accepted = False
    assert VALIDATOR.is_valid(event) == accepted


def test_the_command_prints_the_json_schema(project_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "include.contract"],
        cwd=project_root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == json_schema()


def test_the_schema_in_docs_is_the_derived_one(project_root: Path) -> None:
    page = project_root / "docs" / "event.schema.json"
    assert json.loads(page.read_text()) == json_schema(), (
        "python -m include.contract > docs/event.schema.json"
    )


def test_importing_the_contract_loads_nothing_heavy_and_nothing_else_of_ours(project_root: Path) -> None:
    modules = [
        f"include.contract.{path.stem}" for path in (project_root / "include/contract").glob("[!_]*.py")
    ]
    assert len(modules) >= 6
    script = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        "bad = {'pyspark', 'pyarrow', 'pandas', 'numpy', 'airflow', 'great_expectations', 'dbt', 'pycountry'}\n"
        "print([m for m in sys.modules if m.split('.')[0] in bad\n"
        "       or m.startswith('include.') and not m.startswith('include.contract')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=project_root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_type_without_a_mapping_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strange(msgspec.Struct):
        moment: bytes

    monkeypatch.setattr("include.contract.derive.ReadingEvent", Strange)
    with pytest.raises(TypeError, match="moment: BytesType has no mapping"):
        constraints()
