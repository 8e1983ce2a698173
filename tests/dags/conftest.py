"""The DAGs as Airflow's dag-processor sees them: collected from an absolute path, without a database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from include.common.names import Dag
from include.dbt.command import run_dbt


def ids(registry: type) -> list[str]:
    """Values of a registry class of include.common.names, sorted."""
    return sorted(value for name, value in vars(registry).items() if name.isupper())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `dag` runs once for every id in the registry of names, parsed or not."""
    if "dag_id" in metafunc.fixturenames:
        metafunc.parametrize("dag_id", ids(Dag), scope="session")


@pytest.fixture(scope="session")
def dags_folder(project_root: Path) -> Path:
    """Absolute: a relative one collects nothing when pytest starts elsewhere, and everything passes."""
    return project_root / "dags"


@pytest.fixture(scope="session")
def dbt_manifest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh dbt manifest of this session's own; what `make dbt-manifest` made may be old."""
    folder = tmp_path_factory.mktemp("dbt")
    run_dbt(["parse", "--quiet"], target_dir=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEBTOON_DBT_MANIFEST", str(folder / "manifest.json"))
        yield folder / "manifest.json"


@pytest.fixture(scope="session")
def dag_bag(dags_folder: Path, dbt_manifest: Path) -> DagBag:
    """Every DAG file of the project, parsed by Airflow's own code."""
    return DagBag(dag_folder=dags_folder, load_op_links=False, bundle_path=dags_folder, bundle_name="tests")


@pytest.fixture(scope="session")
def dag(dag_bag: DagBag, dag_id: str) -> DAG:
    """The DAG `dag_id`; fails where no file defines it."""
    if dag_id not in dag_bag.dags:
        pytest.fail(f"no file in dags/ defines {dag_id}, or its file does not parse", pytrace=False)
    return dag_bag.dags[dag_id]
