"""Small charts as inline SVG: no script, nothing loaded from elsewhere, colours by CSS class, so they follow the theme.

Every function gives markup that is safe to put into a page; texts are escaped here. STYLE is the CSS that they need.
"""

from collections.abc import Callable, Sequence
from itertools import groupby

from markupsafe import Markup, escape

STYLE = Markup(
    "svg{display:block;width:100%;height:auto;overflow:visible}"
    "svg .line{fill:none;stroke:var(--ink);stroke-width:2;vector-effect:non-scaling-stroke}"
    "svg .before{fill:none;stroke:var(--muted);stroke-width:1.5;stroke-dasharray:4 3;vector-effect:non-scaling-stroke}"
    "svg .area{fill:var(--ink);opacity:.14}svg .bar{fill:var(--ink)}svg .rail{fill:var(--rail)}"
    "svg .tick{fill:var(--text)}svg .limit{stroke:var(--bad);stroke-width:1;stroke-dasharray:3 3;"
    "vector-effect:non-scaling-stroke}svg .miss{fill:var(--bad)}svg .grid{stroke:var(--rail);stroke-width:1;"
    "vector-effect:non-scaling-stroke}svg text{fill:var(--muted);font:11px system-ui,sans-serif}"
)
Series = Sequence[float | None]


def bar(value: float, before: float | None, label: str) -> Markup:
    """A bar for a share in [0, 1], with a tick where it was before."""
    tick = (
        Markup('<rect class="tick" x="{x:.1f}" y="0" width="1.2" height="10"/>').format(
            x=_within(before) * 98.8
        )
        if before is not None
        else Markup("")
    )
    return Markup(
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" class="share"><title>{label}</title>'
        '<rect class="rail" x="0" y="2" width="100" height="6" rx="1"/>'
        '<rect class="bar" x="0" y="2" width="{width:.1f}" height="6" rx="1"/>{tick}</svg>'
    ).format(label=label, width=_within(value) * 100, tick=tick)


def lines(
    now: Series,
    before: Series,
    label: str,
    marks: Sequence[tuple[int, str]],
    number: Callable[[float], str],
) -> Markup:
    """One line with its area, and a dashed one of before; `marks` are (index, text) of the x axis."""
    width, height, left, foot = 640, 180, 46, 18
    top = _round_up(max((value for value in (*now, *before) if value is not None), default=0.0))
    step = (width - left) / max(1, max(len(now), len(before)) - 1)

    def x(index: int) -> float:
        return left + index * step

    def y(value: float) -> float:
        return (height - foot) * (1 - value / top) + 4

    grid = Markup("").join(
        Markup(
            '<line class="grid" x1="{left}" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text x="{at}" y="{text:.1f}" text-anchor="end">{value}</text>'
        ).format(left=left, width=width, y=y(value), at=left - 6, text=y(value) + 4, value=number(value))
        for value in (0.0, top / 2, top)
    )
    axis = Markup("").join(
        Markup('<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{text}</text>').format(
            x=x(index), y=height + 4, text=text, anchor="start" if index == 0 else "middle"
        )
        for index, text in marks
    )
    return Markup(
        '<svg viewBox="0 0 {width} {height}" role="img"><title>{label}</title>{grid}{area}{before}{now}{axis}</svg>'
    ).format(
        width=width, height=height + 8, label=label, grid=grid, axis=axis,
        area=_areas(now, x, y, y(0.0)), before=_lines(before, x, y, "before"), now=_lines(now, x, y, "line"),
    )  # fmt: skip


def history(values: Series, missed: Sequence[bool], limit: float, label: str) -> Markup:
    """A line of `values` (None: a gap) from the first to the last, the limit dashed, a dot for each that missed it.

    Scaled to 1.25 times the limit; what is above is drawn at the edge.
    """
    width, height, top = 240, 44, limit * 1.25

    def x(index: int) -> float:
        return index * width / max(1, len(values) - 1)

    def y(value: float) -> float:
        return height - min(value, top) / top * (height - 4)

    dots = Markup("").join(
        Markup('<rect class="miss" x="{x:.1f}" y="0" width="2.5" height="{height}" opacity=".35"/>').format(
            x=x(index) - 1.2, height=height
        )
        for index, is_missed in enumerate(missed)
        if is_missed
    )
    return Markup(
        '<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" class="history">'
        '<title>{label}</title>{dots}<line class="limit" x1="0" x2="{width}" y1="{limit:.1f}" y2="{limit:.1f}"/>'
        '{area}{line}<line class="grid" x1="0" x2="{width}" y1="{height}" y2="{height}"/></svg>'
    ).format(
        width=width, height=height, label=label, dots=dots, limit=y(limit),
        area=_areas(values, x, y, height), line=_lines(values, x, y, "line"),
    )  # fmt: skip


def _within(share: float) -> float:
    return min(1.0, max(0.0, share))


def _round_up(value: float) -> float:
    """The next round number, at least 2: what an axis ends with; its half is round, too."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next(size * step for step in (1.2, 1.6, 2, 3, 4, 6, 8, 10) if max(2.0, value) <= size * step)


def _runs(values: Series) -> list[list[tuple[int, float]]]:
    """Stretches without a gap."""
    groups = groupby(enumerate(values), key=lambda pair: pair[1] is None)
    return [
        [(index, value) for index, value in group if value is not None] for gap, group in groups if not gap
    ]


def _points(
    run: Sequence[tuple[int, float]], x: Callable[[int], float], y: Callable[[float], float]
) -> list[tuple[float, float]]:
    """A single value becomes a short stroke, or it would not be seen."""
    points = [(x(index), y(value)) for index, value in run]
    return points if len(points) > 1 else [(points[0][0] - 1, points[0][1]), (points[0][0] + 1, points[0][1])]


def _lines(values: Series, x: Callable[[int], float], y: Callable[[float], float], css_class: str) -> Markup:
    return Markup("").join(
        Markup('<polyline class="{css}" points="{points}"/>').format(
            css=css_class, points=_text(_points(run, x, y))
        )
        for run in _runs(values)
    )


def _areas(values: Series, x: Callable[[int], float], y: Callable[[float], float], floor: float) -> Markup:
    shapes = []
    for run in _runs(values):
        points = _points(run, x, y)
        closed = [(points[0][0], floor), *points, (points[-1][0], floor)]
        shapes.append(Markup('<polygon class="area" points="{}"/>').format(_text(closed)))
    return Markup("").join(shapes)


def _text(points: Sequence[tuple[float, float]]) -> Markup:
    return escape(" ".join(f"{x:.1f},{y:.1f}" for x, y in points))
