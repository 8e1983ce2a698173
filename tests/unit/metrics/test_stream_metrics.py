"""What the stream pushes: every number as it was added up, every name as declared, and no harm without a receiver."""

import socket
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.common.settings import otlp_metrics_endpoint
from include.contract.bucket import LateEvent
from include.contract.sessions import ReadingKey
from include.spark_jobs.stream_sessionize import metrics
from include.spark_jobs.stream_sessionize.arguments import parse_arguments
from include.spark_jobs.stream_sessionize.changes import Tally, readings_schema
from include.spark_jobs.stream_sessionize.job import open_metrics
from include.spark_jobs.stream_sessionize.metrics import METRICS, BulkHistogram, StreamMetrics, start_metrics
from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch
from include.spark_jobs.stream_sessionize.progress import BatchProgress
from local_stack.metrics_receiver import prometheus_name
from tests.otlp_receiver import Receiver, receiving

IDENTITY = (("instance", "sessionize"), ("job", "webtoon-stream"))
PROGRESS = BatchProgress(
    7, 10, {"triggerExecution": 750, "writer.copy": 3}, {"0": 5, "1": 0}, {"numRowsTotal": 48, "memoryUsedBytes": 4096}
)  # fmt: skip


class _Control:
    """Answers for ops.stream_control."""

    def __init__(self, restarts: int | Exception) -> None:
        self._restarts = restarts

    def execute(self, statement: str, parameters: tuple[str]) -> "_Control":
        if isinstance(self._restarts, Exception):
            raise self._restarts
        return self

    def fetchone(self) -> tuple[int]:
        assert isinstance(self._restarts, int)
        return (self._restarts,)


def _batch(batch_id: int, final: list[bool], kafka_ms: list[int]) -> MicroBatch:
    row = dict.fromkeys(readings_schema().names)
    upserts = pa.Table.from_pylist([{**row, "is_final": it} for it in final], schema=readings_schema())
    late = LateEvent(0, 5, "s", "e", 1, 2, "u")
    tally = Tally(
        [ReadingKey("s", 0, "e")], [late], 6, 2, 1, max(kafka_ms),
        kafka_ms=array("q", kafka_ms).tobytes(),
    )  # fmt: skip
    return MicroBatch(batch_id, {"0": 0}, {"0": 10}, upserts, [tally, Tally([], [], 3, 0, 0, -1)])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


@pytest.fixture(autouse=True)
def _no_periodic_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "OTEL_METRIC_EXPORT_INTERVAL", "3600000"
    )  # the last export, of close(), is the only one
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"
    )  # of Airflow, not of the stream


def _push(receiver: Receiver, work: Callable[[StreamMetrics], None]) -> None:
    pushed = start_metrics(receiver.endpoint, "sessionize", 3)
    work(pushed)
    pushed.close()


def test_all_numbers_arrive(receiver: Receiver) -> None:
    now_ms = round(time.time() * 1000)

    def work(pushed: StreamMetrics) -> None:
        for batch_id in (6, 7):
            pushed.committed(
                _batch(batch_id, [True, False, True], [now_ms - 700, now_ms - 700, now_ms - 3_600_000])
            )
        for _ in range(2):
            pushed.observe(PROGRESS, _Control(4))  # type: ignore[arg-type]

    _push(receiver, work)
    outcomes = ("accepted", "duplicate", "late", "dead_letter")
    records = [receiver.number("webtoon_stream_records_total", outcome=it) for it in outcomes]
    assert records == [18, 4, 2, 2]
    assert receiver.number("webtoon_stream_rows_upserted_total") == 6
    assert receiver.number("webtoon_stream_rows_deleted_total") == 2
    assert receiver.number("webtoon_stream_rows_landed_total") == 4
    assert receiver.number("webtoon_stream_restarts") == 4, "read once, not added up"
    assert receiver.number("webtoon_stream_lag_records", partition="0") == 5
    assert receiver.number("webtoon_stream_lag_records", partition="1") == 0
    assert receiver.number("webtoon_stream_state_rows") == 48
    assert receiver.number("webtoon_stream_state_memory_bytes") == 4096
    assert receiver.number("webtoon_stream_last_batch_id") == 7
    assert receiver.number("webtoon_stream_generation") == 3
    assert now_ms / 1000 <= receiver.number("webtoon_stream_last_commit_timestamp_seconds") <= time.time()
    phase = receiver.histogram("webtoon_stream_batch_phase_duration_seconds", phase="triggerExecution")
    assert (phase.count, phase.sum, phase.bounds) == (2, 1.5, metrics.PHASE_BOUNDS_S)
    assert phase.counts[metrics.PHASE_BOUNDS_S.index(0.75)] == 2, "a value on a bound belongs below it"
    freshness = receiver.histogram("webtoon_stream_freshness_seconds")
    assert (freshness.count, freshness.bounds) == (6, metrics.FRESHNESS_BOUNDS_S)
    assert freshness.counts[-1] == 2, "an hour old"
    assert sum(freshness.counts[metrics.FRESHNESS_BOUNDS_S.index(0.8) : -1]) == 4


def test_names_units_and_labels_are_those_declared(receiver: Receiver) -> None:
    def work(pushed: StreamMetrics) -> None:
        pushed.committed(_batch(1, [True], [1]))
        pushed.observe(PROGRESS, _Control(0))  # type: ignore[arg-type]

    _push(receiver, work)
    found = receiver.families()
    declared = {prometheus_name(it.name, it.unit, is_counter=it.kind == "counter"): it for it in METRICS}
    assert found.keys() == declared.keys()
    for name, spec in declared.items():
        assert found[name].kind == spec.kind
        assert found[name].help == spec.description
        for labels in found[name].series:
            assert {label for label, _ in labels} == {"job", "instance", *spec.labels}, name


@given(st.lists(st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0, 1.5, 2.0, 9.0, -0.2])), max_size=5))
def test_many_values_at_once_are_as_one_by_one(chunks: list[list[float]]) -> None:
    bounds = (0.1, 1.0, 2.0)
    histogram = BulkHistogram(bounds)
    for chunk in chunks:
        histogram.record(np.array(chunk))
    values = [value for chunk in chunks for value in chunk]
    metric = histogram.metric(metrics.FRESHNESS)
    if not values:
        assert metric is None
        return
    assert metric is not None
    point = metric.data.data_points[0]
    counts = [0, 0, 0, 0]
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    assert list(point.bucket_counts) == counts
    assert (point.count, point.min, point.max) == (len(values), min(values), max(values))
    assert point.sum == pytest.approx(sum(values))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_receiver_that_is_away_is_told_once_and_made_up_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "30")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0.2")
    port = _free_port()
    pushed = start_metrics(f"http://127.0.0.1:{port}/v1/metrics", "sessionize", 1)
    said = ""

    def await_that(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    def heard(text: str) -> bool:
        nonlocal said
        said += capfd.readouterr().out
        return text in said

    pushed.committed(_batch(1, [True], [1]))
    await_that(lambda: heard("metrics cannot be sent"))
    tries = []
    original = metrics.StreamExporter.export

    def counted(self: metrics.StreamExporter, *arguments: object, **more: object) -> object:
        tries.append(None)
        return original(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(metrics.StreamExporter, "export", counted)
    await_that(lambda: len(tries) > 3)  # it has failed again, and again
    assert not heard("are sent again")
    with receiving(port) as receiver:
        await_that(lambda: heard("metrics are sent again"))
        pushed.close()
    assert said.count("cannot be sent") == 1
    assert receiver.families()["webtoon_stream_rows_upserted_total"].series == {IDENTITY: 1.0}


def test_a_receiver_that_hangs_does_not_hold_the_driver(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        pushed = start_metrics(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/metrics", "sessionize", 1)
        pushed.committed(_batch(1, [True], [1]))
        pushed.close()
        assert "cannot be sent" not in capfd.readouterr().out, "it waited for the exporter to give up"


def test_what_fails_inside_is_told_once_and_goes_no_further(
    receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(pushed: StreamMetrics) -> None:
        for _ in range(3):
            pushed.observe(PROGRESS, _Control(psycopg.OperationalError("gone")))  # type: ignore[arg-type]

    _push(receiver, work)
    assert capfd.readouterr().out.count("metrics are incomplete (said once): OperationalError('gone')") == 1
    assert "webtoon_stream_lag_records" in receiver.families()


def test_the_standard_variables_name_the_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert otlp_metrics_endpoint() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")
    assert otlp_metrics_endpoint() == "http://collector:4318/v1/metrics"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://prometheus:9090/api/v1/otlp/v1/metrics")
    assert otlp_metrics_endpoint() == "http://prometheus:9090/api/v1/otlp/v1/metrics"


@pytest.mark.parametrize("interval", ["often", "0"])
def test_settings_that_make_no_sense_turn_metrics_off(
    interval: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", interval)
    assert open_metrics(parse_arguments(["--metrics-endpoint", "http://127.0.0.1:1/v1/metrics"]), 1) is None
    assert capfd.readouterr().out.startswith("stream_sessionize: metrics are off: ")


def test_without_an_address_metrics_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert open_metrics(parse_arguments([]), 1) is None
