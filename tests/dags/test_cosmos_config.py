"""How dbt's models become tasks."""

import json
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.common.names import Dag, Pool
from include.dbt.command import manifest_path
from include.orchestration.dbt import cosmos_config
from include.orchestration.dbt.cosmos_config import ManifestMissingError, dbt_group
from include.orchestration.model.tasks import FULL_REFRESH


def test_a_missing_manifest_is_said_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosmos_config, "manifest_path", lambda: tmp_path / "manifest.json")
    with pytest.raises(ManifestMissingError, match=r"manifest\.json is missing.*make dbt-manifest"):
        dbt_group("dbt", "path:models", full_refresh="False")


def manifest_descendants() -> dict[str, set[str]]:
    """Model -> models that read it, directly or not, as dbt says."""
    children = json.loads(manifest_path().read_text())["child_map"]

    def below(node: str) -> set[str]:
        found = {child for child in children[node] if child.startswith("model.")}
        return found.union(*(below(child) for child in found))

    def name(node: str) -> str:
        return node.split(".")[-1]

    models = [node for node in children if node.startswith("model.") and not name(node).startswith("stg_")]
    return {name(node): {name(child) for child in below(node)} for node in models}


def test_every_model_is_run_and_then_tested_in_dbt_s_pool(dag_bag: DagBag) -> None:
    dag = dag_bag.dags[Dag.MODEL]
    runs = {task_id for task_id in dag.task_ids if task_id.endswith(".run")}
    assert {run.split(".")[-2] for run in runs} == set(manifest_descendants())
    for run in runs:
        test = f"{run.removesuffix('.run')}.test"
        assert test in dag.get_task(run).downstream_task_ids, f"{run} is not followed by its test"
        assert {dag.get_task(name).pool for name in (run, test)} == {Pool.DBT}
        assert dag.get_task(run).full_refresh == FULL_REFRESH


def test_a_model_that_fails_stops_its_descendants_and_no_other_model(dag_bag: DagBag) -> None:
    dag = dag_bag.dags[Dag.MODEL]
    for model, descendants in manifest_descendants().items():
        for step in ("run", "test"):
            task = dag.get_task(f"dbt.{model}.{step}")
            after = task.get_flat_relative_ids(upstream=False)
            assert {name.split(".")[-2] for name in after if name.endswith(".run")} == descendants
            assert {"gate_marts", "publish"} <= set(after), "nothing is published"
            assert task.trigger_rule == "all_success"
    assert manifest_descendants()["user_features"] == set()
    assert "episode_features" not in manifest_descendants()["int_segment_totals"]


def test_docs_that_dbt_did_not_write_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Path] = []
    monkeypatch.setattr(cosmos_config, "keep_docs", kept.append)
    monkeypatch.setattr(cosmos_config, "record_build", lambda: kept.append(tmp_path))
    cosmos_config._keep_docs(str(tmp_path))
    assert kept == []
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "static_index.html").touch()
    cosmos_config._keep_docs(str(tmp_path))
    assert kept == [tmp_path / "target", tmp_path]
