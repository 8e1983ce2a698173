"""Dashboard and alert rules: every expression is PromQL on series and labels that the stream and Airflow really send."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from include.spark_jobs.stream_sessionize import metrics
from local_stack import airflow_native
from local_stack.context import Context
from local_stack.metrics_receiver import prometheus_name
from local_stack.paths import StatePaths
from local_stack.ports import plan
from tests.unit.metrics.promql import Selection, selections
from tests.unit.metrics.recorded import AIRFLOW_SERIES

RUNBOOK = "docs/runbooks/metrics_alerts.md"
OUTCOMES = {"accepted", "duplicate", "late", "dead_letter", "erased"}


def stream_series() -> dict[str, set[str]]:
    """Labels of each series of the stream, by Prometheus' name."""
    series: dict[str, set[str]] = {}
    for spec in metrics.METRICS:
        name = prometheus_name(spec.name, spec.unit, is_counter=spec.kind == "counter")
        labels = {"job", "instance", *spec.labels}
        if spec.kind == "histogram":
            series |= {f"{name}_sum": labels, f"{name}_count": labels, f"{name}_bucket": labels | {"le"}}
        else:
            series[name] = labels
    return series


SERIES = stream_series() | {name: {"job", "instance", *labels} for name, labels in AIRFLOW_SERIES.items()}


@pytest.fixture(scope="module")
def dashboard(project_root: Path) -> dict[str, Any]:
    return json.loads((project_root / "deploy" / "grafana" / "dashboards" / "stream.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def targets(dashboard: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(panel's title, target) of every query."""
    return [(panel["title"], it) for panel in dashboard["panels"] for it in panel.get("targets", [])]


@pytest.fixture(scope="module")
def rules(project_root: Path) -> list[dict[str, Any]]:
    loaded = yaml.safe_load((project_root / "deploy" / "prometheus" / "alerts.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def expanded(expression: str) -> str:
    """With Grafana's variables filled in, as Grafana does before it asks Prometheus."""
    filled = expression.replace("$__rate_interval", "1m").replace("$stream", ".+")
    assert "$" not in filled, f"a variable that the dashboard does not have: {expression}"
    return filled


def check(selection: Selection) -> None:
    """Raise AssertionError where nobody sends such a series."""
    assert selection.metric in SERIES, f"nobody sends {selection.metric}"
    assert selection.labels <= SERIES[selection.metric], selection
    values = dict(selection.values)
    assert values.get("job") == ("airflow" if selection.metric.startswith("airflow_") else metrics.SERVICE)
    assert values.get("outcome", "late") in OUTCOMES
    if "le" in values:
        bounds = {"webtoon_stream_freshness_seconds_bucket": metrics.FRESHNESS_BOUNDS_S}[selection.metric]
        assert values["le"] in {f"{bound:g}" for bound in bounds}, "no such bound: the panel would stay empty"


def test_every_query_is_on_series_that_are_sent(targets: list[tuple[str, dict[str, Any]]]) -> None:
    assert len(targets) > 30
    for _, target in targets:
        found = selections(expanded(target["expr"]))
        assert found
        for selection in found:
            check(selection)


def test_legends_name_labels_that_the_query_keeps(targets: list[tuple[str, dict[str, Any]]]) -> None:
    used = 0
    for title, target in targets:
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            used += 1
            kept = re.search(rf"by \([^)]*\b{label}\b", target["expr"])
            assert kept is not None, f"{title}: {label} is aggregated away"
    assert used > 5


def test_the_dashboard_shows_every_metric_of_the_stream(targets: list[tuple[str, dict[str, Any]]]) -> None:
    shown = {it.metric for _, target in targets for it in selections(expanded(target["expr"]))}
    for spec in metrics.METRICS:
        name = prometheus_name(spec.name, spec.unit, is_counter=spec.kind == "counter")
        assert any(metric.startswith(name) for metric in shown), name
    assert shown >= AIRFLOW_SERIES.keys(), "recorded for nothing"


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for a, b in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


def test_variables_ask_for_what_is_there(dashboard: dict[str, Any], project_root: Path) -> None:
    variables = {it["name"]: it for it in dashboard["templating"]["list"]}
    assert variables.keys() == {"datasource", "stream"}
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables["stream"]["definition"]).groups()  # type: ignore[union-attr]
    assert label in SERIES[metric]
    sources = yaml.safe_load(
        (project_root / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )
    assert variables["datasource"]["current"]["value"] in {it["uid"] for it in sources["datasources"]}


def test_every_alert_is_on_series_that_are_sent_and_has_its_section(
    rules: list[dict[str, Any]], project_root: Path
) -> None:
    sections = re.findall(r"^## (\w+)$", (project_root / RUNBOOK).read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in rules]
    for rule in rules:
        for selection in selections(rule["expr"]):
            check(selection)
        assert rule["annotations"]["runbook"] == f"{RUNBOOK}#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("warning", "critical")
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
            assert re.search(rf"by \([^)]*\b{label}\b", rule["expr"]), f"{rule['alert']}: no label {label}"


def test_the_page_names_every_metric_with_its_labels(project_root: Path) -> None:
    page = (project_root / "docs" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(webtoon_\w+)` \| ([^|]*) \|", page, re.MULTILINE))
    declared = {
        prometheus_name(it.name, it.unit, is_counter=it.kind == "counter"): f"{it.kind}{_by(it.labels)}"
        for it in metrics.METRICS
    }
    assert {name: kind.strip() for name, kind in rows.items()} == declared


def _by(labels: tuple[str, ...]) -> str:
    return f", by {', '.join(f'`{label}`' for label in labels)}" if labels else ""


def test_docker_and_the_native_stack_push_the_same_way(project_root: Path, tmp_path: Path) -> None:
    services = yaml.safe_load((project_root / "docker-compose.override.yml").read_text())["services"]
    paths = StatePaths.at(tmp_path / "stack")
    paths.create()
    native = airflow_native.environment(
        Context(paths, plan(paths.ports_file, use_ephemeral=False, environ={}))
    )
    wanted = {
        name: value
        for name, value in native.items()
        if name.startswith(("OTEL_", "AIRFLOW__METRICS__")) and not name.endswith("_ENDPOINT")
    }
    assert len(wanted) == 7
    for name in ("scheduler", "api-server", "dag-processor", "triggerer"):
        given = dict(services[name]["environment"])
        endpoint = given.pop("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
        assert endpoint == "http://prometheus:9090/api/v1/otlp/v1/metrics"
        assert given == wanted
    flags = " ".join(services["prometheus"]["command"])
    assert "--web.enable-otlp-receiver" in flags
    assert "otlp-deltatocumulative" in flags, "Airflow's deltas would be refused"
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    provisioning = project_root / "deploy" / "grafana" / "provisioning"
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "webtoon.yml").read_text())["providers"]
    assert provider["options"]["path"] == mounts["./deploy/grafana/dashboards"]
