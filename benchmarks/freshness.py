"""Event produced -> row readable, of every event, in an open loop: `make bench-freshness`.

Exit status 1 where a limit of DESIGN section 6 is broken. See benchmarks/README.md.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.backlog import produce_backlog
from benchmarks.beside import COMPONENTS, Platform
from benchmarks.live_stream import (
    CATCH_UP_S,
    Result,
    Stretch,
    make_stretch,
    measure,
    preload,
    running_stream,
    scratch_folder,
)
from benchmarks.stack import (
    BenchmarkError,
    cores,
    machine,
    print_json,
    running_stack,
    say,
)
from benchmarks.visibility import VisibilityPoller, await_visible, ends_of
from include.common.kafka.topics import EVENTS_PARTITIONS
from include.common.names import Dag, Topic
from local_stack.errors import StackError

SCENARIOS = ("rates", "open", "beside")
BUSY_RATE = 2_000.0
"""Events a second of the scenarios that have one rate."""
LIMITS_MS = {"rate_2000": (1_500, 4_000), "open": (2_000, 5_000)}
"""Scenario -> p50, p99."""
COMPACTION_BATCHES = 64
"""A bucket writes a base entry after so many of its micro-batches (bucket_log.COMPACT_EVERY)."""
CLOSING_A_SECOND = 200
"""Of the preloaded sessions: so many more are opened, that the wanted number is left at the end."""
READERS = 100_000


def main() -> int:
    """Print the tables and, last, the JSON object."""
    arguments = _parse()
    print(f"machine: {machine()}")
    results: dict[str, Result] = {}
    works: dict[str, Callable[[argparse.Namespace, Path], dict[str, Result]]] = {
        "rates": _rates,
        "open": _open,
        "beside": _beside,
    }
    try:
        with scratch_folder() as scratch:
            for scenario in arguments.scenarios:
                results |= works[scenario](arguments, scratch)
    except (BenchmarkError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return _report(results)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rates", type=_numbers, default=[500.0, 2000.0, 8000.0], metavar="N,N,...",
        help="events a second, one after the other on one stream (500,2000,8000)")  # fmt: skip
    add(
        "--seconds",
        type=float,
        default=180.0,
        help="measured at each rate (%(default)g; 600 in the long form)",
    )
    add("--warm", type=float, default=20.0, metavar="S", help="played before, not measured (%(default)g)")
    add("--scenarios", type=_scenarios, default=list(SCENARIOS), metavar="NAME,...",
        help=f"any of {','.join(SCENARIOS)} (all)")  # fmt: skip
    add(
        "--open-sessions",
        type=int,
        default=500_000,
        metavar="N",
        help="open all through `open` (%(default)s)",
    )
    add("--events-each", type=int, default=4, metavar="N", help="events of each of those (%(default)s)")
    add("--keep", action="store_true", help="keep the state folders with all logs")
    return parser.parse_args()


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def _scenarios(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := set(chosen) - set(SCENARIOS):
        raise argparse.ArgumentTypeError(f"no scenario {', '.join(sorted(unknown))}")
    return chosen


def _stretch(arguments: argparse.Namespace, scratch: Path, name: str, rate: float, seed: int) -> Stretch:
    return make_stretch(
        scratch, name, rate, warm_s=arguments.warm, seconds=arguments.seconds, readers=READERS, seed=seed
    )


def _rates(arguments: argparse.Namespace, scratch: Path) -> dict[str, Result]:
    """Each rate after the other, on one stream that starts empty."""
    stretches = [
        _stretch(arguments, scratch, f"rate_{rate:.0f}", rate, seed)
        for seed, rate in enumerate(arguments.rates, start=1)
    ]
    with running_stack(keep=arguments.keep) as bench:
        print(f"rates: durability {bench.durability()}")
        stores = bench.stores(bench.topic("events", EVENTS_PARTITIONS))
        with VisibilityPoller(stores.dsn) as poller, running_stream(bench, stores):
            preload(bench, stores.topic, poller, 1_000, 2)
            return {
                stretch.name: measure(bench, stores.topic, stores.dsn, poller, stretch, scratch)
                for stretch in stretches
            }


def _open(arguments: argparse.Namespace, scratch: Path) -> dict[str, Result]:
    """One rate, with many sessions open in the state, some of which close every second."""
    stretch = _stretch(arguments, scratch, "open", BUSY_RATE, 11)
    with running_stack(keep=arguments.keep) as bench:
        print(f"open: durability {bench.durability()}")
        stores = bench.stores(bench.topic("events", EVENTS_PARTITIONS))
        with VisibilityPoller(stores.dsn) as poller, running_stream(bench, stores):
            count = arguments.open_sessions + round(CLOSING_A_SECOND * (arguments.warm + arguments.seconds))
            say(f"open: preloading {count:,} sessions of {arguments.events_each} events ...")
            preload(bench, stores.topic, poller, count, arguments.events_each)
            before = _open_count(stores.dsn)
            say(f"open: {before:,} sessions are open")
            result = measure(bench, stores.topic, stores.dsn, poller, stretch, scratch)
            result.summary.update(
                open_sessions_at_start=before,
                open_sessions_at_end=_open_count(stores.dsn),
                open_sessions_wanted=arguments.open_sessions,
            )
            return {"open": result}


def _beside(arguments: argparse.Namespace, scratch: Path) -> dict[str, Result]:
    """One rate, with Airflow, Hive, archive and model runs on the same machine."""
    stretch = _stretch(arguments, scratch, "beside", BUSY_RATE, 21)
    with running_stack(*COMPONENTS, keep=arguments.keep) as bench:
        print(f"beside: durability {bench.durability()}")
        platform = Platform(bench)
        platform.start()
        topic, dsn = Topic.EVENTS, bench.context.features_dsn
        with VisibilityPoller(dsn) as poller:
            produce_backlog(bench.bootstrap, topic, events=40_000, hours=6, readers=5_000)
            await_visible(poller, ends_of(bench.bootstrap, topic), CATCH_UP_S)
            with platform.busy():
                result = measure(bench, topic, dsn, poller, stretch, scratch)
                result.summary["runs_ended"] = {dag: platform.ended[dag] for dag in (Dag.ARCHIVE, Dag.MODEL)}
        return {"beside": result}


def _open_count(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM (SELECT DISTINCT session_id, session_start_ms FROM realtime.session_features"
            " WHERE NOT is_final) AS open"
        ).fetchone()
    return int(row[0]) if row else 0


def _report(results: dict[str, Result]) -> int:
    print(f"\n{'':14}{'events/s':>9}{'events':>11}{'p50':>8}{'p95':>8}{'p99':>8}{'max':>8}  micro-batches")
    for name, result in results.items():
        found = result.summary
        print(
            f"{name:14}{found['rate']:>9,.0f}{found['events']:>11,}{found['p50_ms']:>8}{found['p95_ms']:>8}"
            f"{found['p99_ms']:>8}{found['max_ms']:>8}  {found['micro_batches']}{_verdict(name, found)}"
        )
    for name, result in results.items():
        print(f"\n{name}: ms a micro-batch, median and p95")
        for phase, (middle, high) in result.phases.items():
            if high >= 5:
                print(f"  {phase:28}{middle:8.0f}{high:8.0f}")
    for name, result in results.items():
        found = result.summary
        print(
            f"{name}: ops.stream_batches.committed_at is {found['ledger_early_ms_p50']} ms (p99 "
            f"{found['ledger_early_ms_p99']} ms) before a reader sees the row; the producer was at most "
            f"{found['producer_behind_ms_max']} ms late"
        )
        if "open_sessions_wanted" in found:
            print(
                f"{name}: {found['open_sessions_at_start']:,} sessions were open at the start, "
                f"{found['open_sessions_at_end']:,} at the end (wanted: {found['open_sessions_wanted']:,})"
            )
        if "runs_ended" in found:
            ended = ", ".join(f"{count} of {dag}" for dag, count in found["runs_ended"].items())
            print(f"{name}: runs that ended beside the stream: {ended} (wanted: 1 of each; --seconds)")
        if found["micro_batches"] < COMPACTION_BATCHES:
            print(
                f"{name}: too short for a compaction of every bucket ({found['micro_batches']} micro-batches)"
            )
    print_json({**{name: result.summary for name, result in results.items()}, "cores": cores()})
    return 1 if any(_is_broken(name, result.summary) for name, result in results.items()) else 0


def _is_broken(name: str, found: dict[str, Any]) -> bool:
    if found.get("open_sessions_at_end", 0) < found.get("open_sessions_wanted", 0):
        return True
    if not all(found.get("runs_ended", {}).values()):
        return True
    if name not in LIMITS_MS:
        return False
    p50, p99 = LIMITS_MS[name]
    return bool(found["p50_ms"] > p50 or found["p99_ms"] > p99)


def _verdict(name: str, found: dict[str, Any]) -> str:
    if name not in LIMITS_MS:
        return ""
    p50, p99 = LIMITS_MS[name]
    word = "over the limit" if _is_broken(name, found) else "ok"
    return f"  limit p50 {p50}, p99 {p99}: {word}"


if __name__ == "__main__":
    sys.exit(main())
