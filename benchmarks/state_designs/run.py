"""Each way to keep sessions, catching up and live: `make bench-designs`.

No sink: what differs is the state. *Catching up* is events a second over one topic; slow ways get a smaller share of it (the
same for those that share a key), printed beside them. *Live* is the median of small micro-batches while many sessions are
open that none of their events belongs to: does the cost follow what is touched or what is open? The last line is a JSON
object: `events_per_s` and `live_ms` by design.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.backlog import produce_backlog
from benchmarks.live_events import open_sessions
from benchmarks.stack import (
    BenchmarkError,
    BenchStack,
    Stores,
    machine,
    print_json,
    run_to_end,
    running_stack,
    say,
)
from benchmarks.state_designs.designs import DESIGNS
from include.simulator.plan import DEFAULT_SHARES, Plan
from include.simulator.producer import send
from include.simulator.traffic import records
from local_stack.errors import StackError

_DRIVER = Path(__file__).resolve().parent / "driver.py"
_PARTITIONS = 4
_BY_SESSION = ("transform", "group_state")
_EVENTS_EACH = 2
"""Of each session that is open."""
_LARGE = 50_000
"""Records of a micro-batch while those are read."""
_LIVE_S = 30
"""Of event time that the live micro-batches hold."""
_COLD = 10
"""Live micro-batches that do not count: caches are filled, the JVM compiles."""


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
    add("--open-sessions", type=int, default=200_000, help="open while it is live; 0: not live (%(default)s)")
    add("--live-records", type=int, default=1_000, help="of a live micro-batch (%(default)s)")
    add(
        "--live-batches", type=int, default=50, help=f"live micro-batches, {_COLD} of them cold (%(default)s)"
    )
    add("--only", choices=DESIGNS, action="append", help="this way only; may be repeated (all)")
    arguments = parser.parse_args()
    try:
        with running_stack() as bench:
            print(f"machine: {machine()}")
            chosen = arguments.only or list(DESIGNS)
            rates = _catching_up(bench, chosen, arguments)
            live = _live(bench, chosen, arguments) if arguments.open_sessions else {}
    except (BenchmarkError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for design in DESIGNS.values():
        if design.lacks:
            print(f"{design.title} lacks: {design.lacks}")
    print_json({"events_per_s": rates, "live_ms": live})
    return 0


def _catching_up(bench: BenchStack, chosen: list[str], arguments: argparse.Namespace) -> dict[str, int]:
    rates: dict[str, int] = {}
    print(f"\n{'way':54}{'events':>10}{'micro-batches':>15}{'events/s':>10}")
    for designs, events in (
        ([name for name in chosen if name not in _BY_SESSION], arguments.events),
        ([name for name in chosen if name in _BY_SESSION], arguments.session_events),
    ):
        if not designs:
            continue
        topic = bench.topic("events", _PARTITIONS)
        say(f"producing {events:,} events ...")
        produce_backlog(bench.bootstrap, topic, events=events, hours=1.0, readers=100_000)
        for name in designs:
            found = _run(bench, name, bench.stores(topic), max(1, events // arguments.micro_batches))
            rates[name] = round(found["records"] / (found["ended_at"] - found["started_at"]))
            title = DESIGNS[name].title
            print(
                f"{title:54}{found['records']:>10,}{len(found['batches']):>15}{rates[name]:>10,.0f}",
                flush=True,
            )
    return rates


def _live(bench: BenchStack, chosen: list[str], arguments: argparse.Namespace) -> dict[str, int]:
    size, count = arguments.live_records, arguments.live_batches
    print(
        f"\n{f'{arguments.open_sessions:,} sessions open, micro-batches of {size:,}':54}{'median ms':>10}{'p95 ms':>10}"
    )
    medians: dict[str, int] = {}
    client = {"bootstrap.servers": bench.bootstrap}
    for name in chosen:
        stores = bench.stores(bench.topic("open", _PARTITIONS))
        now_ms = int(time.time() * 1000)
        say(f"{name}: opening {arguments.open_sessions:,} sessions ...")
        send(open_sessions(arguments.open_sessions, _EVENTS_EACH, now_ms), client, stores.topic)
        _run(bench, name, stores, _LARGE)
        plan = Plan(
            now_ms, _LIVE_S * 1000, events=None, rate=size * count / _LIVE_S, readers=100_000,
            shares={**DEFAULT_SHARES, "late": 0.0},
        )  # fmt: skip
        send(records(plan), client, stores.topic)
        milliseconds = [1000 * seconds for _, seconds in _run(bench, name, stores, size)["batches"][_COLD:]]
        if len(milliseconds) < 2:
            raise BenchmarkError(f"--live-batches must be more than {_COLD + 1}")
        medians[name] = round(statistics.median(milliseconds))
        p95 = statistics.quantiles(milliseconds, n=20)[-1]
        print(f"{DESIGNS[name].title:54}{medians[name]:>10,}{p95:>10,.0f}", flush=True)
    return medians


def _run(bench: BenchStack, name: str, stores: Stores, micro_batch: int) -> dict[str, Any]:
    """Read to the topic's present end, from where the checkpoint of `stores` stands."""
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
