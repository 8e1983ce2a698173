"""Charts as markup: where the points lie, what a gap does, and that texts are escaped."""

import re
from xml.etree import ElementTree as ET

import pytest

from include.orchestration.pages.svg_charts import bar, history, lines


def parts(markup: str, tag: str, css_class: str) -> list[ET.Element]:
    """Elements of a chart, which must be well-formed by itself."""
    return [it for it in ET.fromstring(markup).iter(tag) if it.get("class") == css_class]


def points(element: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([-\d.]+),([-\d.]+)", element.attrib["points"])]


def test_a_bar_is_as_long_as_its_share_and_has_a_tick_only_where_there_was_one_before() -> None:
    (filled,) = parts(bar(0.25, None, "a"), "rect", "bar")
    assert filled.get("width") == "25.0"
    assert parts(bar(0.25, None, "a"), "rect", "tick") == []
    (tick,) = parts(bar(0.25, 0.5, "a"), "rect", "tick")
    assert float(tick.attrib["x"]) == pytest.approx(49.4)
    (beyond,) = parts(bar(1.7, -3, "a"), "rect", "bar")
    assert beyond.get("width") == "100.0"


def test_a_gap_ends_a_line_and_a_single_value_is_a_short_stroke() -> None:
    chart = lines([1, 2, None, 4], [None] * 4, "events", [(0, "0 h")], str)
    first, second = parts(chart, "polyline", "line")
    assert [len(points(first)), len(points(second))] == [2, 2]
    assert points(first)[0][1] > points(first)[1][1], "more is higher"
    (left, _), (right, _) = points(second)
    assert right - left == pytest.approx(2)
    assert len(parts(chart, "polygon", "area")) == 2
    assert parts(chart, "polyline", "before") == []


def test_an_axis_ends_with_a_round_number() -> None:
    shown = [
        text.text
        for text in ET.fromstring(lines([37], [29], "x", [], lambda value: f"{value:g}")).iter("text")
    ]
    assert shown == ["0", "20", "40"]


def test_a_history_is_cut_at_its_edge_and_marks_each_miss() -> None:
    chart = history([1, 100, None], [False, True, False], 10, "p99")
    assert len(parts(chart, "rect", "miss")) == 1
    (line,) = parts(chart, "polyline", "line")
    heights = [y for _, y in points(line)]
    assert heights[1] == pytest.approx(4)
    (limit,) = parts(chart, "line", "limit")
    assert heights[1] < float(limit.attrib["y1"]) < heights[0]


def test_texts_are_escaped() -> None:
    for chart in (
        bar(0.5, None, "<b>&"),
        lines([1], [], "<b>&", [(0, "<i>")], lambda _: "<u>"),
        history([1], [False], 1, "<b>&"),
    ):
        title = ET.fromstring(chart).find("title")
        assert title is not None
        assert title.text == "<b>&"
        assert "<i>" not in chart
        assert "<u>" not in chart
