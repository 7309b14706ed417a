"""The trace of a run over minutes: latency, temperature, clock and power under one another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

from tofa_edge.benchmarks.report.figure import Figure
from tofa_edge.benchmarks.report.svg import TOP_PX, Axis, Canvas, even_range, rectangle
from tofa_edge.benchmarks.report.tables import Table
from tofa_edge.benchmarks.report.words import milliseconds, plain, with_unit
from tofa_edge.benchmarks.result.bench_result import Moment, Sustained

PANEL_PX, GAP_PX = 104, 34
MOST_TIPS, MOST_CELLS = 60, 120
Take = Callable[[Moment], float | None]
Panel = tuple[str, int, tuple[tuple[str, Take], ...]]  # name, colour, lines by style

PANELS: tuple[Panel, ...] = (
    ("latency, ms", 0, (("line", lambda m: m.p50_ms), ("line dashed", lambda m: m.p95_ms))),
    ("temperature, °C", 1, (("line", lambda m: m.temperature_c),)),
    ("clock, MHz", 2, (("line", lambda m: m.clock_mhz),)),
    ("power, W", 5, (("line", lambda m: m.watts),)),
)

COLUMNS = {  # of the table: a field of a moment and its unit
    "after": ("at_s", "s"),
    "p50": ("p50_ms", "ms"),
    "p95": ("p95_ms", "ms"),
    "temperature": ("temperature_c", "°C"),
    "clock": ("clock_mhz", "MHz"),
    "power": ("watts", "W"),
}


def sustained_figure(run: Sustained | None, identity: str) -> Figure | None:
    """Returns the trace; None where there is none."""
    if run is None or not run.points:
        return None
    moments = sorted(run.points, key=lambda moment: moment.at_s)
    panels = [
        panel
        for panel in PANELS
        if any(take(moment) is not None for _, take in panel[2] for moment in moments)
    ]
    if not panels:
        return None
    title = f"Sustained: {run.configuration.words}"
    throttled = any(bool(moment.throttled) for moment in moments)
    return Figure(
        identity,
        title=title,
        summary=_summary(moments),
        plot=_traces(moments, panels),
        note="Latency: p50 solid, p95 dashed." + " Shaded: the machine throttled." * throttled,
        table=_table(title, moments),
        warnings=run.reasons,
    )


def _summary(moments: Sequence[Moment]) -> str:
    minutes = plain(round((moments[-1].at_s - moments[0].at_s) / 60, 1))
    medians = [moment.p50_ms for moment in moments if moment.p50_ms]
    degrees = [moment.temperature_c for moment in moments if moment.temperature_c is not None]
    words = f"{minutes} minutes without a pause"
    if medians:
        words += f": p50 {milliseconds(medians[0])} at first, {milliseconds(medians[-1])} at last"
    if degrees:
        words += (
            f", {with_unit(degrees[0], '°C')} at first, {with_unit(max(degrees), '°C')} at most"
        )
    hot = sum(bool(moment.throttled) for moment in moments)
    return f"{words}. " + (
        f"Throttled in {hot} of {len(moments)} points." if hot else "No throttling."
    )


def _traces(moments: Sequence[Moment], panels: Sequence[Panel]) -> Canvas:
    minutes = [moment.at_s / 60 for moment in moments]
    bottom = TOP_PX + len(panels) * (PANEL_PX + GAP_PX) - GAP_PX
    x = Axis(minutes[0], max(minutes[-1], minutes[0] + 0.1))
    plot = Canvas(bottom + 48, x, Axis(0, 1, bottom, TOP_PX))
    step, targets = max(1, -(-len(moments) // MOST_TIPS)), []
    for first in range(0, len(moments), step):
        part = moments[first : first + step]
        left = x.at(minutes[first])
        right = x.at(minutes[min(first + step, len(moments) - 1)])
        if any(moment.throttled for moment in part):
            plot.parts.append(rectangle("hot", left, right, TOP_PX, bottom))
        targets.append((rectangle("halo", left, right, TOP_PX, bottom, least=0.3), _tip(part[0])))
    for index, panel in enumerate(panels):
        top = TOP_PX + index * (PANEL_PX + GAP_PX)
        _panel(plot, moments, panel, top, "minutes" * (index == len(panels) - 1))
    for halo, tip in targets:  # above all lines, to be pointed at
        plot.target(halo, tip)
    return plot


def _panel(plot: Canvas, moments: Sequence[Moment], panel: Panel, top: float, x_label: str) -> None:
    name, number, lines = panel
    traces = [
        (style, [(m.at_s / 60, v) for m in moments if (v := take(m)) is not None])
        for style, take in lines
    ]
    low, high = even_range([value for _, points in traces for _, value in points])
    plot.y = Axis(max(0.0, low), high, top + PANEL_PX, top)
    plot.frame(x_label, name)
    with plot.group(number, ""):
        for style, points in traces:
            plot.line(points, style)


def _tip(moment: Moment) -> str:
    lines = [
        f"after {plain(round(moment.at_s / 60, 2))} minutes",
        f"p50 {milliseconds(moment.p50_ms)}, p95 {milliseconds(moment.p95_ms)}",
    ]
    sensors = ((moment.temperature_c, "°C"), (moment.clock_mhz, "MHz"), (moment.watts, "W"))
    lines += [with_unit(value, unit) for value, unit in sensors if value is not None]
    return "\n".join(lines + ["throttled"] * bool(moment.throttled))


def _table(title: str, moments: Sequence[Moment]) -> Table:
    step = max(1, -(-len(moments) // MOST_CELLS))
    fields, units = zip(*COLUMNS.values(), strict=True)
    rows = tuple(
        (*map(with_unit, attrgetter(*fields)(moment), units), "yes" if moment.throttled else "no")
        for moment in moments[::step]
    )
    heading = title if step == 1 else f"{title}, every {step}th point"
    return Table(heading, (*COLUMNS, "throttled"), rows)
