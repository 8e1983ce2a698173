"""The native stack, the Astro project and its Docker services hold the same connections, variables and pools."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.common.erasure.erasures import SENSITIVE_NAMES
from include.common.names import Conn, Var
from include.orchestration import trace_value
from include.orchestration.connections import CONNECTIONS, POOLS, VARIABLES, ConnectionSpec
from include.orchestration.erasure.request import PARAMS
from local_stack import airflow_native, registry
from local_stack.context import Context
from local_stack.paths import StatePaths
from local_stack.ports import plan

AIRFLOW_SERVICES = ("scheduler", "dag-processor", "api-server", "triggerer")
"""What the Astro CLI names its containers."""
OF_THE_PLACE = {"host", "port", "password", "bootstrap.servers"}
"""Values that differ between ways of running; all others are the same."""
OF_AIRFLOW = (Conn.AIRFLOW_METADATA, Conn.AIRFLOW_API)
"""Airflow's own database and users are the Astro CLI's there, with other names of role and database."""


@pytest.fixture
def native(tmp_path: Path) -> Context:
    """A stack that was never started."""
    paths = StatePaths.at(tmp_path / "stack")
    paths.create()
    return Context(paths, plan(paths.ports_file, use_ephemeral=False, environ={}))


@pytest.fixture(scope="module")
def settings(project_root: Path) -> dict[str, list[dict[str, Any]]]:
    """airflow_settings.yaml."""
    loaded: dict[str, Any] = yaml.safe_load((project_root / "airflow_settings.yaml").read_text())
    return loaded["airflow"]  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def compose(project_root: Path) -> dict[str, Any]:
    """docker-compose.override.yml, its anchors merged."""
    loaded: dict[str, Any] = yaml.safe_load((project_root / "docker-compose.override.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def astro(settings: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Connections of airflow_settings.yaml, in the form of the native ones."""
    names = {"conn_extra": "extra", "conn_type": "conn_type"}
    return {
        entry["conn_id"]: {
            names.get(key, key.removeprefix("conn_")): value
            for key, value in entry.items()
            if key != "conn_id"
        }
        for entry in settings["connections"]
    }


def faults(spec: ConnectionSpec, connection: dict[str, Any]) -> list[str]:
    """What `connection` lacks of `spec`."""
    missing = [name for name in spec.fields if not connection.get(name)]
    missing += [f"extra {name}" for name in spec.extra if not connection.get("extra", {}).get(name)]
    return missing + ([] if connection["conn_type"] == spec.conn_type else ["conn_type"])


def placeless(connection: dict[str, Any]) -> dict[str, Any]:
    """The part that must be the same everywhere."""
    flat = {**connection, **connection.get("extra", {})}
    return {name: value for name, value in flat.items() if name not in OF_THE_PLACE | {"extra"}}


def test_connections_have_what_the_registry_asks_for(
    native: Context, astro: dict[str, dict[str, Any]]
) -> None:
    for connections in (registry.connections(native), astro):
        assert sorted(connections) == sorted(spec.conn_id for spec in CONNECTIONS)
        lacking = {spec.conn_id: faults(spec, connections[spec.conn_id]) for spec in CONNECTIONS}
        assert {conn_id: found for conn_id, found in lacking.items() if found} == {}


def test_connections_differ_in_the_place_only(native: Context, astro: dict[str, dict[str, Any]]) -> None:
    of_native = {conn_id: placeless(value) for conn_id, value in registry.connections(native).items()}
    of_astro = {conn_id: placeless(value) for conn_id, value in astro.items()}
    for conn_id in OF_AIRFLOW:
        assert of_astro.pop(conn_id)["conn_type"] == of_native.pop(conn_id)["conn_type"]
    assert of_astro == of_native
    assert astro[Conn.SPARK]["host"] == registry.connections(native)[Conn.SPARK]["host"], (
        "a master, not a place"
    )


def test_variables_are_those_of_the_registry(
    native: Context, settings: dict[str, list[dict[str, Any]]]
) -> None:
    of_astro = {entry["variable_name"]: entry["variable_value"] for entry in settings["variables"]}
    for variables in (registry.variables(native), of_astro):
        assert sorted(variables) == sorted(spec.key for spec in VARIABLES)
        defaults = {spec.key: spec.default for spec in VARIABLES if spec.default is not None}
        assert {key: variables[key] for key in defaults} == defaults
        assert all(variables.values())


def test_pools_are_those_of_the_registry(settings: dict[str, list[dict[str, Any]]]) -> None:
    wanted = [(spec.name, spec.slots, spec.description) for spec in POOLS]
    assert registry.pools() == wanted
    of_astro = [
        (pool["pool_name"], pool["pool_slot"], pool["pool_description"]) for pool in settings["pools"]
    ]
    assert of_astro == wanted


def test_astro_connections_lead_to_docker_services(
    astro: dict[str, dict[str, Any]], compose: dict[str, Any]
) -> None:
    addresses = {
        Conn.KAFKA: astro[Conn.KAFKA]["extra"]["bootstrap.servers"],
        Conn.SLACK: astro[Conn.SLACK]["host"].removesuffix("/services"),
        **{
            conn_id: f"{astro[conn_id]['host']}:{astro[conn_id]['port']}"
            for conn_id in (Conn.POSTGRES, Conn.HIVESERVER2, Conn.METASTORE)
        },
    }
    listening = {
        f"{name}:{published.rsplit(':', 1)[1]}"
        for name, service in compose["services"].items()
        for published in service.get("ports", [])
    }
    listeners = compose["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    listening |= {address.removeprefix("PLAINTEXT://") for address in listeners.split(",")}
    assert {conn_id: address for conn_id, address in addresses.items() if address not in listening} == {}


def test_astro_logs_into_the_database_that_docker_makes(
    astro: dict[str, dict[str, Any]], compose: dict[str, Any], project_root: Path
) -> None:
    feature_store = astro[Conn.POSTGRES]
    environment = compose["services"]["features-postgres"]["environment"]
    assert feature_store["password"] == environment["WEBTOON_FEATURES_PASSWORD"]
    script = (project_root / "deploy" / "postgres" / "10-databases.sql").read_text()
    owned = dict(re.findall(r"CREATE DATABASE (\w+) OWNER (\w+);", script))
    assert owned[feature_store["schema"]] == feature_store["login"]
    metastore = compose["services"]["hive-metastore"]["environment"]
    assert metastore["METASTORE_DB_PASSWORD"] == environment["WEBTOON_HIVE_PASSWORD"]
    assert owned[metastore["METASTORE_DB_NAME"]] == metastore["METASTORE_DB_USER"]


def test_everyone_in_docker_sees_the_data_folder(
    settings: dict[str, list[dict[str, Any]]], compose: dict[str, Any]
) -> None:
    data_dir = next(
        entry["variable_value"] for entry in settings["variables"] if entry["variable_name"] == Var.DATA_DIR
    )
    for name in (*AIRFLOW_SERVICES, "hive-metastore", "hive-server"):
        assert f"webtoon_data:{data_dir}" in compose["services"][name]["volumes"], name


def test_example_of_real_services_names_every_connection(project_root: Path) -> None:
    text = (project_root / ".env.example").read_text()
    examples = dict(re.findall(r"^# AIRFLOW_CONN_(\w+)='(.+)'$", text, re.MULTILINE))
    types = {name.lower(): json.loads(value)["conn_type"] for name, value in examples.items()}
    assert types == {spec.conn_id: spec.conn_type for spec in CONNECTIONS}


def test_lineage_goes_the_same_way_everywhere(native: Context, project_root: Path) -> None:
    of_native = airflow_native.configuration(native)
    text = (project_root / "Dockerfile").read_text()
    of_image = dict(re.findall(r"(AIRFLOW__OPENLINEAGE__\w+)='?(.+?)'?(?: \\)?$", text, re.MULTILINE))
    names = {name for name in of_native if name.startswith("AIRFLOW__OPENLINEAGE__")}
    assert (
        names
        == set(of_image)
        == {f"AIRFLOW__OPENLINEAGE__{name}" for name in ("TRANSPORT", "NAMESPACE", "EMISSION_POLICY")}
    )
    plain = "AIRFLOW__OPENLINEAGE__NAMESPACE"
    assert of_image.pop(plain) == of_native[plain]
    for name, value in of_image.items():
        image, own = json.loads(value), json.loads(of_native[name])
        if isinstance(image, dict):
            assert image.pop("log_file_path").startswith("/var/lib/webtoon/lineage/")
            assert own.pop("log_file_path").startswith(str(native.paths.lineage))
        assert image == own, name
    example = (project_root / ".env.example").read_text()
    [other] = re.findall(r"^# AIRFLOW__OPENLINEAGE__TRANSPORT='(.+)'$", example, re.MULTILINE)
    assert json.loads(other)["type"] == "http"


def test_the_audit_log_masks_the_same_fields_everywhere(native: Context, project_root: Path) -> None:
    name = "AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES"
    text = (project_root / "Dockerfile").read_text()
    assert (
        re.findall(rf"{name}=(\S+)", text)
        == [airflow_native.configuration(native)[name]]
        == [SENSITIVE_NAMES]
    )
    assert set(SENSITIVE_NAMES.split(",")) == {"user_id", "traced_value"}
    assert "user_id" in PARAMS
    assert "traced_value" in trace_value.PARAMS
