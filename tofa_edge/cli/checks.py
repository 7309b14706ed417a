"""The commands that look into a bundle, this machine or an engine.

inspect, verify, doctor and conformance.
"""

from __future__ import annotations

import dataclasses
import faulthandler
from pathlib import Path
from typing import Annotated

import typer

from tofa_edge.cli.app import BundlePath, Json, SubnetJson, app
from tofa_edge.cli.output import out, print_json, print_lines, table
from tofa_edge.errors import BackendError


@app.command()
def inspect(
    bundle: BundlePath,
    show_layers: Annotated[
        bool, typer.Option("--layers", help="Show the layers of a subnet; default: the largest.")
    ] = False,
    subnet: SubnetJson = None,
    precision: Annotated[
        str, typer.Option(help="int8 measures what 8-bit weights do to each layer.")
    ] = "fp32",
    as_json: Json = False,
) -> None:
    """Shows what a bundle holds: classes, subnets, photos, how it was trained.

    With --layers: each layer of a subnet; "3×3/2 dw" is a depthwise kernel with a stride of 2.
    """
    if show_layers:
        _inspect_layers(bundle, subnet, precision, as_json)
        return
    if subnet is not None or precision != "fp32":
        raise typer.BadParameter("--subnet and --precision need --layers")
    from tofa_edge.cli.describe import describe

    description = describe(bundle)
    if as_json:
        print_json(description)
        return
    for key, value in description.items():
        if value is not None:
            name = key.replace("_", " ").replace("mmacs", "MMACs").replace(" mb", " MB")
            print_lines([f"{name}: {value}"])


def _inspect_layers(bundle: Path, subnet: str | None, precision: str, as_json: bool) -> None:
    from tofa_edge.architecture.space import Subnet
    from tofa_edge.cli.layers import layer_rows

    if precision not in ("fp32", "int8"):
        raise typer.BadParameter(f"wanted --precision fp32 or int8, got {precision}")
    chosen = None if subnet is None else Subnet.from_json(subnet)
    columns, rows, summary = layer_rows(bundle, chosen, precision == "int8")
    if as_json:
        layers = [dict(zip(columns, row, strict=True)) for row in rows]
        print_json({"subnet": summary, "layers": layers})
        return
    out.print(table("layers", *columns, rows=rows))
    print_lines([summary])


@app.command()
def verify(
    bundle: BundlePath,
    trust: Annotated[
        Path | None,
        typer.Option(help="A policy or a public key: whose signature the bundle must have."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Checks the hash of every part of a bundle, then every engine against its golden cases.

    With --trust, or a policy on this device, its signature before anything else.
    """
    from tofa_edge.cli.describe import engine_checks
    from tofa_edge.trust.policy import trust_of

    checks = engine_checks(bundle, None if trust is None else trust_of(trust))
    if as_json:
        print_json([check._asdict() for check in checks])
    else:
        if trust is not None:
            out.print("signature: as wanted")
        out.print("bundle: every part matches its hash")
        print_lines(f"{check.engine}: {check.reason}" for check in checks)
    wrong = ", ".join(check.engine for check in checks if check.right is False)
    if wrong:
        raise BackendError(f"{wrong}: wrong results on this machine; deploy with another --backend")


@app.command()
def doctor(
    retest: Annotated[
        bool, typer.Option("--retest", help="Run every engine's self-test again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Shows what this machine is, which engines work, and what disturbs its latencies.

    Exit code 0 whatever it finds: problems cost time, they do not forbid anything.
    """
    from tofa_edge.cli.doctor import examine, lines

    examination = examine(retest)
    if as_json:
        print_json(examination.to_dict())
    else:
        print_lines(lines(examination))


@app.command()
def conformance(
    name: Annotated[str, typer.Argument(metavar="BACKEND", help="Its entry point's name.")],
    quick: Annotated[bool, typer.Option("--quick", help="Fewer subnets and fewer loads.")] = False,
    unit: Annotated[str | None, typer.Option(help="This one alone, such as gpu.")] = None,
    slow: Annotated[
        bool, typer.Option("--slow", help="For devices that load slowly, such as GPUs in software.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Runs the checks that every backend must pass, built in or your own."""
    from tofa_edge.backends.registry import backend
    from tofa_edge.conformance.suite import run

    faulthandler.enable()  # an engine that crashes ends this process too, but shows where
    checks = run(backend(name), quick, unit=unit, slow=slow)
    if as_json:
        print_json([dataclasses.asdict(check) for check in checks])
    else:
        print_lines(checks)
    failed = [check.title for check in checks if check.outcome == "failed"]
    if failed:
        count = f"{len(failed)} of {len(checks)} checks failed"
        raise BackendError(f"{name}: {count}: {', '.join(failed)}")
