"""The stand-in for Prometheus: named as Prometheus names, deltas added up, and nothing taken that is no OTLP."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from local_stack import metrics_receiver
from local_stack.metrics_receiver import prometheus_name
from tests.otlp_receiver import Receiver, parse_exposition, receiving

DELTA = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}
IDENTITY = {"job": "airflow", "instance": "one"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


def _process(
    receiver: Receiver, *, temporality: dict[type, AggregationTemporality] | None, exponential: bool = False
) -> MeterProvider:
    """A process that pushes when it is told to."""
    exporter = OTLPMetricExporter(
        endpoint=receiver.endpoint, preferred_temporality=temporality, compression=Compression.Gzip
    )
    views = [View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())]
    return MeterProvider(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)],
        resource=Resource.create({"service.name": "airflow", "service.instance.id": "one"}),
        views=views if exponential else (),
        shutdown_on_exit=False,
    )


def _page(receiver: Receiver) -> dict[str, list[tuple[dict[str, str], float]]]:
    with urllib.request.urlopen(receiver.endpoint.replace("/v1/metrics", "/metrics")) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return parse_exposition(answer.read().decode())


@pytest.mark.parametrize(
    ("name", "unit", "is_counter", "expected"),
    [
        ("webtoon.stream.freshness", "s", False, "webtoon_stream_freshness_seconds"),
        ("webtoon.stream.records", "{record}", True, "webtoon_stream_records_total"),
        ("webtoon.stream.state_memory", "By", False, "webtoon_stream_state_memory_bytes"),
        ("airflow.dagrun.duration.success", "ms", False, "airflow_dagrun_duration_success_milliseconds"),
        ("airflow.dag_processing.total_parse_time", "", False, "airflow_dag_processing_total_parse_time"),
        ("airflow.scheduler.orphaned_tasks.cleared", "", True, "airflow_scheduler_orphaned_tasks_cleared_total"),
        ("a.total.things", "", True, "a_things_total"),
        ("wait.seconds", "s", True, "wait_seconds_total"),
    ],
)  # fmt: skip
def test_names_are_prometheus_names(name: str, unit: str, is_counter: bool, expected: str) -> None:
    assert prometheus_name(name, unit, is_counter=is_counter) == expected


def test_short_lived_processes_are_added_up(receiver: Receiver) -> None:
    for ratio in (0.2, 0.7, 3.0):
        process = _process(receiver, temporality=DELTA)
        meter = process.get_meter("task")
        meter.create_counter("ti.finish").add(1, {"dag_id": 'a "b"\\', "ok": True})
        meter.create_histogram("wait", "s", explicit_bucket_boundaries_advisory=[0.5, 1.0]).record(ratio)
        process.shutdown()
    page = _page(receiver)
    ((labels, value),) = page["ti_finish_total"]
    assert (labels, value) == ({**IDENTITY, "dag_id": r"a \"b\"\\", "ok": "true"}, 3)
    assert page["wait_seconds_bucket"] == [
        ({**IDENTITY, "le": "0.5"}, 1), ({**IDENTITY, "le": "1"}, 2), ({**IDENTITY, "le": "+Inf"}, 3),
    ]  # fmt: skip
    assert page["wait_seconds_sum"][0][1] == pytest.approx(3.9)
    assert page["wait_seconds_count"] == [(IDENTITY, 3)]


def test_cumulative_values_and_gauges_replace_those_before(receiver: Receiver) -> None:
    process = _process(receiver, temporality=None)
    meter = process.get_meter("driver")
    counter, gauge = meter.create_counter("done"), meter.create_gauge("left")
    running = meter.create_up_down_counter("running")
    for left in (5, 4):
        counter.add(2)
        running.add(1)
        gauge.set(left)
        process.force_flush()
    page = _page(receiver)
    assert page == {"done_total": [(IDENTITY, 4)], "left": [(IDENTITY, 4)], "running": [(IDENTITY, 2)]}
    process.shutdown()


def test_of_exponential_histograms_count_and_sum_are_kept(receiver: Receiver) -> None:
    for milliseconds in (10.0, 70_000.0):
        process = _process(receiver, temporality=DELTA, exponential=True)
        process.get_meter("scheduler").create_histogram("run", "ms").record(milliseconds)
        process.shutdown()
    assert _page(receiver) == {
        "run_milliseconds_sum": [(IDENTITY, 70_010)],
        "run_milliseconds_count": [(IDENTITY, 2)],
    }


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/v1/metrics", b"no protobuf \xff\xff", 400), ("/v1/traces", b"", 404), ("/elsewhere", b"", 404)],
)
def test_what_is_no_metrics_is_refused(receiver: Receiver, path: str, body: bytes, status: int) -> None:
    url = receiver.endpoint.replace("/v1/metrics", path)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, body, method="POST"))
    assert refused.value.code == status
    refused.value.close()
    assert receiver.families() == {}


def test_it_does_not_grow_without_bounds(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_receiver, "MAX_SERIES", 3)
    process = _process(receiver, temporality=None)
    counter = process.get_meter("m").create_counter("c")
    for number in range(5):
        counter.add(1, {"n": number})
    process.force_flush()
    counter.add(1, {"n": 0})
    process.shutdown()
    values = sorted(value for _, value in _page(receiver)["c_total"])
    assert values == [1, 1, 2], "known series go on"
