"""How a micro-batch's cost grows with rate, open sessions, readers, partitions, and trigger: `make bench-growth`.

One thing is varied at a time around a middle (2,000 events/s, 100,000 readers, 4 partitions, nothing preloaded), each on
a stream of its own, in short stretches. The last line is a JSON object that `benchmarks.plot_growth` draws.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.live_stream import make_stretch, measure, preload, running_stream, scratch_folder
from benchmarks.processor_time import ProcessorTime
from benchmarks.stack import BenchmarkError, BenchStack, cores, machine, print_json, running_stack, say
from benchmarks.visibility import VisibilityPoller
from include.orchestration.progress_page.history import Phases
from local_stack.errors import StackError

EVENTS_EACH = 4
"""Of each preloaded session."""
SHOWN = ("triggerExecution", "addBatch", "writer.collect", "walCommit", "commitOffsets", "queryPlanning")


@dataclass(frozen=True)
class Point:
    """One combination."""

    rate: float = 2_000.0
    open_sessions: int = 0
    readers: int = 100_000
    partitions: int = 4
    trigger_ms: int = 500


VARIED: dict[str, list[Point]] = {
    "rate": [Point(rate=rate) for rate in (500.0, 2_000.0, 4_000.0, 8_000.0)],
    "open_sessions": [Point(open_sessions=count) for count in (125_000, 250_000, 500_000)],
    "readers": [Point(readers=count) for count in (10_000, 1_000_000)],
    "partitions": [Point(partitions=count) for count in (2, 8, 16)],
    "trigger_ms": [Point(trigger_ms=least) for least in (0, 250, 1_000)],
}
"""What is varied -> its points; the middle is a point of each, measured once (under `rate`)."""


def main() -> int:
    """Print the table and, last, the JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=60.0, help="measured at each point (%(default)g)")
    add("--warm", type=float, default=20.0, metavar="S", help="played before, not measured (%(default)g)")
    add("--only", choices=VARIED, action="append", help="vary this only; may be repeated (all)")
    add("--save", type=Path, metavar="PATH", help="write the JSON object here, too")
    arguments = parser.parse_args()
    print(f"machine: {machine()}")
    print(
        f"{'varied':14}{'events/s':>9}{'open':>9}{'readers':>10}{'partitions':>11}{'trigger':>9}{'cores':>7}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'batch ms':>9}{'events a batch':>15}",
        flush=True,
    )
    found: list[dict[str, Any]] = []
    try:
        with scratch_folder() as scratch, running_stack() as bench:
            for varied in arguments.only or VARIED:
                found += [_measure(bench, varied, point, arguments, scratch) for point in VARIED[varied]]
    except (BenchmarkError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    result = {"machine": machine(), "cores": cores(), "seconds": arguments.seconds, "points": found}
    if arguments.save is not None:
        arguments.save.parent.mkdir(exist_ok=True)
        arguments.save.write_text(json.dumps(result) + "\n")
    print_json(result)
    return 0


def _measure(
    bench: BenchStack, varied: str, point: Point, arguments: argparse.Namespace, scratch: Path
) -> dict[str, Any]:
    stretch = make_stretch(
        scratch, varied, point.rate,
        warm_s=arguments.warm, seconds=arguments.seconds, readers=point.readers, seed=31,
    )  # fmt: skip
    stores = bench.stores(bench.topic("events", point.partitions))
    trigger = ("--trigger-ms", str(point.trigger_ms))
    with VisibilityPoller(stores.dsn) as poller, running_stream(bench, stores, *trigger) as process:
        sessions = max(point.open_sessions, 1_000)
        say(f"{varied}: {point}; preloading {sessions:,} sessions ...")
        preload(bench, stores.topic, poller, sessions, EVENTS_EACH)
        used = ProcessorTime(process.pid)
        result = measure(bench, stores.topic, stores.dsn, poller, stretch, scratch)
        in_use = used.cores()
    summary = result.summary
    a_batch = summary["events"] / summary["micro_batches"]
    batch_ms = result.phases["triggerExecution"][0]
    print(
        f"{varied:14}{point.rate:>9,.0f}{point.open_sessions:>9,}{point.readers:>10,}{point.partitions:>11}"
        f"{point.trigger_ms:>9}{in_use:>7.2f}{summary['p50_ms']:>8}{summary['p99_ms']:>8}{batch_ms:>9.0f}{a_batch:>15,.0f}",
        flush=True,
    )
    phases = {name: result.phases[name][0] for name in SHOWN if name in result.phases}
    phases["writer (PostgreSQL)"] = Phases.of(
        {name: middle for name, (middle, _) in result.phases.items()}
    ).write
    return {
        "varied": varied,
        **asdict(point),
        "p50_ms": summary["p50_ms"],
        "p99_ms": summary["p99_ms"],
        "events_a_batch": round(a_batch),
        "cores_in_use": round(in_use, 3),
        "phases_ms": phases,
    }


if __name__ == "__main__":
    sys.exit(main())
