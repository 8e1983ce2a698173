"""Imports point one way, and names stand in one place: read from the source of every module, nothing is run."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from include.common.names import Conn, Dag, Topic, Var
from tests.dags.conftest import ids

MAY_IMPORT = {
    "include.contract": set[str](),
    "include.common": {"include.contract"},
    "include.dbt": {"include.common", "include.contract"},
    "include.gx": {"include.common", "include.contract"},
    "include.serving": {"include.common", "include.contract"},
    "include.simulator": {"include.common", "include.contract"},
    "include.spark_jobs": {"include.common", "include.contract"},
    "include.trace": {"include.common", "include.contract"},
    # configures dbt and Great Expectations, and starts jobs and the simulator
    "include.orchestration": {
        "include.common", "include.contract", "include.dbt", "include.gx", "include.simulator", "include.spark_jobs",
        "include.trace",
    },
    "dags": {"include.common", "include.orchestration"},
    "plugins": {"include.common", "include.orchestration"},
    # a tool around the project: the same lists, settings and checks
    "local_stack": {"include.common", "include.contract", "include.dbt", "include.orchestration", "include.simulator"},
}  # fmt: skip
"""Who may import whom (DESIGN section 2), beside itself. Nobody may import dags, plugins or local_stack."""
ONLY_INSIDE_FUNCTIONS = {
    ("include.orchestration", "include.simulator"),
    ("include.orchestration", "include.spark_jobs"),
    ("include.orchestration", "include.trace"),
}
"""Not while a DAG file is parsed."""
ROOTS = ("include", "dags", "plugins", "local_stack", "tests", "benchmarks")


@dataclass(frozen=True)
class ProjectImport:
    """One import of a module of ours."""

    file: str
    source: str
    target: str
    module: str
    at_module_level: bool


def layer(dotted: str) -> str:
    """`include.gx.suites.raw_events` -> `include.gx`; `dags.events_archive` -> `dags`."""
    parts = dotted.split(".")
    return ".".join(parts[:2]) if parts[0] == "include" else parts[0]


def modules_named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def sources(project_root: Path) -> Iterator[tuple[Path, ast.Module]]:
    for root in ROOTS:
        for file in sorted((project_root / root).rglob("*.py")):
            yield file.relative_to(project_root), ast.parse(file.read_text(encoding="utf-8"))


def not_run_at_import(tree: ast.Module) -> set[int]:
    """`id` of every node in a function, or for the type checker only."""
    idle = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return {id(inner) for outer in idle for inner in ast.walk(outer)}


def imports_of(file: Path, tree: ast.Module) -> Iterator[ProjectImport]:
    lazy = not_run_at_import(tree)
    source = layer(".".join(file.with_suffix("").parts))
    for node in ast.walk(tree):
        for module in modules_named(node):
            if module.split(".")[0] in ROOTS and layer(module) != source:
                yield ProjectImport(str(file), source, layer(module), module, id(node) not in lazy)


@pytest.fixture(scope="module")
def imports(project_root: Path) -> list[ProjectImport]:
    """Every import between layers, also those inside functions."""
    found = [one for file, tree in sources(project_root) for one in imports_of(file, tree)]
    assert found, "no source was read"
    return found


def test_imports_point_one_way(imports: list[ProjectImport]) -> None:
    checked = [found for found in imports if found.source not in ("tests", "benchmarks")]
    unknown = {found.source for found in checked} - set(MAY_IMPORT)
    assert unknown == set(), "a new package: say in MAY_IMPORT what it may import"
    wrong = [
        f"{found.file}: {found.module}" for found in checked if found.target not in MAY_IMPORT[found.source]
    ]
    assert wrong == []


def test_nothing_imports_from_dags(imports: list[ProjectImport]) -> None:
    assert [f"{found.file}: {found.module}" for found in imports if found.target == "dags"] == []


def test_dags_take_names_only_from_common(imports: list[ProjectImport]) -> None:
    taken = {found.module for found in imports if found.source == "dags" and found.target == "include.common"}
    assert {module for module in taken if not module.startswith("include.common.names.")} == set()


def test_what_is_heavy_is_imported_inside_functions(imports: list[ProjectImport]) -> None:
    early = [
        f"{found.file}: {found.module}"
        for found in imports
        if (found.source, found.target) in ONLY_INSIDE_FUNCTIONS and found.at_module_level
    ]
    assert early == []


def test_names_are_spelt_in_one_module(project_root: Path) -> None:
    """Connection, variable, topic and DAG ids stand in include.common.names; elsewhere they are imported."""
    registered = {*ids(Conn), *ids(Dag), *ids(Topic), *ids(Var)}
    spelt = [
        f"{file}:{node.lineno}: {node.value}"
        for file, tree in sources(project_root)
        if file.parts[0] not in ("tests", "benchmarks") and file != Path("include/common/names.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in registered
    ]
    assert spelt == []


def test_every_provider_is_used(project_root: Path) -> None:
    """Each provider that requirements.txt pins is imported by what runs (unpinned ones come with Airflow)."""
    lines = (project_root / "requirements.txt").read_text().splitlines()
    pinned = [line.split("==")[0].strip() for line in lines if "==" in line]
    packages = {
        name: name.replace("apache-airflow-providers-", "airflow.providers.").replace("-", ".")
        for name in pinned
        if name.startswith("apache-airflow-providers-")
    }
    packages |= {
        "airflow-provider-great-expectations": "great_expectations_provider",
        "astronomer-cosmos": "cosmos",
    }
    used = {
        module
        for file, tree in sources(project_root)
        if file.parts[0] in ("include", "dags", "plugins")
        for node in ast.walk(tree)
        for module in modules_named(node)
    }
    unused = [
        name for name, package in packages.items() if not any(f"{m}.".startswith(f"{package}.") for m in used)
    ]
    assert unused == []
