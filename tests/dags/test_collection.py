"""Which DAGs there are, where they stand, and what parsing them may cost."""

import json
import os
import subprocess
import sys
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

from include.common.names import Dag
from include.orchestration.alert_text import runbook_of
from tests.dags.conftest import ids

HEAVY = ("pyspark", "great_expectations", "dbt", "pandas", "pyarrow", "numpy", "duckdb")
"""Seconds each to import; a DAG file is parsed every half minute. numpy stands for all that is built on it."""
_IMPORTED_BY = """
import json, sys
from pathlib import Path
import airflow.dag_processing.dagbag as dagbag
heavy, folder, found = sys.argv[2].split(","), Path(sys.argv[1]), {}
found["airflow itself"] = [name for name in heavy if name in sys.modules]
for file in sorted(folder.glob("*.py")):
    before = set(sys.modules)
    errors = dagbag.DagBag(file, load_op_links=False, bundle_path=folder, bundle_name="tests").import_errors
    assert not errors, errors
    found[file.name] = [name for name in heavy if name in sys.modules and name not in before]
Path(sys.argv[3]).write_text(json.dumps(found))
"""


def test_every_file_parses(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}


def test_the_dags_are_those_of_the_registry(dag_bag: DagBag) -> None:
    assert dag_bag.dags, "no DAG was collected"
    assert sorted(dag_bag.dags) == ids(Dag)


def test_no_file_is_without_a_dag_and_none_has_two(dag_bag: DagBag, dags_folder: Path) -> None:
    by_file: dict[str, list[str]] = {file.name: [] for file in dags_folder.rglob("*.py")}
    for dag_id, dag in dag_bag.dags.items():
        by_file[Path(dag.fileloc).relative_to(dags_folder).as_posix()].append(dag_id)
    assert {name: found for name, found in by_file.items() if len(found) != 1} == {}


def test_files_are_named_like_their_dag(dag_bag: DagBag) -> None:
    named = {dag_id: Path(dag.fileloc).stem for dag_id, dag in dag_bag.dags.items()}
    # what a runbook is called, too; no dbt_*.py: Airflow would import it in place of the package dbt
    assert named == {dag_id: runbook_of(dag_id) for dag_id in dag_bag.dags}
    assert [stem for stem in named.values() if stem.startswith(("dbt", "airflow"))] == []


def test_dag_files_are_wiring_only(dags_folder: Path) -> None:
    lengths = {file.name: len(file.read_text().splitlines()) for file in dags_folder.glob("*.py")}
    assert {name: lines for name, lines in lengths.items() if lines > 120} == {}


def test_parsing_imports_nothing_heavy(dags_folder: Path, dbt_manifest: Path, tmp_path: Path) -> None:
    """In a fresh interpreter, where nothing was imported by another test. Seconds are `make bench-parse`'s."""
    answer = tmp_path / "imported.json"
    parsed = subprocess.run(
        [sys.executable, "-c", _IMPORTED_BY, str(dags_folder), ",".join(HEAVY), str(answer)],
        env={**os.environ, "WEBTOON_DBT_MANIFEST": str(dbt_manifest)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert parsed.returncode == 0, parsed.stderr[-3000:]
    found = json.loads(answer.read_text())
    assert {name: modules for name, modules in found.items() if modules} == {}
    assert len(found) == 1 + len(list(dags_folder.glob("*.py")))
