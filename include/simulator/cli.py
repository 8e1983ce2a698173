"""Command line: produce, replay, reference."""

import argparse
import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.common.kafka.offsets import KafkaUnreachableError
from include.common.names import Topic
from include.common.settings import SettingsError, kafka_security, require
from include.simulator import plan as plans
from include.simulator.catalogue import CATALOGUE_SEED, write_reference
from include.simulator.plan import DEFAULT_SHARES, NO_TROUBLE, Plan, PlanError
from include.simulator.producer import ProducerError, SendReport, send
from include.simulator.replay import ReplayError, file_size, lines
from include.simulator.stop import stop_on_signals
from include.simulator.traffic import GOOD_KINDS, Record, records

_EXAMPLES = """examples:
  %(prog)s produce                                      40,000 events of the last 6 hours, as fast as it goes
  %(prog)s produce --rate 2000 --duration 600           live: 2,000 events a second for 10 minutes
  %(prog)s produce --events 3000 --hours 0.1 --share unknown_episode=0.4      a corrupted slice
  %(prog)s replay recorded.jsonl                        each line byte for byte
  %(prog)s reference --out reference                    CSV files of titles, episodes, countries, experiments
"""


def _start(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no ISO 8601 time, such as 2026-01-31T18:00:00Z"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _share(text: str) -> tuple[str, float]:
    kind, _, value = text.partition("=")
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if kind not in DEFAULT_SHARES or not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not KIND=SHARE with a share from 0 to 1 and a KIND of {', '.join(DEFAULT_SHARES)}"
        )
    return kind, share


def parser() -> argparse.ArgumentParser:
    """The command line."""
    kafka = argparse.ArgumentParser(add_help=False)
    kafka.add_argument("--bootstrap-servers", help="host:port of Kafka (WEBTOON_KAFKA)")
    kafka.add_argument("--topic", help=f"(WEBTOON_EVENTS_TOPIC, else {Topic.EVENTS})")
    kafka.add_argument(
        "--rate", type=float, help="events (replay: lines) a second, as time goes by; else as fast as it goes"
    )
    top = argparse.ArgumentParser(
        prog="python -m include.simulator",
        description="Reading events into Kafka.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True)
    produce = commands.add_parser(
        "produce", parents=[kafka], help="simulated readers, or a file", allow_abbrev=False
    )
    _add_produce_options(produce)
    replay = commands.add_parser(
        "replay", parents=[kafka], help="a JSON Lines file, byte for byte", allow_abbrev=False
    )
    replay.add_argument("file", type=Path)
    reference = commands.add_parser(
        "reference", help="CSV files that reference__load reads", allow_abbrev=False
    )
    reference.add_argument("--out", type=Path, required=True, help="folder; made if absent")
    reference.add_argument("--seed", type=int, default=CATALOGUE_SEED, help="of the catalogue (%(default)s)")
    for command in (produce, replay, reference):
        command.set_defaults(parser=command)
    return top


def _add_produce_options(produce: argparse.ArgumentParser) -> None:
    # None where not given: --from-file takes none of them
    produce.add_argument("--from-file", type=Path, help="replay this JSON Lines file instead of simulating")
    produce.add_argument("--events", type=int, help=f"how many ({plans.DEFAULT_EVENTS}; with --rate: no end)")
    produce.add_argument("--readers", type=int, help=f"people who may read ({plans.DEFAULT_READERS})")
    produce.add_argument("--seed", type=int, help=f"same seed and start: same bytes ({plans.DEFAULT_SEED})")
    produce.add_argument("--start", type=_start, help="ISO 8601; first event time (--hours ago)")
    produce.add_argument("--hours", type=float, help=f"length of the period ({plans.DEFAULT_HOURS:g})")
    produce.add_argument("--duration", type=float, help="with --rate: seconds until it ends (no end)")
    produce.add_argument(
        "--share", type=_share, action="append", metavar="KIND=SHARE",
        help="share of a kind of trouble, 0 to 1; may be given again. Kinds and usual shares: "
        + ", ".join(f"{kind}={share:g}" for kind, share in DEFAULT_SHARES.items()),
    )  # fmt: skip
    produce.add_argument(
        "--no-trouble", action="store_true", default=None, help="none but what --share asks for"
    )


def _plan(arguments: argparse.Namespace) -> Plan:
    """The run that was asked for; raises PlanError."""
    shares = {**(NO_TROUBLE if arguments.no_trouble else DEFAULT_SHARES), **dict(arguments.share or ())}
    wishes: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in ("events", "readers", "seed")
        if getattr(arguments, name) is not None
    }
    now_ms = int(time.time() * 1000)
    if arguments.rate is not None:
        if arguments.hours is not None or arguments.start is not None:
            raise PlanError(
                "--rate produces from now on: --duration or --events end it, not --start or --hours"
            )
        return Plan.live(now_ms, rate=arguments.rate, duration_s=arguments.duration, shares=shares, **wishes)
    if arguments.duration is not None:
        raise PlanError("--duration goes with --rate; the length of a past period is --hours")
    hours = plans.DEFAULT_HOURS if arguments.hours is None else arguments.hours
    return Plan.backfill(now_ms, hours=hours, start_ms=arguments.start, shares=shares, **wishes)


def _check_replay(arguments: argparse.Namespace) -> Path:
    """The file to replay; raises PlanError where options of the simulation were given too."""
    if arguments.command == "replay":
        file: Path = arguments.file
    else:
        file = arguments.from_file
        simulated = ("events", "readers", "seed", "start", "hours", "duration", "share", "no_trouble")
        given = [f"--{name.replace('_', '-')}" for name in simulated if getattr(arguments, name) is not None]
        if given:
            raise PlanError(f"--from-file sends the file as it is: leave out {', '.join(given)}")
    if arguments.rate is not None and not 0 < arguments.rate <= plans.MAX_RATE:
        raise PlanError(f"rate is {arguments.rate:g}; it must be above 0, at most {plans.MAX_RATE:g}")
    return file


def _send(
    arguments: argparse.Namespace, what: Iterable[Record], total: int | None, unit: str, paced: bool
) -> int:
    """Send with a progress bar; returns the exit status."""
    from tqdm import tqdm

    bootstrap = arguments.bootstrap_servers or require("WEBTOON_KAFKA")
    topic = arguments.topic or _topic_of_environment()
    with (
        closing(tqdm(total=total, unit=unit, unit_scale=True, disable=None, dynamic_ncols=True)) as bar,
        stop_on_signals() as stop,
    ):

        def show(report: SendReport) -> None:
            bytes_read = report.value_bytes + report.total
            done = bytes_read if unit == "B" else sum(report.handed_over[kind] for kind in GOOD_KINDS)
            if report.behind_s > 1:
                bar.set_postfix_str(f"{report.behind_s:.0f} s behind the rate", refresh=False)
            bar.update((min(done, total) if total else done) - bar.n)

        try:
            report = send(
                what, {"bootstrap.servers": bootstrap, **kafka_security()}, topic,
                paced=paced, on_progress=show, should_stop=stop,
            )  # fmt: skip
        except ProducerError as error:
            bar.close()
            _print_counts(error.report)
            raise
    _print_counts(report)
    if stop.signal_number is not None:
        print("stopped before the end; what was sent is on the topic", file=sys.stderr)
        return 128 + stop.signal_number
    return 0


def _topic_of_environment() -> str:
    return os.environ.get("WEBTOON_EVENTS_TOPIC") or Topic.EVENTS


def _print_counts(report: SendReport) -> None:
    rate = report.delivered / report.seconds if report.seconds else 0.0
    print(
        f"{report.delivered} records delivered to {report.topic} in {report.seconds:.1f} s ({rate:,.0f} a second)"
    )
    for kind, count in sorted(report.handed_over.items(), key=lambda item: -item[1]):
        print(f"  {kind:<18}{count:>10}")
    for name, count in sorted(report.failed.items()):
        print(f"  failed: {name:<10}{count:>10}")
    for partition, (before, after) in sorted(report.offsets.items()):
        print(f"  partition {partition}: offsets {before} to {after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Exit status 0; 1 for an error (one message on stderr); 2 for bad usage; 128 + the signal where stopped.
    """
    parsed = parser().parse_args(arguments)
    try:
        if parsed.command == "reference":
            write_reference(parsed.out, parsed.seed)
            print(f"reference files written to {parsed.out}")
            return 0
        if parsed.command == "replay" or parsed.from_file is not None:
            file = _check_replay(parsed)
            size = file_size(file)
            return _send(parsed, lines(file, parsed.rate), size, "B", parsed.rate is not None)
        plan = _plan(parsed)
        if plan.rate is not None:
            print(f"live; begins in {plan.start_ms / 1000 - time.time():.0f} s", file=sys.stderr)
        return _send(parsed, records(plan), plan.events, " events", plan.rate is not None)
    except PlanError as error:
        parsed.parser.error(str(error))
    except (KafkaUnreachableError, ProducerError, ReplayError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(
            f"error: {error.strerror}: {error.filename}. Give a folder that can be written", file=sys.stderr
        )
    return 1
