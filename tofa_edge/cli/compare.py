"""The command that compares results of `bench`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tofa_edge.cli.app import Json, app
from tofa_edge.cli.output import out, print_json, table


@app.command()
def compare(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT…", help="Files of bench, the first to go by.")
    ],
    fail_above: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", help="Exit with 1 where one is slower by more, no noise."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Says what differs between results of bench, and whether that is more than noise."""
    from tofa_edge.benchmarks.compare import compare as compared

    found = compared(results)
    if as_json:
        print_json(
            [
                {**dataclasses.asdict(item), "verdict": item.verdict,
                 "before": str(item.before), "after": str(item.after)}
                for item in found
            ]
        )  # fmt: skip
    else:
        for item in found:
            shown = table(str(item.after), "network", "before", "after", "ratio", "verdict")
            for row in item.rows:
                times = (f"{row.before_ms:.3f} ms", f"{row.after_ms:.3f} ms", f"{row.ratio:.3f}")
                shown.add_row(row.name, *times, row.verdict)
            out.print(shown)
            for line in item.differing:
                out.print(line, markup=False)
            out.print(str(item), markup=False)
    if fail_above is not None and any(item.is_slower_than(fail_above / 100) for item in found):
        raise typer.Exit(1)
