"""The command that writes a file for other programs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tofa_edge.cli.app import BundlePath, Force, Json, LatencyMs, MemoryMb, app
from tofa_edge.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from tofa_edge.deployment.export import Exported


FileFormat = Annotated[
    str | None,
    typer.Option("--format", help="tflite or onnx; default: what the file's name ends with."),
]
SubnetJson = Annotated[
    str | None, typer.Option(metavar="JSON", help="Exactly this subnet; default: the largest.")
]
Precision = Annotated[
    str, typer.Option(help="fp32 or int8; for TFLite also dynamic (8-bit weights alone).")
]
WeightBits = Annotated[
    int | None,
    typer.Option(
        help="7 or 8, for integers. Default 7: right on every processor, a little less "
        "accurate. 8 is wrong on x86 processors without VNNI."
    ),
]


@app.command()
def export(
    bundle: BundlePath,
    out_path: Annotated[Path, typer.Option("--out", help="The file to write.")],
    file_format: FileFormat = None,
    subnet: SubnetJson = None,
    latency_ms: LatencyMs = None,
    memory_mb: MemoryMb = None,
    precision: Precision = "fp32",
    weight_bits: WeightBits = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Writes one network as a TFLite or ONNX file for other programs, and checks it.

    With a budget: the network that deploy chooses here.
    """
    import tofa_edge

    exported = tofa_edge.export(
        bundle,
        out_path,
        format=file_format,
        subnet=None if subnet is None else tofa_edge.Subnet.from_json(subnet),
        latency_ms=latency_ms,
        memory_mb=memory_mb,
        precision=precision,
        weight_bits=weight_bits,
        overwrite=force,
    )
    if as_json:
        fields = {"path": str(exported.path), "subnet": exported.subnet.to_json()}
        print_json({**dataclasses.asdict(exported), **fields})
        return
    print_lines(_lines(exported))


def _lines(exported: Exported) -> list[str]:
    size, megabytes = exported.input_size, exported.size_bytes / 1e6
    wrote = f"wrote {exported.path}: {exported.format} {exported.precision}, {megabytes:.2f} MB"
    if exported.difference is None:
        checked = f"not checked: {exported.not_checked}"
    else:
        checked = (
            f"checked with {exported.checked_by}: probabilities of two images are within "
            f"{exported.difference:.1e} of the reference's"
        )
    return [
        f"{wrote}, input uint8 RGB {size} × {size}, output probabilities",
        *([f"chosen here: {exported.measured}"] if exported.measured else []),
        *([f"{exported.precision}: {exported.drop}"] if exported.drop else []),
        checked,
        f"the same again: --subnet '{exported.subnet.to_json()}'",
    ]
