"""Stored results, and how figures of them are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, stdev
from typing import Any

FOLDER = "benchmarks/results"
RESULTS = Path(__file__).resolve().parents[1] / "results"


@cache
def result(name: str) -> Any:
    """Returns the stored result of a `name`."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def source(*names: str) -> str:
    """Returns where figures come from: command, machine, version, date and file of each result."""
    lines = []
    for name in names:
        made = result(name)["made"]
        version = made["versions"]["tofa_edge"]
        where = f"tofa-edge {version}, {made['machine']}, {made['date']}"
        lines.append(f"`{made['command']}`: {where} ([result]({FOLDER}/{name}.json)).")
    return "\n".join(lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *sources: str) -> str:
    """Returns a Markdown table; below it where its figures come from, by names of results."""
    lines = [columns, ["---"] * len(columns), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([text, *([source(*sources)] if sources else [])])


def power(value: float) -> str:
    """Returns a small number with two digits and a power of ten."""
    return f"{value:.1e}".replace("e-0", "e-")


def percent(share: float, digits: int = 1) -> str:
    """Returns a `share` of 0..1 in per cent."""
    return f"{100 * share:.{digits}f} %"


def spread(shares: Sequence[float]) -> str:
    """Returns the mean in per cent, with the standard deviation of several; nothing of none."""
    if len(shares) < 2:
        return "".join(map(percent, shares))
    return f"{100 * mean(shares):.1f} ± {100 * stdev(shares):.1f} %"


def each(values: dict[str, float], form: str = "") -> str:
    """Returns named values in one line: with a format, or as powers of ten."""
    words = (f"{name} {format(v, form) if form else power(v)}" for name, v in values.items())
    return ", ".join(words)
