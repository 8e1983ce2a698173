"""What the stream costs while nobody reads: `make bench-idle`.

Sessions are opened, the topic falls idle, and processor time is measured: of the driver with its JVM and Python workers, of
PostgreSQL, and of the broker, which is the peer: another idle JVM. Once with a tick a minute, as stream__send_tick sends it,
and once without. A virtual machine may charge much for a wake-up of an idle processor; wake-ups a second are what the
stream itself does. The last line is a JSON object.
"""

import argparse
import sys
import time
from typing import Any

import psycopg

from benchmarks.live_stream import TICK_EVERY_S, preload, running_stream
from benchmarks.processor_time import ProcessorTime
from benchmarks.stack import BenchmarkError, BenchStack, cores, machine, print_json, running_stack, say
from benchmarks.visibility import VisibilityPoller
from include.common.kafka.topics import EVENTS_PARTITIONS
from local_stack import stack
from local_stack.errors import StackError

LIMIT_CORES = 0.05
"""DESIGN section 5: an idle topic costs under 5 % of a core."""
SETTLE_S = 30.0
"""After the last event: the JVM's compilers come to rest."""
EVENTS_EACH = 4


def main() -> int:
    """Print the table and, last, the JSON object; 1 where the stream takes more than the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=300.0, help="measured in each of the two (%(default)g)")
    add("--open-sessions", type=int, default=100_000, metavar="N", help="open in the state (%(default)s)")
    arguments = parser.parse_args()
    if arguments.seconds < 2 * TICK_EVERY_S:
        parser.error(
            f"--seconds must be at least {2 * TICK_EVERY_S:.0f}: a tick comes every {TICK_EVERY_S:.0f} s"
        )
    print(f"machine: {machine()}")
    print(
        f"{'% of a core':16}{'stream':>9}{'PostgreSQL':>12}{'broker':>9}{'of the broker':>15}{'wake-ups/s':>12}"
        f"{'micro-batches':>15}",
        flush=True,
    )
    found = {}
    try:
        with running_stack() as bench:
            for name, ticks in (("with ticks", True), ("without ticks", False)):
                found[name.replace(" ", "_")] = used = _measure(bench, name, arguments, ticks=ticks)
                shown = [f"{100 * used[part]:.1f}" for part in ("stream", "postgres", "kafka")]
                print(
                    f"{name:16}{shown[0]:>9}{shown[1]:>12}{shown[2]:>9}{used['stream'] / used['kafka']:>15.2f}"
                    f"{used['wakeups']:>12.0f}{used['micro_batches']:>15}",
                    flush=True,
                )
    except (BenchmarkError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    is_over = any(used["stream"] > LIMIT_CORES for used in found.values())
    print(f"limit: {100 * LIMIT_CORES:.0f} % of a core for the stream: {'over it' if is_over else 'ok'}")
    print_json({**found, "limit": LIMIT_CORES, "cores": cores(), "seconds": arguments.seconds})
    return 1 if is_over else 0


def _measure(bench: BenchStack, name: str, arguments: argparse.Namespace, *, ticks: bool) -> dict[str, Any]:
    stores = bench.stores(bench.topic("events", EVENTS_PARTITIONS))
    servers = {it.name: it.pid for it in stack.status(bench.context.paths.root)}
    with running_stream(bench, stores, ticks=ticks) as process:
        with VisibilityPoller(
            stores.dsn
        ) as poller:  # not while it is measured: it asks PostgreSQL all the time
            say(f"{name}: opening {arguments.open_sessions:,} sessions ...")
            preload(bench, stores.topic, poller, arguments.open_sessions, EVENTS_EACH)
        time.sleep(SETTLE_S)
        before = _micro_batches(stores.dsn)
        say(f"{name}: measuring {arguments.seconds:.0f} s ...")
        clocks = {
            "stream": ProcessorTime(process.pid),
            **{server: ProcessorTime(servers[server]) for server in ("postgres", "kafka")},
        }
        time.sleep(arguments.seconds)
        used: dict[str, Any] = {part: round(clock.cores(), 4) for part, clock in clocks.items()}
        wakeups = round(clocks["stream"].wakeups(), 1)
        return {**used, "wakeups": wakeups, "micro_batches": _micro_batches(stores.dsn) - before}


def _micro_batches(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM ops.stream_batches").fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    sys.exit(main())
