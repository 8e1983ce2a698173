"""The batch path: events archived, sessions published, and what one change costs the model: `make bench-batch`.

Exit status 1 where the rows that the model reads for one change grow with the table. See benchmarks/README.md.
"""

import argparse
import sys

from benchmarks.batch_jobs import Compared, measure_archive, measure_publication
from benchmarks.model_scale import Scaled, measure_model
from benchmarks.stack import BenchmarkError, cores, machine, print_json, running_stack, say

MOST_GROWTH = 1.5
"""Rows read for the change on the largest history may be this many times those on the smallest."""
PARTS = ("archive", "publish", "model")


def main() -> int:
    """Command line; see benchmarks/README.md."""
    arguments = _parse()
    chosen = arguments.parts.split(",")
    if unknown := set(chosen) - set(PARTS):
        raise SystemExit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    needed = ("metastore",) if {"archive", "publish"} & set(chosen) else ()
    try:
        with running_stack(*needed, keep=arguments.keep) as bench:
            print(f"machine: {machine()}")
            print(f"durability: {bench.durability()}")
            jobs: dict[str, Compared] = {}
            if "archive" in chosen:
                say(f"archive of {arguments.events:,} events ...")
                jobs["events archived"] = measure_archive(bench, arguments.events)
            if "publish" in chosen:
                jobs["sessions published"] = measure_publication(bench, arguments.landed)
            sizes = [int(size) for size in arguments.sizes.split(",")] if "model" in chosen else []
            scaled = [measure_model(bench, size) for size in sizes]
    except BenchmarkError as error:
        say(f"error: {error}")
        return 1
    return _report(jobs, scaled)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="batch", description=__doc__)
    add = parser.add_argument
    add("--events", type=int, default=1_000_000, help="good events of the archive's slice (%(default)s)")
    add("--landed", type=int, default=500_000, help="final readings that are published to Hive (%(default)s)")
    add("--sizes", default="100000,1000000,5000000", help="sessions of the model's histories (%(default)s)")
    add("--parts", default=",".join(PARTS), help="some of %(default)s")
    add("--keep", action="store_true", help="keep the state folder with all logs")
    return parser.parse_args()


def _report(jobs: dict[str, Compared], scaled: list[Scaled]) -> int:
    if jobs:
        print(
            f"\n{'':22}{'rows':>12}{'rows/s':>10}{'plain scan':>12}{'ratio':>8}{'with start':>12}{'ratio':>8}"
        )
    for name, found in jobs.items():
        print(
            f"{name:22}{found.rows:>12,}{found.net_rate:>10,.0f}{found.net_scan_rate:>12,.0f}"
            f"{found.net_rate / found.net_scan_rate:>8.2f}{found.rate:>12,.0f}{found.scan_s / found.job_s:>8.2f}"
        )
    if scaled:
        print(
            f"\n{'sessions':>10}{'scan s':>9}   {'':14}{'fix_cut s':>10}{'models s':>10}{'/ scan':>8}{'dbt s':>8}"
            f"{'publish s':>11}{'readings read':>15}{'/ table':>9}{'changed':>9}"
        )
    for size in scaled:
        for name, step in (("rebuilt wholly", size.rebuild), ("1,000 new", size.change)):
            print(
                f"{size.readings:>10,}{size.scan_s:>9.2f}   {name:14}{step.fix_cut_s:>10.2f}{step.models_s:>10.2f}"
                f"{step.models_s / size.scan_s:>8.1f}{step.dbt_s:>8.1f}{step.publish_s:>11.2f}{step.realtime_rows:>15,}"
                f"{step.realtime_rows / size.readings:>9.3f}{step.changed:>9,}"
            )
    growth = scaled[-1].change.realtime_rows / scaled[0].change.realtime_rows if scaled else None
    if growth is not None:
        verdict = "ok" if growth <= MOST_GROWTH else f"above the limit of {MOST_GROWTH:g}"
        times = scaled[-1].readings / scaled[0].readings
        print(
            f"\nrows read for the same change, on {times:g} times the sessions: {growth:.2f} times   {verdict}"
        )
    print_json(
        {
            **{name.replace(" ", "_"): found.as_json() for name, found in jobs.items()},
            "model": [size.as_json() for size in scaled],
            "change_rows_growth": None if growth is None else round(growth, 3),
            "cores": cores(),
        }
    )
    return 1 if growth is not None and growth > MOST_GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
