"""Docker images and services: pinned, loopback only, and of the versions and settings of the native stack."""

import re
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from local_stack import fetch_jars, hive, kafka_broker
from local_stack.context import Context
from local_stack.paths import StatePaths, postgres_bin
from local_stack.ports import plan
from local_stack.postgres_server import ROLES

DOCKERFILES = ("Dockerfile", "deploy/hive/Dockerfile")
DATA_DIR = "/var/lib/webtoon"
KAFKA_OF_THE_PLACE = {"controller.quorum.voters", "listeners", "advertised.listeners", "log.dirs"}
KAFKA_OF_THE_PLACE |= {"listener.security.protocol.map"}
KAFKA_MEMORY = {"log.segment.bytes", "log.index.size.max.bytes", "log.cleaner.dedupe.buffer.size"}
KAFKA_MEMORY |= {"num.network.threads", "num.io.threads"}
"""Left at Kafka's defaults in Docker."""


@pytest.fixture
def native(tmp_path: Path) -> Context:
    """A stack that was never started."""
    paths = StatePaths.at(tmp_path / "stack")
    paths.create()
    return Context(paths, plan(paths.ports_file, use_ephemeral=False, environ={}))


@pytest.fixture(scope="module")
def services(project_root: Path) -> dict[str, dict[str, Any]]:
    """Services of docker-compose.override.yml."""
    loaded = yaml.safe_load((project_root / "docker-compose.override.yml").read_text())
    return loaded["services"]  # type: ignore[no-any-return]


def hadoop(file: Path) -> dict[str, str]:
    """Properties of a Hadoop configuration file."""
    return {
        entry.findtext("name", ""): entry.findtext("value", "")
        for entry in ET.parse(file).getroot().iter("property")
    }


def test_every_image_has_a_version(services: dict[str, dict[str, Any]], project_root: Path) -> None:
    images = [service["image"] for service in services.values() if "image" in service]
    for name in DOCKERFILES:
        images += re.findall(r"^FROM (\S+)", (project_root / name).read_text(), re.MULTILINE)
    assert len(images) >= 8
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image) or "latest" in image] == []


def test_services_are_published_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_airflow_of_the_image_is_that_of_the_requirements(project_root: Path) -> None:
    requirements = (project_root / "requirements.txt").read_text()
    (version,) = re.findall(r"^apache-airflow==(\S+)$", requirements, re.MULTILINE)
    dockerfile = (project_root / "Dockerfile").read_text()
    (runtime, python) = re.findall(r"^FROM \S+/runtime:(\S+)-python-(\S+)-base$", dockerfile, re.MULTILINE)[0]
    assert f"Runtime {runtime} is Airflow {version}." in dockerfile, "look up the Runtime of this Airflow"
    assert runtime.split("-")[0] == version.rsplit(".", 1)[0]
    assert python in ("3.11", "3.12", "3.13"), "dbt-core 1.11 cannot be imported by a newer one"
    for option in ("--constraint requirements.lock", "--constraint /etc/pip-constraints.txt"):
        assert option in dockerfile
    assert "--override overrides.txt" in dockerfile, "the one that `make lock` resolves with"


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_get_the_jars_of_the_native_stack(name: str, project_root: Path) -> None:
    dockerfile = (project_root / name).read_text()
    assert "COPY local_stack/jars/spark/pom.xml" in dockerfile
    assert f"{fetch_jars.PLUGIN} " in dockerfile


def test_secrets_and_artefacts_stay_out_of_the_image(project_root: Path) -> None:
    ignored = set((project_root / ".dockerignore").read_text().split())
    # airflow_settings.yaml is read by the Astro CLI, on the host
    assert {".env", ".git/", ".venv*/", ".stack*/", ".jars/", ".cache/", "airflow_settings.yaml"} <= ignored


def test_kafka_is_that_of_the_native_stack(
    services: dict[str, dict[str, Any]], native: Context, project_root: Path
) -> None:
    pom = (project_root / "local_stack" / "jars" / "kafka" / "pom.xml").read_text()
    (version,) = re.findall(r"<artifactId>kafka_2.13</artifactId>\s*<version>([^<]+)", pom)
    assert services["kafka"]["image"] == f"apache/kafka:{version}"
    lines = kafka_broker.properties(native, "unused").splitlines()
    wanted = dict(line.split("=", 1) for line in lines)
    given = services["kafka"]["environment"]
    compared = set(wanted) - KAFKA_OF_THE_PLACE - KAFKA_MEMORY
    assert len(compared) > 10
    assert {name: given.get(f"KAFKA_{name.upper().replace('.', '_')}") for name in compared} == {
        name: wanted[name] for name in compared
    }


def test_postgres_is_that_of_the_native_stack(
    services: dict[str, dict[str, Any]], project_root: Path
) -> None:
    told = subprocess.run(
        [postgres_bin() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    (version,) = re.findall(r"(\d+\.\d+)", told.stdout)
    assert services["features-postgres"]["image"].startswith(f"postgres:{version}-")
    script = (project_root / "deploy" / "postgres" / "10-databases.sql").read_text()
    owned = {role: database for database, role in re.findall(r"CREATE DATABASE (\w+) OWNER (\w+);", script)}
    # Airflow's own database is the Astro CLI's
    assert owned == {role: database for role, database in ROLES.items() if role != "airflow"}
    assert all(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC;" in script for database in owned.values())


def test_metastore_is_configured_as_natively(native: Context, project_root: Path) -> None:
    ours = hadoop(project_root / "deploy" / "hive" / "metastore" / "hive-site.xml")
    wanted = hive.metastore_site(native)
    wanted |= {
        "javax.jdo.option.ConnectionURL": "jdbc:postgresql://${env.METASTORE_DB_HOST}:${env.METASTORE_DB_PORT}"
        "/${env.METASTORE_DB_NAME}",
        "javax.jdo.option.ConnectionUserName": "${env.METASTORE_DB_USER}",
        "javax.jdo.option.ConnectionPassword": "${env.METASTORE_DB_PASSWORD}",
        "hive.metastore.warehouse.dir": "${env.METASTORE_WAREHOUSE}",
    }
    assert ours == wanted


def test_thrift_server_is_configured_as_natively(
    native: Context, services: dict[str, dict[str, Any]], project_root: Path
) -> None:
    ours = hadoop(project_root / "deploy" / "hive" / "spark" / "hive-site.xml")
    wanted = hive.client_site(native)
    assert set(ours) == set(wanted)
    same = [name for name in wanted if name in ("hive.server2.authentication", "hive.server2.enable.doAs")]
    assert {name: ours[name] for name in same} == {name: wanted[name] for name in same}
    assert ours["hive.metastore.warehouse.dir"] == f"{DATA_DIR}/warehouse"
    address, port = ours["hive.metastore.uris"].removeprefix("thrift://").split(":")
    assert services[address]["ports"] == [f"127.0.0.1:19083:{port}"]
    # the container's arguments are those of the native process
    script = (project_root / "deploy" / "hive" / "thrift_server.sh").read_text().replace('"', "")
    options = [word for word in hive.thrift_server(native).argv[1:] if word not in ("--conf", "--class")]
    assert [word for word in options if word not in script] == []
