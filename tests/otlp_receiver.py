"""The stand-in for Prometheus inside the test's process."""

import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from local_stack import metrics_receiver
from local_stack.metrics_receiver import Family, Histogram, Store


@dataclass(frozen=True)
class Receiver:
    """Where to push to, and what has arrived."""

    endpoint: str
    store: Store

    def families(self) -> dict[str, Family]:
        """All series by Prometheus' name."""
        return self.store.families()

    def value(self, name: str, **labels: str) -> float | Histogram:
        """The series of `name` with just these labels, besides job and instance; one job and instance only."""
        series = self.store.families()[name].series
        (found,) = (
            value
            for its_labels, value in series.items()
            if {label: text for label, text in its_labels if label not in ("job", "instance")} == labels
        )
        return found

    def number(self, name: str, **labels: str) -> float:
        """`value` of a counter or gauge."""
        found = self.value(name, **labels)
        assert isinstance(found, float)
        return found

    def histogram(self, name: str, **labels: str) -> Histogram:
        """`value` of a histogram."""
        found = self.value(name, **labels)
        assert isinstance(found, Histogram)
        return found


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    """A receiver on a loopback port, free where 0, for as long as the block lasts."""
    store = Store()
    server = metrics_receiver.make_server(store, port)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield Receiver(f"http://127.0.0.1:{server.server_port}{metrics_receiver.PATH}", store)
    finally:
        server.shutdown()
        server.server_close()


Samples = dict[str, list[tuple[dict[str, str], float]]]
"""(labels, value) of each series by name."""
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def scrape(address: str) -> Samples:
    """What a running stack's receiver at host:port has, as Prometheus would read it."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        return parse_exposition(answer.read().decode())


def parse_exposition(text: str) -> Samples:
    """Prometheus' text format as `Samples`; escapes in label values are left as they are."""
    samples: Samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        match = _SAMPLE.match(line)
        assert match is not None, f"no sample: {line}"
        name, labels, value = match.groups()
        samples.setdefault(name, []).append((dict(_LABEL.findall(labels or "")), float(value)))
    return samples
