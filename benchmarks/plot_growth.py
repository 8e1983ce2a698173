"""Draw what `benchmarks.growth` found: `python -m benchmarks.plot_growth growth.json docs/performance/growth.svg`."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.growth import Point

AXES = {
    "rate": "events a second",
    "open_sessions": "open sessions in state",
    "readers": "readers",
    "partitions": "Kafka partitions",
    "trigger_ms": "least ms between two micro-batches",
}
MIDDLE = asdict(Point())


def main() -> int:
    """Write the SVG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("found", type=Path, help="the JSON object of make bench-growth")
    parser.add_argument("svg", type=Path)
    arguments = parser.parse_args()
    found = json.loads(arguments.found.read_text().splitlines()[-1])
    draw(found, arguments.svg)
    return 0


def draw(found: dict[str, Any], svg: Path) -> None:
    """One panel for each thing varied: freshness, a micro-batch's time with its largest part, and PostgreSQL's beside it."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"  # the same figures give the same file
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(AXES), figsize=(4 * len(AXES), 3.6), sharey=True)
    for panel, (varied, label) in zip(panels, AXES.items(), strict=True):
        points = points_of(found["points"], varied)
        places = [point[varied] for point in points]
        for name, values in {
            "freshness p99": [point["p99_ms"] for point in points],
            "freshness p50": [point["p50_ms"] for point in points],
            "micro-batch": [point["phases_ms"]["triggerExecution"] for point in points],
            "of it Kafka, sessions, state": [point["phases_ms"]["writer.collect"] for point in points],
            "PostgreSQL, beside the next one": [
                point["phases_ms"]["writer (PostgreSQL)"] for point in points
            ],
        }.items():
            panel.plot(places, values, marker="o", markersize=3, label=name)
        panel.set_xlabel(label)
        if varied == "readers":
            panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("ms, median (freshness: see legend)")
    panels[-1].legend(fontsize=8)
    figure.suptitle(found["machine"], fontsize=9)
    figure.tight_layout()
    svg.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(svg, metadata={"Date": None})


def points_of(points: list[dict[str, Any]], varied: str) -> list[dict[str, Any]]:
    """Those of `varied` in order, and the middle, which is measured once."""
    others = [name for name in AXES if name != varied]
    chosen = [point for point in points if all(point[name] == MIDDLE[name] for name in others)]
    return sorted(chosen, key=lambda point: point[varied])


if __name__ == "__main__":
    sys.exit(main())
