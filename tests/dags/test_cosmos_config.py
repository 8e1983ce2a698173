"""How dbt's models become tasks."""

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from include.common.names import Dag, Pool
from include.orchestration import cosmos_config
from include.orchestration.cosmos_config import ManifestMissingError, dbt_group


def test_a_missing_manifest_is_said_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosmos_config, "manifest_path", lambda: tmp_path / "manifest.json")
    with pytest.raises(ManifestMissingError, match=r"manifest\.json is missing.*make dbt-manifest"):
        dbt_group("readings", "tag:readings")


def test_every_model_is_run_and_then_tested_in_dbt_s_pool(dag_bag: DagBag) -> None:
    dag = dag_bag.dags[Dag.MODEL]
    runs = {task_id for task_id in dag.task_ids if task_id.endswith(".run")}
    assert len(runs) >= 5
    for run in runs:
        test = f"{run.removesuffix('.run')}.test"
        assert test in dag.get_task(run).downstream_task_ids, f"{run} is not followed by its test"
        assert {dag.get_task(name).pool for name in (run, test)} == {Pool.DBT}


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
