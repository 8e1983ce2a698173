"""The stream's metrics, pushed by OTLP over HTTP to Prometheus, to a collector or to the native stack's stand-in.

The same way as Airflow's own: OpenTelemetry's SDK, set by its standard environment variables. Nothing here is in the
way of a micro-batch: what happened is added up in memory, a thread of its own sends it, and a receiver that is away
is told of once. Names, units and labels stand in METRICS and in docs/metrics.md.
"""

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics import export as otel
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource

from include.common.names import Pg
from include.spark_jobs.stream_sessionize.progress import BatchProgress

if TYPE_CHECKING:
    from include.spark_jobs.stream_sessionize.micro_batch import MicroBatch

SERVICE = "webtoon-stream"
"""`job` of every series; `instance` is the query's name."""
EXPORT_EVERY_MS = 15_000
"""Where OTEL_METRIC_EXPORT_INTERVAL is not set."""
SHUTDOWN_WITHIN_MS = 2_000
"""The last export's time; the driver does not wait longer for a receiver that hangs."""
FRESHNESS_BOUNDS_S = (
    0.1, 0.25, 0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip
"""The budgets' limits are among them, so that a share within a budget is exact."""
PHASE_BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


@dataclass(frozen=True)
class MetricSpec:
    """One metric in OpenTelemetry's terms; `kind` is counter, gauge or histogram."""

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    description: str


RECORDS = MetricSpec("webtoon.stream.records", "counter", "{record}", ("outcome",),
    "Records of the events topic in committed micro-batches: accepted, duplicate, late, dead_letter or erased")  # fmt: skip
UPSERTED = MetricSpec("webtoon.stream.rows_upserted", "counter", "{row}", (),
    "Rows of realtime.session_features written")  # fmt: skip
DELETED = MetricSpec("webtoon.stream.rows_deleted", "counter", "{row}", (),
    "Rows of realtime.session_features deleted, because an earlier start gave their session another key")  # fmt: skip
LANDED = MetricSpec("webtoon.stream.rows_landed", "counter", "{row}", (),
    "Rows of closed readings written to landing files")  # fmt: skip
RESTARTS = MetricSpec("webtoon.stream.restarts", "gauge", "{restart}", (),
    "Restarts of the driver by its supervising task, ever (ops.stream_control)")  # fmt: skip
FRESHNESS = MetricSpec("webtoon.stream.freshness", "histogram", "s", (),
    "Commit of an event's micro-batch less the event's Kafka time, of each event the contract accepts")  # fmt: skip
PHASE = MetricSpec("webtoon.stream.batch_phase_duration", "histogram", "s", ("phase",),
    "Time a micro-batch spent in a phase; triggerExecution is the whole, writer.* but collect and wait are beside it")  # fmt: skip
LAG = MetricSpec("webtoon.stream.lag_records", "gauge", "{record}", ("partition",),
    "Records of the events topic that were there and not in the newest micro-batch")  # fmt: skip
STATE_ROWS = MetricSpec("webtoon.stream.state_rows", "gauge", "{row}", (),
    "Entries in the state stores: heads and log entries of buckets, not sessions")  # fmt: skip
STATE_MEMORY = MetricSpec("webtoon.stream.state_memory", "gauge", "By", (),
    "Memory that the state stores (RocksDB) hold")  # fmt: skip
LAST_BATCH = MetricSpec("webtoon.stream.last_batch_id", "gauge", "", (),
    "Number of the newest committed micro-batch of the generation")  # fmt: skip
LAST_COMMIT = MetricSpec("webtoon.stream.last_commit_timestamp", "gauge", "s", (),
    "When the newest micro-batch was committed, epoch seconds")  # fmt: skip
GENERATION = MetricSpec("webtoon.stream.generation", "gauge", "", (),
    "The generation (checkpoint lineage) that the driver works on")  # fmt: skip
METRICS = (
    RECORDS, UPSERTED, DELETED, LANDED, RESTARTS, FRESHNESS, PHASE, LAG, STATE_ROWS, STATE_MEMORY, LAST_BATCH,
    LAST_COMMIT, GENERATION,
)  # fmt: skip
_RESTARTS_SQL = f"SELECT restarts FROM {Pg.STREAM_CONTROL} WHERE name = %s"  # noqa: S608 - a constant


class BulkHistogram:
    """An explicit-bucket histogram that takes many values at once; the SDK's takes one a call, 3 us each."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0
        self._min, self._max = float("inf"), float("-inf")
        self._start_ns = time.time_ns()
        self._lock = threading.Lock()

    def record(self, values: Any) -> None:
        """Add a one-dimensional numpy array."""
        import numpy as np

        if not len(values):
            return
        # a value on a bound belongs to the bucket below, as in Prometheus' le
        slots = np.searchsorted(np.asarray(self._bounds), values, side="left")
        counts = np.bincount(slots, minlength=len(self._counts)).tolist()
        with self._lock:
            self._counts = [old + new for old, new in zip(self._counts, counts, strict=True)]
            self._sum += float(values.sum())
            self._min, self._max = min(self._min, float(values.min())), max(self._max, float(values.max()))

    def metric(self, spec: MetricSpec) -> "otel.Metric | None":
        """What to export now, cumulative; None before the first value."""
        with self._lock:
            count = sum(self._counts)
            if not count:
                return None
            point = otel.HistogramDataPoint(
                attributes={}, start_time_unix_nano=self._start_ns, time_unix_nano=time.time_ns(), count=count,
                sum=self._sum, bucket_counts=list(self._counts), explicit_bounds=list(self._bounds),
                min=self._min, max=self._max,
            )  # fmt: skip
        data = otel.Histogram([point], otel.AggregationTemporality.CUMULATIVE)
        return otel.Metric(spec.name, spec.description, spec.unit, data)


class StreamExporter(otel.MetricExporter):
    """OTLP over HTTP, the freshness histogram added; says once that the receiver is away, and once that it is back.

    Cumulative whatever the environment prefers for short-lived processes: an export that got lost is made up for
    by the next.
    """

    def __init__(self, endpoint: str, freshness: BulkHistogram) -> None:
        cumulative = otel.AggregationTemporality.CUMULATIVE
        self._inner = OTLPMetricExporter(
            endpoint=endpoint,
            preferred_temporality={Counter: cumulative, ObservableCounter: cumulative, Histogram: cumulative},
        )
        super().__init__(self._inner._preferred_temporality, self._inner._preferred_aggregation)
        self._endpoint = endpoint
        self._freshness = freshness
        self._is_away = False
        # it logs each failed try; ours is said once
        logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)

    def export(
        self, metrics_data: otel.MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> otel.MetricExportResult:
        """Send everything; never raises."""
        result = self._inner.export(self._with_freshness(metrics_data), timeout_millis, **kwargs)
        is_away = result is not otel.MetricExportResult.SUCCESS
        if is_away != self._is_away:
            self._is_away = is_away
            news = "cannot be sent; the stream goes on without (said once)" if is_away else "are sent again"
            print(f"stream_sessionize: metrics {news}: {self._endpoint}", flush=True)
        return result

    def _with_freshness(self, data: otel.MetricsData) -> otel.MetricsData:
        metric = self._freshness.metric(FRESHNESS)
        if metric is None or not data.resource_metrics:
            return data
        resource, *others = data.resource_metrics
        scope, *other_scopes = resource.scope_metrics
        scope = dataclasses.replace(scope, metrics=[*scope.metrics, metric])
        resource = dataclasses.replace(resource, scope_metrics=[scope, *other_scopes])
        return dataclasses.replace(data, resource_metrics=[resource, *others])

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Nothing is buffered."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Give up a try at hand."""
        self._inner.shutdown()


class StreamMetrics:
    """Adds up what the driver does. `committed` and `observe` are called by the writer and the progress recorder."""

    def __init__(
        self, exporter: otel.MetricExporter, freshness: BulkHistogram, name: str, generation: int
    ) -> None:
        interval_ms = float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or EXPORT_EVERY_MS)
        self._freshness = freshness
        self._name = name
        self._knows_restarts = False
        self._has_failed = False
        self._provider = MeterProvider(
            [otel.PeriodicExportingMetricReader(exporter, export_interval_millis=interval_ms)],
            resource=Resource.create({SERVICE_NAME: SERVICE, SERVICE_INSTANCE_ID: name}),
            shutdown_on_exit=False,
        )
        meter = self._provider.get_meter(SERVICE)
        self._counters = {
            spec: meter.create_counter(spec.name, spec.unit, spec.description)
            for spec in METRICS
            if spec.kind == "counter"
        }
        self._gauges = {
            spec: meter.create_gauge(spec.name, spec.unit, spec.description)
            for spec in METRICS
            if spec.kind == "gauge"
        }
        self._phases = meter.create_histogram(
            PHASE.name, PHASE.unit, PHASE.description, explicit_bucket_boundaries_advisory=PHASE_BOUNDS_S
        )
        self._gauges[GENERATION].set(generation)

    def committed(self, batch: "MicroBatch") -> None:
        """`batch` was committed just now and for the first time. Never raises."""
        self._guarded(lambda: self._add_batch(batch))

    def observe(self, progress: BatchProgress, connection: psycopg.Connection) -> None:
        """What Spark says of a micro-batch that has ended. Never raises."""
        self._guarded(lambda: self._add_progress(progress, connection))

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with metrics, the stream goes on
            if not self._has_failed:
                self._has_failed = True
                print(f"stream_sessionize: metrics are incomplete (said once): {error!r}", flush=True)

    def _add_batch(self, batch: "MicroBatch") -> None:
        import numpy as np
        import pyarrow.compute as pc

        now = time.time()
        outcomes = {
            "accepted": batch.total("accepted"),
            "duplicate": batch.total("duplicates"),
            "late": batch.total_late,
            "dead_letter": batch.total("dead_letters"),
            "erased": batch.total("erased"),
        }
        for outcome, count in outcomes.items():
            self._counters[RECORDS].add(count, {"outcome": outcome})
        self._counters[UPSERTED].add(batch.upserts.num_rows)
        self._counters[DELETED].add(batch.total_deletes)
        self._counters[LANDED].add(pc.sum(batch.upserts["is_final"]).as_py() or 0)
        self._gauges[LAST_BATCH].set(batch.batch_id)
        self._gauges[LAST_COMMIT].set(now)
        kafka_ms = np.frombuffer(b"".join(tally.kafka_ms for tally in batch.tallies), dtype=np.int64)
        self._freshness.record(now - kafka_ms / 1000)

    def _add_progress(self, progress: BatchProgress, connection: psycopg.Connection) -> None:
        for phase, milliseconds in progress.durations_ms.items():
            self._phases.record(milliseconds / 1000, {"phase": phase})
        for partition, records in progress.lag_records.items():
            self._gauges[LAG].set(records, {"partition": partition})
        for spec, key in ((STATE_ROWS, "numRowsTotal"), (STATE_MEMORY, "memoryUsedBytes")):
            if key in progress.state:
                self._gauges[spec].set(progress.state[key])
        if not self._knows_restarts:
            # a restart is a new driver, so once is enough; by hand there is no supervisor and no row. No counter:
            # its value outlives the process, which Prometheus would take for a reset
            row = connection.execute(_RESTARTS_SQL, (self._name,)).fetchone()
            self._gauges[RESTARTS].set(row[0] if row else 0)
            self._knows_restarts = True

    def close(self) -> None:
        """Send what is there a last time, if the receiver answers."""
        self._provider.shutdown(SHUTDOWN_WITHIN_MS)


def start_metrics(endpoint: str, name: str, generation: int) -> StreamMetrics:
    """Begin to push to `endpoint` every OTEL_METRIC_EXPORT_INTERVAL ms; it need not be there."""
    freshness = BulkHistogram(FRESHNESS_BOUNDS_S)
    return StreamMetrics(StreamExporter(endpoint, freshness), freshness, name, generation)
