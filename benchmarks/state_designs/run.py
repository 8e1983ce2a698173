"""Events a second of each way to keep sessions, in one run on one topic: `make bench-designs`.

No sink: what differs is the state. Slow ways get a smaller share of the topic (the same for those that share a key),
printed beside them. The last line is a JSON object: design -> events/s.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.backlog import produce_backlog
from benchmarks.stack import BenchmarkError, BenchStack, machine, print_json, run_to_end, running_stack, say
from benchmarks.state_designs.designs import DESIGNS
from local_stack.errors import StackError

_DRIVER = Path(__file__).resolve().parent / "driver.py"
_PARTITIONS = 4
_BY_SESSION = ("transform", "group_state")


@dataclass(frozen=True)
class Size:
    """A topic and what of it a micro-batch takes."""

    events: int
    micro_batch: int


def main() -> int:
    """Print the table and, last, the JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--events",
        type=int,
        default=400_000,
        help="good events for ways keyed by bucket or in the JVM (%(default)s)",
    )
    add(
        "--session-events",
        type=int,
        default=60_000,
        help="good events for ways keyed by session (%(default)s)",
    )
    add("--micro-batches", type=int, default=10, help="about how many each run has (%(default)s)")
    arguments = parser.parse_args()
    try:
        with running_stack() as bench:
            print(f"machine: {machine()}")
            return _measure(bench, arguments)
    except (BenchmarkError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _measure(bench: BenchStack, arguments: argparse.Namespace) -> int:
    rates: dict[str, float] = {}
    print(f"\n{'way':54}{'events':>10}{'micro-batches':>15}{'events/s':>10}")
    for designs, events in (
        ([name for name in DESIGNS if name not in _BY_SESSION], arguments.events),
        (_BY_SESSION, arguments.session_events),
    ):
        topic = bench.topic("events", _PARTITIONS)
        say(f"producing {events:,} events ...")
        produce_backlog(bench.bootstrap, topic, events=events, hours=1.0, readers=100_000)
        for name in designs:
            found = _run(bench, name, topic, max(1, events // arguments.micro_batches))
            rates[name] = found["records"] / (found["ended_at"] - found["started_at"])
            title = DESIGNS[name].title
            print(
                f"{title:54}{found['records']:>10,}{len(found['batches']):>15}{rates[name]:>10,.0f}",
                flush=True,
            )
    for design in DESIGNS.values():
        if design.lacks:
            print(f"{design.title} lacks: {design.lacks}")
    print_json({name: round(rate) for name, rate in rates.items()})
    return 0


def _run(bench: BenchStack, name: str, topic: str, micro_batch: int) -> dict[str, Any]:
    stores = bench.stores(topic)
    log = stores.data_dir / f"{name}.log"
    argv = bench.spark_submit(
        _DRIVER, "--design", name, "--control-topic", stores.control_topic,
        "--checkpoint", str(stores.data_dir / "checkpoints" / name), "--micro-batch", str(micro_batch),
    )  # fmt: skip
    say(f"{name} ...")
    run_to_end(name, argv, bench.stream_environment(stores), log, limit_s=900)
    line = next(line for line in log.read_text().splitlines() if line.startswith('{"started_at"'))
    found: dict[str, Any] = json.loads(line)
    return found


if __name__ == "__main__":
    sys.exit(main())
