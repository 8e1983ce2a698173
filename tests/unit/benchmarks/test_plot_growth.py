"""The plot of what `make bench-growth` found."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.growth import VARIED
from benchmarks.plot_growth import MIDDLE, draw, points_of


def found() -> dict[str, Any]:
    """A result with every point of the benchmark."""
    points = [
        {
            "varied": varied,
            **asdict(point),
            "p50_ms": 700,
            "p99_ms": 1_500,
            "phases_ms": {"triggerExecution": 600, "writer.collect": 400, "writer (PostgreSQL)": 100},
        }
        for varied, listed in VARIED.items()
        for point in listed
    ]
    return {"machine": "a machine", "points": points}


def test_every_panel_has_its_points_and_the_middle() -> None:
    result = found()
    for varied, listed in VARIED.items():
        places = [point[varied] for point in points_of(result["points"], varied)]
        expected = {getattr(point, varied) for point in listed} | {MIDDLE[varied]}
        assert places == sorted(expected)


def test_the_same_figures_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw(json.loads(json.dumps(found())), tmp_path / name)
    first, second = ((tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
    assert first.count(b'<g id="axes_') == len(MIDDLE)
