"""The command for authors of backends."""

from __future__ import annotations

import dataclasses
import faulthandler
from typing import Annotated

import typer

from tofa_edge.cli.app import Json, app
from tofa_edge.cli.output import out, print_json
from tofa_edge.errors import BackendError


@app.command()
def conformance(
    name: Annotated[str, typer.Argument(metavar="BACKEND", help="Its entry point's name.")],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer subnets and fewer loads.")] = False,
    as_json: Json = False,
) -> None:
    """Puts a backend, yours or one of ours, through the checks that every backend must pass."""
    from tofa_edge.backends.registry import backend
    from tofa_edge.conformance.suite import run

    faulthandler.enable()  # an engine that crashes takes everything along, but says where
    checks = run(backend(name), quick)
    if as_json:
        print_json([dataclasses.asdict(check) for check in checks])
    else:
        for check in checks:
            out.print(str(check), markup=False)
    failed = [check.title for check in checks if check.outcome == "failed"]
    if failed:
        count = f"{len(failed)} of {len(checks)} checks failed"
        raise BackendError(f"{name}: {count}: {', '.join(failed)}")
