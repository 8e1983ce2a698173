"""A loopback OTLP/HTTP receiver that stands in for Prometheus: what was pushed, as a page to read or to scrape.

`POST /v1/metrics` takes OpenTelemetry's protobuf, `GET /metrics` shows the newest values in Prometheus' text format,
named and labelled as Prometheus names them when OTLP is pushed to it. Deltas (Airflow's, whose tasks are
short-lived processes) are added up. Nothing is stored: a restart forgets. Of exponential histograms only count
and sum are store. `python -m local_stack.metrics_receiver PORT [ADDRESS]`.
"""

import gzip
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from local_stack.ports import HOST

PATH = "/v1/metrics"
MAX_BODY_BYTES = 16 << 20
MAX_SERIES = 50_000
_UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "1": ""}
_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA

Labels = tuple[tuple[str, str], ...]
"""Sorted (name, value) pairs."""


def prometheus_name(name: str, unit: str, *, is_counter: bool = False) -> str:
    """Prometheus' name of an OpenTelemetry metric: underscores, the unit in words, _total for a counter.

    As Prometheus translates by default (UnderscoreEscapingWithSuffixes), for the units that are used here.
    """
    words = [word for word in re.split(r"[^a-zA-Z0-9:]+", name) if word]
    suffix = "" if unit.startswith("{") else _UNITS.get(unit, unit)
    if suffix and suffix not in words:
        words.append(suffix)
    if is_counter:
        words = [*(word for word in words if word != "total"), "total"]
    return "_".join(words)


@dataclass
class Histogram:
    """Count, sum and, of one with explicit bounds, the counts between them (not cumulative)."""

    count: int = 0
    sum: float = 0.0
    bounds: tuple[float, ...] = ()
    counts: list[int] = field(default_factory=list)


@dataclass
class Family:
    """All series of one name. `kind` is counter, gauge, histogram or summary (an exponential histogram)."""

    kind: str
    help: str
    series: dict[Labels, float | Histogram] = field(default_factory=dict)


class Store:
    """The newest value of every series."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._lock = threading.Lock()

    def take(self, request: ExportMetricsServiceRequest) -> None:
        """Add one export."""
        with self._lock:
            for of_resource in request.resource_metrics:
                identity = _identity(_attributes(of_resource.resource.attributes))
                for of_scope in of_resource.scope_metrics:
                    for metric in of_scope.metrics:
                        self._take_metric(metric, identity)

    def families(self) -> dict[str, Family]:
        """A snapshot by Prometheus' name."""
        with self._lock:
            return {name: Family(it.kind, it.help, dict(it.series)) for name, it in self._families.items()}

    def _take_metric(self, metric: Any, identity: Mapping[str, str]) -> None:
        shape = metric.WhichOneof("data")
        if shape is None:
            return
        data = getattr(metric, shape)
        is_counter = shape == "sum" and data.is_monotonic
        kind = {"histogram": "histogram", "exponential_histogram": "summary"}.get(
            shape, "counter" if is_counter else "gauge"
        )
        name = prometheus_name(metric.name, metric.unit, is_counter=is_counter)
        family = self._families.setdefault(name, Family(kind, metric.description))
        is_delta = getattr(data, "aggregation_temporality", None) == _DELTA
        for point in data.data_points:
            labels = tuple(sorted({**identity, **_attributes(point.attributes)}.items()))
            before = family.series.get(labels) if is_delta else None
            if labels in family.series or sum(len(it.series) for it in self._families.values()) < MAX_SERIES:
                family.series[labels] = _value(shape, point, before)


def _value(shape: str, point: Any, before: float | Histogram | None) -> float | Histogram:
    if shape in ("sum", "gauge"):
        number = float(getattr(point, point.WhichOneof("value") or "as_double"))
        return number + before if isinstance(before, float) else number
    bounds = tuple(point.explicit_bounds) if shape == "histogram" else ()
    counts = list(point.bucket_counts) if shape == "histogram" else []
    value = Histogram(point.count, point.sum, bounds, counts)
    if isinstance(before, Histogram) and before.bounds == bounds:
        value.count += before.count
        value.sum += before.sum
        value.counts = [old + new for old, new in zip(before.counts, counts, strict=True)]
    return value


def _attributes(pairs: Iterable[Any]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        value = getattr(pair.value, pair.value.WhichOneof("value") or "string_value")
        found[re.sub(r"[^a-zA-Z0-9_]", "_", pair.key)] = (
            str(value).lower() if isinstance(value, bool) else str(value)
        )
    return found


def _identity(resource: Mapping[str, str]) -> dict[str, str]:
    """`job` and `instance`, as Prometheus makes them of the resource."""
    names = {"job": resource.get("service_name"), "instance": resource.get("service_instance_id")}
    return {label: value for label, value in names.items() if value}


def exposition(families: Mapping[str, Family]) -> str:
    """Prometheus' text format."""
    return "".join(f"{line}\n" for name in sorted(families) for line in _lines(name, families[name]))


def _lines(name: str, family: Family) -> Iterator[str]:
    if family.help:
        yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.kind}"
    for labels, value in sorted(family.series.items()):
        if isinstance(value, float):
            yield f"{name}{_braces(labels)} {value:.17g}"
            continue
        reached = 0
        for bound, count in zip((*value.bounds, float("inf")), value.counts, strict=bool(value.counts)):
            reached += count
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f"{name}_bucket{_braces((*labels, ('le', le)))} {reached}"
        yield f"{name}_sum{_braces(labels)} {value.sum:.17g}"
        yield f"{name}_count{_braces(labels)} {value.count}"


def _braces(labels: Labels) -> str:
    def quoted(value: str) -> str:
        escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        return f'"{escaped}"'

    return "{" + ",".join(f"{name}={quoted(value)}" for name, value in labels) + "}" if labels else ""


def make_server(store: Store, port: int, address: str = HOST) -> ThreadingHTTPServer:
    """A server on `address` that fills and shows `store`; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self, status: HTTPStatus, content_type: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            if self.path == "/metrics":
                content = exposition(store.families()).encode()
                self._answer(HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", content)
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"GET /metrics")

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if self.path != PATH or length > MAX_BODY_BYTES:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", f"POST {PATH}, 16 MiB at most".encode())
                return
            body = self.rfile.read(length)
            try:
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                store.take(ExportMetricsServiceRequest.FromString(body))
            except (DecodeError, OSError, EOFError) as error:
                self._answer(HTTPStatus.BAD_REQUEST, "text/plain", f"no OTLP metrics: {error}".encode())
                return
            self._answer(
                HTTPStatus.OK, "application/x-protobuf", ExportMetricsServiceResponse().SerializeToString()
            )

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
            """An export every few seconds of every process is no news."""

    return ThreadingHTTPServer((address, port), Handler)


if __name__ == "__main__":
    make_server(Store(), int(sys.argv[1]), *sys.argv[2:]).serve_forever()
