"""What tasks tell OpenLineage: names of datasets, whose child a job is, a gate's verdicts."""

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.apache.hive.assets.hive import convert_asset_to_openlineage as of_hive
from airflow.providers.postgres.assets.postgres import convert_asset_to_openlineage as of_postgres
from airflow.sdk import Asset

from include.common.hive.tables import SESSION_FEATURES
from include.common.lineage.events import hive_dataset, postgres_dataset, transport_setting
from include.common.names import Conn
from include.gx.results import ExpectationOutcome
from include.orchestration.gates import GateOperator
from include.orchestration.lineage import hive_table, lineage_environment, postgres_table

DSN = "postgresql://webtoon:secret@db:5433/features"


@pytest.fixture(autouse=True)
def connections(monkeypatch: pytest.MonkeyPatch) -> None:
    for conn_id, connection in {
        Conn.POSTGRES: {"conn_type": "postgres", "host": "db", "port": 5433, "login": "webtoon", "password": "secret",
                        "schema": "features"},
        Conn.METASTORE: {"conn_type": "hive_metastore", "host": "hive", "port": 9083},
    }.items():  # fmt: skip
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))


def test_tasks_and_spark_jobs_name_a_table_alike() -> None:
    table = of_postgres(Asset(uri=postgres_table("ops.model_cuts")), None)
    same = postgres_dataset(DSN, "ops.model_cuts")
    assert (table.namespace, table.name) == (same.namespace, same.name)
    assert (table.namespace, table.name) == ("postgres://db:5433", "features.ops.model_cuts")
    hive = of_hive(Asset(uri=hive_table("session_features")), None)
    same = hive_dataset("thrift://hive:9083", SESSION_FEATURES)
    assert (hive.namespace, hive.name) == (same.namespace, same.name)


def _task_instance() -> Any:
    run = SimpleNamespace(
        logical_date=datetime(2026, 11, 26, tzinfo=UTC), run_after=None, clear_number=0, conf={}
    )
    return SimpleNamespace(
        dag_id="events__archive", task_id="archive_slice", try_number=2, map_index=-1, dag_run=run, conf={},
        get_template_context=lambda: {"dag_run": run},
    )  # fmt: skip


def test_a_job_learns_transport_and_parent_from_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = transport_setting(tmp_path)
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__TRANSPORT", setting)
    monkeypatch.setenv("AIRFLOW__OPENLINEAGE__NAMESPACE", "webtoon")
    told = lineage_environment(_task_instance())
    assert json.loads(told["OPENLINEAGE__TRANSPORT"]) == json.loads(setting)
    assert told["OPENLINEAGE_NAMESPACE"] == "webtoon"
    assert told["OPENLINEAGE_PARENT_ID"].startswith("webtoon/events__archive.archive_slice/")
    assert told["OPENLINEAGE_ROOT_PARENT_ID"].startswith("webtoon/events__archive/")


@pytest.mark.parametrize(
    "setting", [{}, {"TRANSPORT": '{"type": "console"}', "DISABLED": "True"}, {"TRANSPORT": "{broken"}]
)
def test_without_lineage_a_job_learns_nothing(
    setting: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(f"AIRFLOW__OPENLINEAGE__{name}", value)
    assert lineage_environment(_task_instance()) == {}


def test_a_gate_tells_its_verdicts() -> None:
    gate = GateOperator(task_id="gate_sessions", gate="g", subjects=lambda context: [], runbook="r")
    for success, severity in ((True, "critical"), (False, "warning")):
        gate._outcomes.append(
            ExpectationOutcome(
                "realtime.session_features",
                f"rule_{severity}",
                "country",
                severity,
                success,
                0,
                1,
                None,
                (),
                None,
            )
        )
    lineage = gate.get_openlineage_facets_on_complete(None)
    [checked] = lineage.inputs
    assert checked.name == "features.realtime.session_features"
    verdicts = checked.facets["dataQualityAssertions"].assertions
    assert [(it.assertion, it.success, it.column, it.severity) for it in verdicts] == [
        ("rule_critical", True, "country", "error"), ("rule_warning", False, "country", "warn"),
    ]  # fmt: skip
    assert [it.name for it in lineage.outputs] == ["features.quality.gate_results"]
