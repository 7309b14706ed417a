"""The report's page: one file, no network, every word of a result escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from tofa_edge._version import __version__
from tofa_edge.benchmarks.report.bars import cold_start_figure, layer_figures
from tofa_edge.benchmarks.report.budgets import engine_plot, headline, quality_name
from tofa_edge.benchmarks.report.figure import Figure, badges
from tofa_edge.benchmarks.report.front import front_figure
from tofa_edge.benchmarks.report.merged import (
    engine_device_table,
    merged_figure,
    names,
    overview_table,
)
from tofa_edge.benchmarks.report.plots import engines_figure, percentile_figure
from tofa_edge.benchmarks.report.remarks import remarks
from tofa_edge.benchmarks.report.sustained import sustained_figure
from tofa_edge.benchmarks.report.svg import SHAPES
from tofa_edge.benchmarks.report.tables import (
    Table,
    engine_table,
    fact_table,
    front_table,
    scenario_table,
)
from tofa_edge.benchmarks.result.bench_result import BenchResult

FOOTER = (
    "Latency: time of one prediction, without what other programs made it wait; what they added "
    "stands beside it. p95: 95 of 100 predictions were as fast or faster. Intervals hold with 95 %."
)


def page(results: Sequence[BenchResult]) -> str:
    """Returns the whole page."""
    style, script = (_part(f"page.{kind}") for kind in ("css", "js"))
    title = page_title(results)
    body = _alone(results[0]) if len(results) == 1 else _together(results)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{style}</style>'
        '</head><body><a class="skip" href="#main">To the figures</a>'
        f'<header><h1>{escape(title)}</h1><button type="button" class="theme" hidden>Dark</button>'
        f'</header>{SHAPES}<main id="main">{body}</main><footer>{FOOTER} Made by tofa-edge '
        f"{escape(__version__)}.</footer><script>{script}</script></body></html>\n"
    )


def page_title(results: Sequence[BenchResult]) -> str:
    """Returns what the page is about."""
    first = results[0]
    if len(results) == 1:
        return f"{first.bundle.name} on {first.device_name}"
    bundles = list(dict.fromkeys(result.bundle.name for result in results))
    named = bundles[0] if len(bundles) == 1 else f"{len(bundles)} bundles"
    devices = list(dict.fromkeys(result.device_name for result in results))
    return f"{named} on {len(devices)} devices" if len(devices) > 1 else f"{named} on {devices[0]}"


def _alone(result: BenchResult) -> str:
    return _summary(result) + _cards(result, 0, 2)


def _together(results: Sequence[BenchResult]) -> str:
    whole = merged_figure(results)
    tables = "".join(
        _table_card(table, 2) for table in (overview_table(results), engine_device_table(results))
    )
    parts = [f'<div class="cards">{tables}{"" if whole is None else whole.html(2)}</div>']
    for number, (name, result) in enumerate(zip(names(results), results, strict=True)):
        parts.append(
            f'<details class="result"><summary><h2>{escape(name)}</h2></summary>'
            f"{_summary(result)}{_cards(result, number, 3)}</details>"
        )
    return "".join(parts)


def _summary(result: BenchResult) -> str:
    budget, best = headline(result)
    words = f"{escape(budget)}: <strong>{escape(best)}</strong>"
    parts = [
        result.bundle.name,
        result.date,
        result.bundle.digest and f"digest {result.bundle.digest[:12]}",
        None if result.seconds is None else f"measured in {result.seconds:.0f} s",
    ]
    return (
        f'<p class="headline">{words if best else "Nothing was measured."}</p>'
        f'<p class="quiet">{escape(" · ".join(part for part in parts if part))}</p>'
        f"{badges(remarks(result))}"
    )


def _cards(result: BenchResult, number: int, level: int) -> str:
    table = front_table(result, quality_name(result.predicts_accuracy))
    figures: list[Figure | None] = [
        front_figure(engine_plot(result), f"front-{number}", table, result.mean_prediction_error),
        engines_figure(result, f"engines-{number}"),
        cold_start_figure(result, f"start-{number}"),
        percentile_figure(result, f"percentiles-{number}"),
        sustained_figure(result.sustained, f"sustained-{number}"),
        *layer_figures(result, f"layers-{number}"),
    ]
    tables = (engine_table(result, largest=True), scenario_table(result))
    cards = [figure.html(level) for figure in figures if figure is not None]
    cards += [_table_card(table, level) for table in tables if table.rows]
    facts = fact_table(result).html()
    cards.append(
        '<section class="card full facts"><details><summary>Machine and software</summary>'
        f"{facts}</details></section>"
    )
    return f'<div class="cards">{"".join(cards)}</div>'


def _table_card(table: Table, level: int) -> str:
    title = escape(table.title)
    return f'<section class="card full titled"><h{level}>{title}</h{level}>{table.html()}</section>'


def _part(name: str) -> str:
    return (files("tofa_edge.benchmarks.report") / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Returns what the browser may do: draw, and run this one script. Nothing goes out."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
