"""The report as Markdown: headline, warnings and tables."""

from __future__ import annotations

from collections.abc import Sequence

from tofa_edge.benchmarks.report.budgets import headline, quality_name
from tofa_edge.benchmarks.report.data import Result
from tofa_edge.benchmarks.report.html import page_title
from tofa_edge.benchmarks.report.merged import engine_device_table, names, overview_table
from tofa_edge.benchmarks.report.tables import (
    engine_table,
    fact_table,
    front_table,
    markdown_text,
    scenario_table,
)


def markdown(results: Sequence[Result]) -> str:
    """Returns what the page says, without its plots."""
    parts = [f"# {markdown_text(page_title(results))}\n"]
    if len(results) > 1:
        parts += [overview_table(results).markdown(), engine_device_table(results).markdown()]
    for name, result in zip(names(results), results, strict=True):
        parts += _section(name, result)
    return "\n".join(parts)


def _section(name: str, result: Result) -> list[str]:
    budget, best = headline(result)
    words = f"{budget}: **{markdown_text(best)}**" if best else "Nothing was measured."
    when = ", ".join(word for word in (result.bundle, result.date) if word)
    remarks = [f"- {markdown_text(word)}" for word in result.remarks]
    tables = (
        engine_table(result),
        engine_table(result, largest=True),
        front_table(result, quality_name(result.predicts_accuracy)),
        scenario_table(result),
        fact_table(result),
    )
    shown = [table.markdown() for table in tables if table.rows]
    head = [f"## {markdown_text(name)}\n", f"{words}\n", f"{markdown_text(when)}\n"]
    return [*head, *(["\n".join([*remarks, ""])] if remarks else []), *shown]
