"""The report as Markdown: headline, doubts and tables."""

from __future__ import annotations

from collections.abc import Sequence

from tofa_edge.benchmarks.report_data import Result
from tofa_edge.benchmarks.report_front import quality_name
from tofa_edge.benchmarks.report_html import headline, page_title
from tofa_edge.benchmarks.report_tables import Table, engine_table, front_table, markdown_text


def markdown(results: Sequence[Result]) -> str:
    """Returns what the page says, without its plots."""
    parts = [f"# {markdown_text(page_title(results))}\n"]
    for result in results:
        parts += _section(result)
    return "\n".join(parts)


def _section(result: Result) -> list[str]:
    budget, best = headline(result)
    said = f"{budget}: **{markdown_text(best)}**" if best else "No front was measured."
    when = f"{markdown_text(result.device)}, {markdown_text(result.date or 'no date')}"
    doubts = [f"- {markdown_text(word)}" for word in result.remarks]
    tables = (
        engine_table(result),
        front_table(result, quality_name(result)),
        Table("Machine and software", ("what", "value"), result.facts),
    )
    shown = [table.markdown() for table in tables if table.rows]
    return [f"## {when}\n", f"{said}\n", "\n".join([*doubts, ""]) if doubts else "", *shown]
