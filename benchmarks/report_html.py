"""The report's page: one file, no network, every word of a result escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from tofa_edge._version import __version__
from tofa_edge.benchmarks.report_data import Result
from tofa_edge.benchmarks.report_front import (
    best_within,
    front_figure,
    headline_budget,
    points,
    said_of,
)
from tofa_edge.benchmarks.report_tables import Table, engine_table
from tofa_edge.benchmarks.report_words import milliseconds


def page(results: Sequence[Result]) -> str:
    """Returns the whole page.

    Args:
        results: one or more.
    """
    style, script = (_part(f"report.{kind}") for kind in ("css", "js"))
    title = page_title(results)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{style}</style>'
        '</head><body><a class="skip" href="#main">To the figures</a>'
        f'<header><h1>{escape(title)}</h1><button type="button" class="theme" hidden>Dark</button>'
        f'</header><main id="main">{"".join(map(_section, results))}</main>'
        f"<footer>Made by tofa-edge {escape(__version__)}. Latencies are wall-clock times of one "
        "prediction, photo in, probabilities out; p95: 95 of 100 are as quick or quicker."
        f"</footer><script>{script}</script></body></html>\n"
    )


def page_title(results: Sequence[Result]) -> str:
    """Returns what the page is about."""
    first = results[0]
    if len(results) == 1:
        return f"{first.bundle} on {first.device}"
    bundles = list(dict.fromkeys(result.bundle for result in results))
    named = bundles[0] if len(bundles) == 1 else f"{len(bundles)} bundles"
    return f"{named}: {len(results)} results"


def headline(result: Result) -> tuple[str, str]:
    """Returns the budget's clause, and the best network within it; empty without a front."""
    front = points(result, result.front)
    if not front:
        return "", ""
    budget = headline_budget(front)
    best = best_within(front, budget)
    return f"Best within {milliseconds(budget)}", "" if best is None else said_of(result, best)


def _section(result: Result) -> str:
    when = " · ".join(word for word in (result.date, result.digest and result.digest[:12]) if word)
    identity = hashlib.sha256(str(result.path).encode()).hexdigest()[:8]
    budget, best = headline(result)
    said = (
        f"{escape(budget)}: <strong>{escape(best)}</strong>" if best else "No front was measured."
    )
    figures = [front_figure(result, f"front-{identity}")]
    cards = "".join(figure.html() for figure in figures if figure is not None)
    return (
        f'<p class="headline">{said}</p><p class="quiet">{escape(when)}</p>{_remarks(result)}'
        f'<div class="cards">{cards}{_table_card(engine_table(result))}'
        f"{_table_card(Table('Machine and software', ('what', 'value'), result.facts))}</div>"
    )


def _remarks(result: Result) -> str:
    return "".join(f'<span class="doubt">{escape(word)}</span>' for word in result.remarks)


def _table_card(table: Table) -> str:
    return f'<section class="card full">{table.html()}</section>'


def _part(name: str) -> str:
    return (files("tofa_edge.benchmarks") / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Returns what the browser may do: draw, and run this one script. Nothing goes out."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
