"""Rows of tables of accuracy, from the runs of a study: averages over draws with their spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tofa_edge.benchmarks.evidence.claims import average

PICKED = ("largest", "middle", "≤ 15 MMACs", "≤ 7 MMACs", "smallest")
ENDS = ("largest", "middle", "smallest")
EIGHT = (*ENDS, *(f"random {number}" for number in range(5)))  # subnets of a study


def row_of(runs: Any, name: str, columns: Sequence[str]) -> str:
    """Returns the cells of a table's row, the mean of eight subnets at its end."""
    return f"{cells_of(runs, name, columns)} | {cell_of(runs, name, EIGHT)}"


def unpicked_row_of(runs: Any, name: str) -> str:
    """Returns the same for `PICKED`, without the subnets that only a search finds."""
    largest, middle, smallest = (cell_of(runs, name, (column,)) for column in ENDS)
    return f"{largest} | {middle} | | | {smallest} | {cell_of(runs, name, EIGHT)}"


def cells_of(runs: Any, name: str, columns: Sequence[str]) -> str:
    """Returns the cells of a table's row."""
    return " | ".join(cell_of(runs, name, (column,)) for column in columns)


def probes_of(runs: Any, count: int) -> tuple[str, str]:
    """Returns the accuracies of the small probe and of the teachers', of so many labels."""
    small, large = (
        cell_of(runs, f"frozen-feature probe {name}, {count} labels a class", ("probe",))
        for name in ("lite0 128 px", "teachers")
    )
    return small, large


def cell_of(runs: Any, name: str, columns: Sequence[str]) -> str:
    """Returns the mean over subnets and draws, with its spread where there are several draws."""
    rows = [runs[key]["accuracy"] for key in sorted(runs) if key.startswith(f"{name}, draw ")]
    values = [sum(row[column] for column in columns) / len(columns) for row in rows]
    return average(values) if len(values) > 1 else f"{100 * values[0]:.1f} %"
