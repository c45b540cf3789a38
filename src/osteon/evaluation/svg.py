"""Charts as SVG text: a frame with ticks, curves, bars of uncertainty and marks. No library, no script, prints well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

BLUE, RUST, GREEN, GREY, INK = "#1b5e9b", "#b4530a", "#2f7d4f", "#8a97a0", "#1c2a33"
_GRID = 'fill="none" stroke="#eaeff2"'
_AXIS = 'fill="none" stroke="#9aa7af"'
_CURVE = 'fill="none" stroke-width="2" stroke-linejoin="round"'
_KINDS = {
    "tick": 'fill="#5a6b75"',
    "name": f'fill="{INK}"',
    "key": f'fill="{INK}"',
    "mark": f'fill="{INK}" font-weight="600" font-size="11" paint-order="stroke" stroke="#fff" stroke-width="3"',
}
_LEFT, _TOP, _RIGHT, _BOTTOM = 50.0, 26.0, 14.0, 42.0

Point = Sequence[float]


@dataclass(frozen=True)
class Line:
    """A curve through points; stepped where `steps`, dashed where `dashed`, filled down to the axis where `filled`."""

    points: Sequence[Point]
    colour: str
    label: str = ""
    steps: bool = False
    dashed: bool = False
    filled: bool = False


@dataclass(frozen=True)
class Bar:
    """A value with its interval, drawn upright: a dot at (x, y), a bar from `low` to `high`; `title` shows on hover."""

    x: float
    y: float
    low: float
    high: float
    colour: str
    title: str = ""


@dataclass(frozen=True)
class Mark:
    """A named place: a ring at (x, y), or, where y is None, a line through the chart at x."""

    x: float
    y: float | None
    label: str
    colour: str = INK


@dataclass(frozen=True)
class Chart:
    """A chart with its axes; `log_x` needs x above zero (smaller values are drawn at the axis' start)."""

    x_label: str
    y_label: str
    x_ticks: Sequence[float]
    y_ticks: Sequence[float] = (0, 0.2, 0.4, 0.6, 0.8, 1)
    log_x: bool = False
    lines: Sequence[Line] = ()
    bars: Sequence[Bar] = ()
    marks: Sequence[Mark] = ()
    width: float = 400.0
    height: float = 300.0

    def x(self, value: float) -> float:
        """Where a value stands, in the drawing's units."""
        low, high = self.x_ticks[0], self.x_ticks[-1]
        inside = min(max(value, low), high)
        share = math.log(inside / low) / math.log(high / low) if self.log_x else (inside - low) / (high - low)
        return _LEFT + share * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Where a value stands, in the drawing's units."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        share = (min(max(value, low), high) - low) / (high - low)
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)

    def svg(self, title: str) -> str:
        """The drawing; `title` is what a screen reader says of it."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'font-family="system-ui, DejaVu Sans, sans-serif" font-size="11.5" role="img" '
            f'aria-label="{escape(title)}">',
            *self._frame(),
            *(self._line(line) for line in self.lines),
            *(self._bar(bar) for bar in self.bars),
            *(self._mark(mark) for mark in self.marks),
            *self._legend(),
            "</svg>",
        ]
        return "".join(part for part in parts if part)

    def _frame(self) -> list[str]:
        left, right, bottom, top = _LEFT, self.width - _RIGHT, self.height - _BOTTOM, _TOP
        parts = []
        for value in self.x_ticks:
            x = self.x(value)
            parts.append(f'<path {_GRID} d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
            parts.append(_text(x, bottom + 15, f"{value:g}", anchor="middle"))
        for value in self.y_ticks:
            y = self.y(value)
            parts.append(f'<path {_GRID} d="M{left:.1f} {y:.1f}H{right:.1f}"/>')
            parts.append(_text(left - 6, y + 3.5, f"{value:g}", anchor="end"))
        parts.append(f'<path {_AXIS} d="M{left} {top}V{bottom}H{right}"/>')
        parts.append(_text((left + right) / 2, self.height - 7, self.x_label, anchor="middle", kind="name"))
        middle = (top + bottom) / 2
        turn = f' transform="rotate(-90 13 {middle:.1f})"'
        parts.append(_text(13, middle, self.y_label, anchor="middle", kind="name", more=turn))
        return parts

    def _line(self, line: Line) -> str:
        places = [(self.x(p[0]), self.y(p[1])) for p in line.points if not math.isnan(p[0] + p[1])]
        if not places:
            return ""
        drawn = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
        for x, y in places[1:]:
            drawn += f"H{x:.1f}V{y:.1f}" if line.steps else f"L{x:.1f} {y:.1f}"
        dash = ' stroke-dasharray="4 4"' if line.dashed else ""
        made = f'<path {_CURVE} d="{drawn}" stroke="{line.colour}"{dash}/>'
        if line.filled:
            base = self.y(self.y_ticks[0])
            area = f"{drawn}V{base:.1f}H{places[0][0]:.1f}Z"
            made = f'<path d="{area}" fill="{line.colour}" opacity=".14"/>' + made
        return made

    def _bar(self, bar: Bar) -> str:
        x, y, low, high = self.x(bar.x), self.y(bar.y), self.y(bar.low), self.y(bar.high)
        ends = f"M{x - 4:.1f} {high:.1f}h8M{x:.1f} {high:.1f}V{low:.1f}M{x - 4:.1f} {low:.1f}h8"
        title = f"<title>{escape(bar.title)}</title>" if bar.title else ""
        dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{bar.colour}"/>'
        return f'<g>{title}<path d="{ends}" fill="none" stroke="{bar.colour}" stroke-width="1.4"/>{dot}</g>'

    def _mark(self, mark: Mark) -> str:
        x = self.x(mark.x)
        if mark.y is None:
            line = f'<path d="M{x:.1f} {_TOP}V{self.height - _BOTTOM}" stroke="{mark.colour}" stroke-dasharray="3 3"/>'
            return line + _text(x - 4, _TOP + 11, mark.label, anchor="end", kind="mark")
        y = self.y(mark.y)
        before = x > self.width * 0.62
        ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#fff" stroke="{mark.colour}" stroke-width="2"/>'
        label = _text(x - 9 if before else x + 9, y + 14, mark.label, anchor="end" if before else "start", kind="mark")
        return ring + label

    def _legend(self) -> list[str]:
        parts, x, y = [], _LEFT, _TOP - 14
        for line in self.lines:
            if line.label:
                dash = ' stroke-dasharray="4 4"' if line.dashed else ""
                parts.append(f'<path {_CURVE} d="M{x:.1f} {y:.1f}h18" stroke="{line.colour}"{dash}/>')
                parts.append(_text(x + 24, y + 3.5, line.label, anchor="start", kind="key"))
                x += 40 + 6.6 * len(line.label)
        return parts


def range_bar(value: float, low: float, high: float, *, width: float = 90.0) -> str:
    """A share with its interval as a small drawing for a table's cell; nothing where the value is none."""
    if math.isnan(value):
        return ""
    a, b, dot = (min(max(v, 0.0), 1.0) * (width - 8) + 4 for v in (low, high, value))
    return (
        f'<svg class="range" viewBox="0 0 {width:g} 12" width="{width:g}" height="12" aria-hidden="true">'
        f'<path d="M4 6H{width - 4:g}" stroke="#dfe5e9" stroke-width="2"/>'
        f'<path d="M{a:.1f} 6H{b:.1f}" stroke="{BLUE}" stroke-width="3" opacity=".45"/>'
        f'<circle cx="{dot:.1f}" cy="6" r="3.2" fill="{BLUE}"/></svg>'
    )


def _text(x: float, y: float, text: str, *, anchor: str, kind: str = "tick", more: str = "") -> str:
    return f'<text {_KINDS[kind]} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'
