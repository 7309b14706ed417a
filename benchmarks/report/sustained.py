"""The trace of a run over minutes: latency, temperature, clock and power under one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tofa_edge.benchmarks.report.data import Moment, Sustained
from tofa_edge.benchmarks.report.figure import Figure
from tofa_edge.benchmarks.report.svg import SIZES, Axis, Canvas, Size, canvas, even_range
from tofa_edge.benchmarks.report.tables import Table
from tofa_edge.benchmarks.report.words import milliseconds, plain, with_unit

PANEL_PX, GAP_PX = 104, 34
MOST_TIPS, MOST_CELLS = 60, 120
Take = Callable[[Moment], float | None]


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity over time: its name, and the lines in it as (style, colour, values).

    Attributes:
        name: with its unit.
        lines: each a style, a colour, and what it takes of a moment.
    """

    name: str
    lines: tuple[tuple[str, int, Take], ...]


PANELS = (
    Panel(
        "latency, ms",
        (("line", 0, lambda m: m.p50_ms), ("line dashed", 0, lambda m: m.p95_ms)),
    ),
    Panel("temperature, °C", (("line", 1, lambda m: m.temperature_c),)),
    Panel("clock, MHz", (("line", 2, lambda m: m.clock_mhz),)),
    Panel("power, W", (("line", 5, lambda m: m.watts),)),
)


def sustained_figure(found: Sustained | None, identity: str) -> Figure | None:
    """Returns the trace; None where there is none."""
    if found is None or not found.moments:
        return None
    moments = sorted(found.moments, key=lambda moment: moment.at_s)
    panels = [
        panel
        for panel in PANELS
        if any(take(moment) is not None for _, _, take in panel.lines for moment in moments)
    ]
    if not panels:
        return None
    title = f"Sustained: {found.configuration}"
    said = _said(moments)
    height = 22 + len(panels) * (PANEL_PX + GAP_PX) + 26
    drawn = "".join(
        _traces(moments, panels, Size(size.name, size.width, height)).drawn(identity, title, said)
        for size in SIZES
    )
    note = "Latency: p50 drawn through, p95 dashed."
    if any(moment.throttled for moment in moments):
        note += " Shaded: the machine throttled."
    return Figure(
        identity, title, said, drawn, "", note, _table(title, moments), found.reasons, full=True
    )


def _said(moments: Sequence[Moment]) -> str:
    minutes = plain(round((moments[-1].at_s - moments[0].at_s) / 60, 1))
    medians = [moment.p50_ms for moment in moments if moment.p50_ms]
    degrees = [moment.temperature_c for moment in moments if moment.temperature_c is not None]
    said = f"{minutes} minutes without a pause"
    if medians:
        said += f": p50 {milliseconds(medians[0])} at first, {milliseconds(medians[-1])} at last"
    if degrees:
        said += f", {with_unit(degrees[0], '°C')} at first, {with_unit(max(degrees), '°C')} at most"
    hot = sum(moment.throttled for moment in moments)
    return f"{said}. " + (
        f"Throttled in {hot} of {len(moments)} points." if hot else "No throttling."
    )


def _traces(moments: Sequence[Moment], panels: Sequence[Panel], size: Size) -> Canvas:
    minutes = [moment.at_s / 60 for moment in moments]
    made = canvas(size, (minutes[0], max(minutes[-1], minutes[0] + 0.1)), (0, 1))
    bottom = 26 + len(panels) * (PANEL_PX + GAP_PX) - GAP_PX
    step, targets = max(1, -(-len(moments) // MOST_TIPS)), []
    for first in range(0, len(moments), step):
        part = moments[first : first + step]
        left = made.x.at(part[0].at_s / 60)
        after = moments[min(first + step, len(moments) - 1)].at_s / 60
        width = max(2.0, made.x.at(after) - left)
        if any(moment.throttled for moment in part):
            made.parts.append(_rectangle("hot", left, 26, width, bottom - 26))
        targets.append((_rectangle("halo", left, 26, width, bottom - 26), _told(part[0])))
    for index, panel in enumerate(panels):
        top = 26 + index * (PANEL_PX + GAP_PX)
        _panel(made, moments, panel, top, last=index == len(panels) - 1)
    for drawn, said in targets:  # above all lines, to be pointed at
        made.target(drawn, said)
    return made


def _panel(made: Canvas, moments: Sequence[Moment], panel: Panel, top: float, last: bool) -> None:
    values = [v for _, _, take in panel.lines for m in moments if (v := take(m)) is not None]
    low, high = even_range(values)
    made.y = Axis(max(0.0, low), high, top + PANEL_PX, top)
    made.frame("minutes" if last else "", panel.name, label_y=top - 8)
    for style, number, take in panel.lines:
        points = [(m.at_s / 60, v) for m in moments if (v := take(m)) is not None]
        if points:
            made.begin(number, "")
            made.line(points, style)
            made.end()


def _rectangle(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
    )


def _told(moment: Moment) -> str:
    lines = (
        f"after {plain(round(moment.at_s / 60, 2))} minutes",
        f"p50 {milliseconds(moment.p50_ms)}, p95 {milliseconds(moment.p95_ms)}",
        "" if moment.temperature_c is None else with_unit(moment.temperature_c, "°C"),
        "" if moment.clock_mhz is None else with_unit(moment.clock_mhz, "MHz"),
        "" if moment.watts is None else with_unit(moment.watts, "W"),
        "throttled" if moment.throttled else "",
    )
    return "\n".join(line for line in lines if line)


def _table(title: str, moments: Sequence[Moment]) -> Table:
    step = max(1, -(-len(moments) // MOST_CELLS))
    rows = tuple(
        (
            with_unit(moment.at_s, "s"),
            milliseconds(moment.p50_ms),
            milliseconds(moment.p95_ms),
            with_unit(moment.temperature_c, "°C"),
            with_unit(moment.clock_mhz, "MHz"),
            with_unit(moment.watts, "W"),
            "yes" if moment.throttled else "no",
        )
        for moment in moments[::step]
    )
    columns = ("after", "p50", "p95", "temperature", "clock", "power", "throttled")
    return Table(title if step == 1 else f"{title}, every {step}th point", columns, rows)
