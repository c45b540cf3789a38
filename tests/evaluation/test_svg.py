"""Charts: things stand where their numbers say."""

import re
from xml.etree import ElementTree

import pytest

from osteon.evaluation.svg import BLUE, Bar, Chart, Line, Mark, range_bar

SHARES = (0, 0.5, 1)


def texts(drawing: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter() if element.tag.endswith("}text")]


def test_axes_map_values_to_places() -> None:
    chart = Chart("x", "y", SHARES, SHARES)
    assert chart.x(0) < chart.x(0.5) < chart.x(1) < chart.width
    assert chart.x(0.5) - chart.x(0) == pytest.approx(chart.x(1) - chart.x(0.5))
    assert chart.y(0) > chart.y(0.5) > chart.y(1) > 0
    assert chart.x(7) == chart.x(1) and chart.y(-3) == chart.y(0)
    logarithmic = Chart("x", "y", (0.01, 0.1, 1), log_x=True)
    assert logarithmic.x(0.1) == pytest.approx((logarithmic.x(0.01) + logarithmic.x(1)) / 2)
    assert logarithmic.x(0) == logarithmic.x(0.01)


def test_a_chart_says_its_labels_and_escapes_them() -> None:
    lines = [Line([(0, 0), (1, 1)], BLUE, "a < b")]
    drawing = Chart("x & y", "z", SHARES, SHARES, lines=lines, marks=[Mark(0.2, 0.3, "here"), Mark(0.5, None, "cut")])
    said = texts(drawing.svg("<title>"))
    assert {"x & y", "z", "a < b", "here", "cut", "0.5"} <= set(said)
    assert 'aria-label="&lt;title&gt;"' in drawing.svg("<title>")


def test_steps_go_along_and_then_up() -> None:
    chart = Chart("x", "y", SHARES, SHARES, lines=[Line([(0, 0), (0.5, 1)], BLUE, steps=True)])
    x, y = chart.x(0.5), chart.y(1)
    assert f"H{x:.1f}V{y:.1f}" in chart.svg("steps")


def test_points_without_a_value_are_left_out() -> None:
    nan = float("nan")
    chart = Chart("x", "y", SHARES, SHARES, lines=[Line([(0, nan), (nan, 0), (0.5, 0.5)], BLUE), Line([], BLUE)])
    assert "nan" not in chart.svg("gaps")
    assert len(re.findall(r"stroke-linejoin", chart.svg("gaps"))) == 1


def test_bars_reach_from_low_to_high() -> None:
    chart = Chart("x", "y", SHARES, SHARES, bars=[Bar(0.5, 0.5, 0.25, 0.75, BLUE, "half & half")])
    drawing = chart.svg("bars")
    assert f"{chart.y(0.75):.1f}V{chart.y(0.25):.1f}" in drawing
    assert "<title>half &amp; half</title>" in drawing


def test_a_range_is_drawn_within_its_cell() -> None:
    drawing = range_bar(0.5, -1, 2, width=100)
    ElementTree.fromstring(drawing)
    assert "M4.0 6H96.0" in drawing and 'cx="50.0"' in drawing
    assert range_bar(float("nan"), 0, 1) == ""
