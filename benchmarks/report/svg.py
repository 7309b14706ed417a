"""Plots as inline SVG that fit every width: x in per cent, y and text in pixels.

So text has one size on a phone and on a wide screen. Only lines stretch, each in an SVG of its own.
Colours come from the page's style sheet by class, so that light and dark are one drawing. Every
series has a marker of its own besides its colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape

from tofa_edge.benchmarks.report.words import plain

SERIES = 8  # colours and markers in the style sheet
NICE = (1, 2, 5, 10)
TICKS = 6  # across: as many as a phone has room for
HALO_PX = 11  # radius around a mark that reacts to a pointer, for fingers
TOP_PX, BOTTOM_PX = 30, 48  # above and below the area of a plot
ROW_PX = 40  # of a plot of rows: a name, and what is drawn below it
MARKERS = (
    "M-5.5 0a5.5 5.5 0 1 0 11 0a5.5 5.5 0 1 0 -11 0Z",  # circle
    "M-4.7-4.7H4.7V4.7H-4.7Z",  # square
    "M0-6.9L6.9 4.7H-6.9Z",  # triangle
    "M0-6.9L6.9 0L0 6.9L-6.9 0Z",  # diamond
    "M-2.3-6.9H2.3V-2.3H6.9V2.3H2.3V6.9H-2.3V2.3H-6.9V-2.3H-2.3Z",  # plus
    "M0 6.9L6.9-4.7H-6.9Z",  # triangle, pointing down
    "M-5.5-2.3L-2.3-5.5H2.3L5.5-2.3V2.3L2.3 5.5H-2.3L-5.5 2.3Z",  # octagon
    "M-6.9-6.9L0-2.3L6.9-6.9L2.3 0L6.9 6.9L0 2.3L-6.9 6.9L-2.3 0Z",  # star
)
SHAPES = (
    '<svg class="shapes" width="0" height="0" aria-hidden="true"><defs>'
    + "".join(f'<path id="m{number}" d="{path}"/>' for number, path in enumerate(MARKERS))
    + "</defs></svg>"
)  # once in a page, for `marker`


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from low to high along positions from start to end."""

    low: float
    high: float
    start: float = 0
    end: float = 100
    log: bool = False

    def at(self, value: float) -> float:
        """Returns the position of a value."""
        low, high, value = map(self._scaled, (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Returns about as many round values within the axis, no more."""
        if self.log:
            for steps in ((1, 2, 5), (1, 3), (1,)):
                values = self._decades(steps)
                if 2 <= len(values) <= most:
                    return values
        spacing = (self.high - self.low) / max(most, 1) or 1
        step = 10 ** math.floor(math.log10(spacing))
        step *= next(nice for nice in NICE if nice * step >= spacing * 0.999)
        values = self._multiples(step)
        return values if len(values) > 1 else self._multiples(step / 2)

    def _multiples(self, step: float) -> list[float]:
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def _decades(self, steps: Sequence[int]) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        values = [step * 10.0**decade for decade in decades for step in steps]
        return [value for value in values if self.low <= value <= self.high]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value


def log_range(values: Sequence[float], room: float = 1.15) -> tuple[float, float]:
    """Returns bounds around positive values with room on both sides."""
    return min(values) / room, max(values) * room


def even_range(values: Sequence[float], room: float = 0.08) -> tuple[float, float]:
    """Returns bounds around values with room on both sides."""
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) or 1.0
    return low - room * spread, high + room * spread


@dataclass(slots=True)
class Canvas:
    """One plot being drawn, of a height in pixels and any width."""

    height: float
    x: Axis  # per cent
    y: Axis  # pixels
    kind: str = "plot"  # class of the box around it
    parts: list[str] = field(default_factory=list)  # SVG, in the order of drawing

    def frame(self, x_label: str, y_label: str, x_names: Sequence[tuple[float, str]] = ()) -> None:
        """Draws the grid with ticks and labels of both axes; no x axis without its label."""
        for value in self.y.ticks(max(2, int((self.y.start - self.y.end) // 42))):
            y = self.y.at(value)
            self.rule(0, 100, y, y)
            self.text(0, y + 4, plain(value), "end", dx=-8)
        self.text(0, self.y.end - 14, y_label, kind="label", dx=-48)
        self.rule(0, 100, self.y.start, self.y.start, "axis")
        if x_label:
            self.columns(x_label, x_names)

    def columns(self, label: str, names: Sequence[tuple[float, str]] = ()) -> None:
        """Draws the ticks of the x axis and a line up from each; its label below."""
        top, bottom = sorted((self.y.start, self.y.end))
        for value, name in names or [(v, plain(v)) for v in self.x.ticks(TICKS)]:
            x = self.x.at(value)
            self.rule(x, x, top, bottom)
            self.text(x, bottom + 18, name, "middle")
        self.text(100, bottom + 38, label, "end", "label")

    def rule(
        self, left: float, right: float, top: float, bottom: float, kind: str = "grid"
    ) -> None:
        """Draws a straight line between positions."""
        self.parts.append(
            f'<line class="{kind}" x1="{left:.2f}%" x2="{right:.2f}%" y1="{top:.1f}" '
            f'y2="{bottom:.1f}"/>'
        )

    def text(
        self, x: float, y: float, words: str, anchor: str = "start", kind: str = "", dx: int = 0
    ) -> None:
        """Writes text whose base line starts, ends or has its middle dx pixels beside a point."""
        named = f' class="{kind}"' * bool(kind) + f' dx="{dx}"' * bool(dx)
        self.parts.append(
            f'<text x="{x:.2f}%" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(words)}</text>'
        )

    def line(self, points: Sequence[tuple[float, float]], kind: str = "line") -> None:
        """Draws a line through values, which stretches with the width; one point makes none."""
        if len(points) < 2:
            return
        path = "L".join(f"{self.x.at(x):.2f} {self.y.at(y):.1f}" for x, y in points)
        self.parts.append(
            f'<svg viewBox="0 0 100 {self.height}" preserveAspectRatio="none">'
            f'<path class="{kind}" d="M{path}"/></svg>'
        )

    def mark(
        self, x: float, y: float, series: int, tip: str, hollow: bool = False, extra: str = ""
    ) -> None:
        """Draws the marker of a series at values, hollow where a figure is invalid."""
        left, top = self.x.at(x), self.y.at(y)
        halo = f'<circle class="halo" cx="{left:.2f}%" cy="{top:.1f}" r="{HALO_PX}"/>'
        shape = marker(series, f"{left:.2f}%", f"{top:.1f}", "mark hollow" if hollow else "mark")
        self.target(halo + shape, tip, extra)

    def target(self, drawn: str, tip: str, extra: str = "") -> None:
        """Draws something that shows a tip when pointed at or reached by keyboard."""
        self.parts.append(
            f'<g class="tip" role="img" aria-label="{escape(tip)}" {extra}>{drawn}</g>'
        )

    @contextmanager
    def group(self, series: int, name: str) -> Iterator[None]:
        """Lets what is drawn meanwhile belong to a series, which is switched off by its name."""
        self.parts.append(f'<g class="series s{series % SERIES}" data-series="{escape(name)}">')
        yield
        self.parts.append("</g>")

    def drawn(self, identity: str, title: str, description: str, extra: str = "") -> str:
        """Returns the HTML; identity is unique in the page."""
        return (
            f'<div class="{self.kind}"><svg class="plot" height="{self.height}" role="group" '
            f'aria-labelledby="{identity}-t" aria-describedby="{identity}-d" {extra}>'
            f'<title id="{identity}-t">{escape(title)}</title>'
            f'<desc id="{identity}-d">{escape(description)}</desc>{"".join(self.parts)}</svg></div>'
        )


def canvas(height: float, x: Axis, y: tuple[float, float], log_y: bool = False) -> Canvas:
    """Returns an empty plot of two axes."""
    return Canvas(height, x, Axis(*y, height - BOTTOM_PX, TOP_PX, log_y))


def rows_canvas(count: int, x: Axis, label: str) -> Canvas:
    """Returns an empty plot of rows, numbered from the top, over one axis."""
    bottom = ROW_PX * count + 6
    rows = Canvas(bottom + BOTTOM_PX, x, Axis(0, count, 0, bottom - 6), "plot rows")
    rows.columns(label)
    return rows


def rectangle(
    kind: str, left: float, right: float, top: float, bottom: float, least: float = 0.1
) -> str:
    """Returns a rectangle between positions, at least so many per cent wide."""
    width, height = max(right - left, least), max(bottom - top, 0.5)
    return (
        f'<rect class="{kind}" x="{left:.2f}%" y="{top:.1f}" width="{width:.2f}%" '
        f'height="{height:.1f}"/>'
    )


def marker(series: int, x: str, y: str, kind: str = "mark") -> str:
    """Returns the marker of a series around a point."""
    return f'<use class="{kind}" href="#m{series % SERIES}" x="{x}" y="{y}"/>'
