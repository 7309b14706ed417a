"""Plots as inline SVG: axes, marks and lines, in forms for wide and narrow screens.

Colours come from the page's style sheet by class, so that light and dark are one drawing. Every
series has a marker of its own besides its colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from tofa_edge.benchmarks.report.words import plain

SERIES = 8  # colours and markers in the style sheet
NICE = (1, 2, 5, 10)
REACH_PX = 11  # around a mark, for fingers


@dataclass(frozen=True, slots=True)
class Size:
    """How large a plot is drawn, in pixels; the page shows the form that fits the screen.

    Attributes:
        name: class of the style sheet.
        width: in pixels.
        height: in pixels.
    """

    name: str
    width: int
    height: int


WIDE, MIDDLE, NARROW = Size("wide", 960, 380), Size("middle", 560, 340), Size("narrow", 312, 290)
SIZES = (WIDE, MIDDLE, NARROW)
HALVES = (MIDDLE, NARROW)  # for plots that never get the whole width


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from low to high along pixels from start to end; logarithmic where log is set.

    Attributes:
        low: value at the start.
        high: value at the end.
        start: pixel.
        end: pixel.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Returns the pixel of a value."""
        low, high, value = map(self._scaled, (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1) * (self.end - self.start)

    def ticks(self, most: int) -> list[float]:
        """Returns about as many round values within the axis, no more."""
        if self.log:
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = self._decades(steps)
                if 2 <= len(found) <= most:
                    return found
        return self._even(most)

    def _even(self, most: int) -> list[float]:
        wanted = (self.high - self.low) / max(most, 1) or 1
        step = 10 ** math.floor(math.log10(wanted))
        step *= next(nice for nice in NICE if nice * step >= wanted * 0.999)
        found = self._multiples(step)
        return found if len(found) > 1 else self._multiples(step / 2)

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
    low, high = min(values), max(values)
    return low / room, high * room


def even_range(values: Sequence[float], room: float = 0.08) -> tuple[float, float]:
    """Returns bounds around values with room on both sides."""
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) or 1.0
    return low - room * spread, high + room * spread


@dataclass(slots=True)
class Canvas:
    """One plot being drawn.

    Attributes:
        size: of the whole.
        x: from left to right.
        y: from bottom to top.
        parts: SVG, in the order of drawing.
    """

    size: Size
    x: Axis
    y: Axis
    parts: list[str] = field(default_factory=list)

    def frame(
        self,
        x_label: str,
        y_label: str,
        x_names: Sequence[tuple[float, str]] = (),
        *,
        upright: bool = True,
        label_y: float = 12,
    ) -> None:
        """Draws grid, ticks and labels."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        for value in self.y.ticks(max(2, int((bottom - top) // 42))):
            at = self.y.at(value)
            self.parts.append(f'<path class="grid" d="M{left:.1f} {at:.1f}H{right:.1f}"/>')
            self.text(left - 8, at + 4, plain(value), "end")
        self.text(0, label_y, y_label, "start", "label")
        self.parts.append(f'<path class="axis" d="M{left:.1f} {bottom:.1f}H{right:.1f}"/>')
        if x_label:
            self.columns(x_label, (top, bottom), x_names, upright=upright)

    def columns(
        self,
        label: str,
        between: tuple[float, float],
        names: Sequence[tuple[float, str]] = (),
        *,
        upright: bool = True,
    ) -> None:
        """Draws the ticks of the x axis and their lines between two heights, label below."""
        top, bottom = between
        most = max(2, int((self.x.end - self.x.start) // 60))
        for value, name in names or [(v, plain(v)) for v in self.x.ticks(most)]:
            at = self.x.at(value)
            if upright:
                self.parts.append(f'<path class="grid" d="M{at:.1f} {top:.1f}V{bottom:.1f}"/>')
            self.text(at, bottom + 18, name, "middle")
        self.text(self.x.end, bottom + 38, label, "end", "label")

    def bar(
        self,
        series: int,
        x: tuple[float, float],
        y: tuple[float, float],
        said: str,
        reach: float | None = None,
    ) -> None:
        """Draws a bar between pixels; it can be pointed at from reach downwards, if given."""
        left, width = x[0], max(x[1] - x[0], 0.5)
        drawn = (
            f'<rect class="bar s{series % SERIES}" x="{left:.1f}" y="{y[0]:.1f}" '
            f'width="{width:.1f}" height="{max(y[1] - y[0], 0.5):.1f}"/>'
        )
        if reach is not None:
            drawn += (
                f'<rect class="halo" x="{left:.1f}" y="{reach:.1f}" width="{width:.1f}" '
                f'height="{y[1] - reach:.1f}"/>'
            )
        self.target(drawn, said)

    def text(self, x: float, y: float, said: str, anchor: str = "start", kind: str = "") -> None:
        """Writes text; its base line starts, ends or has its middle at a point."""
        named = f' class="{kind}"' if kind else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(said)}</text>'
        )

    def line(self, points: Sequence[tuple[float, float]], kind: str = "line") -> None:
        """Draws a line through values; one point makes none."""
        if len(points) < 2:
            return
        pixels = [f"{self.x.at(x):.1f} {self.y.at(y):.1f}" for x, y in points]
        self.parts.append(f'<path class="{kind}" d="M{"L".join(pixels)}"/>')

    def mark(
        self,
        at: tuple[float, float],
        series: int,
        said: str,
        doubtful: bool = False,
        extra: str = "",
    ) -> None:
        """Draws the marker of a series, which tells something when pointed at; hollow in doubt."""
        x, y = self.x.at(at[0]), self.y.at(at[1])
        drawn = (
            f'<circle class="halo" cx="{x:.1f}" cy="{y:.1f}" r="{REACH_PX}"/>'
            f'<path class="mark{" hollow" * doubtful}" d="{marker(series, x, y)}"/>'
        )
        self.target(drawn, said, extra)

    def target(self, drawn: str, said: str, extra: str = "") -> None:
        """Draws something that tells something when pointed at or reached by keyboard."""
        told = escape(said)
        self.parts.append(f'<g class="tip" role="img" aria-label="{told}" {extra}>{drawn}</g>')

    def begin(self, series: int, name: str) -> None:
        """Begins what belongs to a series, which can be switched off by its name."""
        self.parts.append(f'<g class="series s{series % SERIES}" data-series="{escape(name)}">')

    def end(self) -> None:
        """Ends what belongs to a series."""
        self.parts.append("</g>")

    def drawn(self, identity: str, title: str, description: str, extra: str = "") -> str:
        """Returns the SVG; identity is unique in the page."""
        name = f"{identity}-{self.size.name}"
        return (
            f'<svg class="{self.size.name}" viewBox="0 0 {self.size.width} {self.size.height}" '
            f'role="group" aria-labelledby="{name}-t" aria-describedby="{name}-d" {extra}>'
            f'<title id="{name}-t">{escape(title)}</title>'
            f'<desc id="{name}-d">{escape(description)}</desc>{"".join(self.parts)}</svg>'
        )


def canvas(
    size: Size,
    x: tuple[float, float],
    y: tuple[float, float],
    log: tuple[bool, bool] = (False, False),
    left: float = 52,
) -> Canvas:
    """Returns an empty plot of two ranges of values, each logarithmic or not."""
    return Canvas(
        size,
        Axis(*x, left, size.width - 14, log[0]),
        Axis(*y, size.height - 48, 30, log[1]),
    )


def marker(series: int, x: float, y: float, r: float = 5.5) -> str:
    """Returns the path of a series' marker around a point."""
    s, d, w = 0.86 * r, 1.25 * r, 0.42 * r
    shapes = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
        _polygon(x, y, (-s, -s), (s, -s), (s, s), (-s, s)),
        _polygon(x, y, (0, -d), (d, s), (-d, s)),
        _polygon(x, y, (0, -d), (d, 0), (0, d), (-d, 0)),
        _polygon(x, y, (-w, -d), (w, -d), (w, -w), (d, -w), (d, w), (w, w), (w, d), (-w, d),
                 (-w, w), (-d, w), (-d, -w), (-w, -w)),
        _polygon(x, y, (0, d), (d, -s), (-d, -s)),
        _polygon(x, y, (-r, -w), (-w, -r), (w, -r), (r, -w), (r, w), (w, r), (-w, r), (-r, w)),
        _polygon(x, y, (-d, -d), (0, -w), (d, -d), (w, 0), (d, d), (0, w), (-d, d), (-w, 0)),
    )  # fmt: skip
    return shapes[series % SERIES]


def _polygon(x: float, y: float, *corners: tuple[float, float]) -> str:
    return "M" + "L".join(f"{x + dx:.1f} {y + dy:.1f}" for dx, dy in corners) + "Z"
