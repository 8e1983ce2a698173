"""Events a second into PostgreSQL, against Spark's limit and Quix Streams, in one run: `make bench-stream`.

Exit status 1 where a limit of DESIGN section 6 is broken or a row differs. See benchmarks/README.md.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.backlog import Backlog, produce_backlog
from benchmarks.engines import QUIX_PROCESSES, Measured, ours, quix, read_only
from benchmarks.quix_sessions.environment import ensure_environment
from benchmarks.stack import (
    MASTER,
    BenchmarkError,
    BenchStack,
    cores,
    machine,
    print_json,
    running_stack,
    say,
)
from include.common.spark_conf import STREAM_DRIVER_MEMORY
from include.contract.rules import SessionRules
from include.spark_jobs.stream_sessionize.arguments import parse_arguments as stream_defaults
from local_stack.errors import StackError

PARTITIONS = 4
"""Shared evenly by two processes, so that none of the contestants waits for one of its halves."""
LEAST_VS_LIMIT, AIM_VS_LIMIT = 0.3, 0.5
LEAST_VS_QUIX, AIM_VS_QUIX = 1.5, 3.0
_COMPARE = (Path(__file__).resolve().parent / "compare_rows.sql").read_text()


@dataclass(frozen=True)
class Round:
    """One round of all contestants over the same topic."""

    limit: Measured
    tuned_limit: Measured
    ours: Measured
    quix: Measured
    rows: int
    differing: int


def main() -> int:
    """Print the table and, last, the JSON object."""
    arguments = _parse()
    try:
        ensure_environment()
        with running_stack(keep=arguments.keep) as bench:
            return _measure(bench, arguments)
    except (BenchmarkError, StackError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--events", type=int, default=2_000_000, help="good events on the topic (%(default)s)")
    add("--runs", type=int, default=3, help="rounds; medians are printed (%(default)s)")
    add("--hours", type=float, default=1.0, help="event time that they cover (%(default)s)")
    add("--readers", type=int, default=100_000, help="who may read (%(default)s)")
    add("--quix-commit-interval", type=float, default=5.0, metavar="S",
        help="seconds between Quix Streams' checkpoints (%(default)s, its default)")  # fmt: skip
    add("--keep", action="store_true", help="keep the state folder with all logs")
    return parser.parse_args()


def _measure(bench: BenchStack, arguments: argparse.Namespace) -> int:
    print(f"machine: {machine()}")
    print(f"durability: {bench.durability()}")
    topic = bench.topic("events", PARTITIONS)
    say(f"producing {arguments.events:,} events of {arguments.hours:g} h ...")
    backlog = produce_backlog(
        bench.bootstrap,
        topic,
        events=arguments.events,
        hours=arguments.hours,
        readers=arguments.readers,
    )
    print(
        f"topic: {backlog.records:,} records of {backlog.value_bytes / backlog.records:.0f} bytes in {PARTITIONS} "
        f"partitions; {arguments.hours:g} h of {arguments.readers:,} readers, repeats, disorder and bad records among them"
    )
    micro_batch = stream_defaults([]).max_offsets_per_trigger
    print(
        f"Spark: {MASTER}, {STREAM_DRIVER_MEMORY}, at most {micro_batch:,} records a micro-batch; the stream's own defaults"
    )
    print(
        f"Quix Streams: {QUIX_PROCESSES} processes, RocksDB state with changelog topic, at-least-once, checkpoint every "
        f"{arguments.quix_commit_interval:g} s, PostgreSQLSink with upsert"
    )
    rounds = [_round(bench, topic, backlog, arguments, number) for number in range(arguments.runs)]
    return _report(rounds, backlog)


def _round(
    bench: BenchStack, topic: str, backlog: Backlog, arguments: argparse.Namespace, number: int
) -> Round:
    stores = bench.stores(topic)

    def step(name: str, work: Callable[[], Measured]) -> Measured:
        with psycopg.connect(bench.context.admin_dsn, autocommit=True) as connection:
            connection.execute("CHECKPOINT")  # nobody pays for the writes of the one before
        found = work()
        rate = backlog.records / found.seconds
        say(
            f"round {number + 1}: {name} {rate:,.0f} events/s ({found.seconds:.1f} s, {found.wall_s:.1f} s in all)"
        )
        return found

    limit = step("read only", lambda: read_only(bench, stores, backlog, tuned=False))
    tuned = step("read only, tuned", lambda: read_only(bench, stores, backlog, tuned=True))
    own = step("ours", lambda: ours(bench, stores, backlog))
    folder, commit_s = stores.data_dir / "quix", arguments.quix_commit_interval
    peer = step("Quix Streams", lambda: quix(bench, topic, backlog, stores.dsn, folder, commit_s))
    rows, differing = _compare(stores.dsn)
    say(f"round {number + 1}: {rows:,} rows compared, {differing} differ")
    return Round(limit, tuned, own, peer, rows, differing)


def _compare(dsn: str) -> tuple[int, int]:
    rules = SessionRules()
    with psycopg.connect(dsn) as connection:
        found = connection.execute(
            _COMPARE.encode(), {"over_after_ms": rules.gap_ms + rules.lateness_ms}
        ).fetchone()
    if found is None or not found[0]:
        raise BenchmarkError("the stream wrote no rows")
    return int(found[0]), int(found[2])


def _report(rounds: list[Round], backlog: Backlog) -> int:
    engines = {
        "Kafka read only (limit)": [each.limit for each in rounds],
        "the same, consumer as ours": [each.tuned_limit for each in rounds],
        "ours, into PostgreSQL": [each.ours for each in rounds],
        "Quix Streams, into PostgreSQL": [each.quix for each in rounds],
    }
    rates = {name: _rate(found, backlog) for name, found in engines.items()}
    limit_eps, tuned_eps, ours_eps, quix_eps = rates.values()
    print(f"\n{'':32}{'events/s':>10}{'warm':>10}{'seconds':>10}{'with start':>12}")
    for name, found in engines.items():
        seconds, wall = median(each.seconds for each in found), median(each.wall_s for each in found)
        warm = _warm(found)
        said = "" if warm is None else f"{warm:,.0f}"
        print(f"{name:32}{rates[name]:>10,.0f}{said:>10}{seconds:>10.1f}{wall:>12.1f}")
    engines_found = list(engines.values())
    differing = max(each.differing for each in rounds)
    print(f"\nrows of both engines compared: {rounds[-1].rows:,}, differing: {differing}")
    _print_phases(rounds[-1].ours)
    vs_limit, vs_quix = ours_eps / limit_eps, ours_eps / quix_eps
    print(f"\nours / limit        {vs_limit:6.2f}   {_verdict(vs_limit, LEAST_VS_LIMIT, AIM_VS_LIMIT)}")
    print(f"  consumer as ours  {ours_eps / tuned_eps:6.2f}")
    print(f"ours / Quix Streams {vs_quix:6.2f}   {_verdict(vs_quix, LEAST_VS_QUIX, AIM_VS_QUIX)}")
    print_json(
        {
            "limit_eps": round(limit_eps),
            "tuned_limit_eps": round(tuned_eps),
            "ours_eps": round(ours_eps),
            "quix_eps": round(quix_eps),
            "ours_vs_limit": round(vs_limit, 3),
            "ours_vs_tuned_limit": round(ours_eps / tuned_eps, 3),
            "ours_vs_quix": round(vs_quix, 3),
            "cores": cores(),
            "events": backlog.records,
            "runs": len(rounds),
            "rows_compared": rounds[-1].rows,
            "rows_differing": differing,
            "limit_warm_eps": _rounded(_warm(engines_found[0])),
            "ours_warm_eps": _rounded(_warm(engines_found[2])),
        }
    )
    return 1 if differing or vs_limit < LEAST_VS_LIMIT or vs_quix < LEAST_VS_QUIX else 0


def _rate(found: list[Measured], backlog: Backlog) -> float:
    return median(backlog.records / each.seconds for each in found)


def _rounded(rate: float | None) -> int | None:
    return None if rate is None else round(rate)


def _warm(found: list[Measured]) -> float | None:
    rates = [each.warm_eps for each in found if each.warm_eps is not None]
    return median(rates) if rates else None


def _print_phases(found: Measured) -> None:
    """Where the time went; Spark's addBatch holds writer.collect and writer.wait, the other writer.* run beside it."""
    print(f"\nphases of ours, seconds over {found.micro_batches} micro-batches (last round):")
    for name, seconds in found.phases.items():
        if seconds >= 0.05:
            print(f"  {name:28}{seconds:8.2f}")


def _verdict(value: float, least: float, aim: float) -> str:
    if value < least:
        return f"below the limit of {least:g}"
    return f"limit {least:g}, aim {aim:g}: {'aim reached' if value >= aim else 'ok'}"


if __name__ == "__main__":
    sys.exit(main())
