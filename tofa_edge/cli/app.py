"""The commands of a device."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tofa_edge import __version__
from tofa_edge.cli.output import ReportedExit, out, print_json, tell
from tofa_edge.errors import BackendError

app = typer.Typer(
    name="tofa-edge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One supernet, trained once; every device cuts the best network for itself out of one "
    "file. Exit codes: 0 done, 1 error, 2 wrong usage, 3 no network within the budget, "
    "130 interrupted.",
)

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .tofa file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
MemoryMb = Annotated[
    float | None, typer.Option(help="Budget for the growth of the process, in MB.")
]
LatencyMs = Annotated[
    float | None, typer.Option(help="Budget: p95 of one prediction, in milliseconds.")
]
SubnetJson = Annotated[
    str | None, typer.Option(metavar="JSON", help="Deploy exactly this subnet, as inspect prints.")
]
BackendName = Annotated[str | None, typer.Option("--backend", help="Engine; default: the fastest.")]
Threads = Annotated[int | None, typer.Option(help="Default: the fastest number.")]
Precision = Annotated[
    str | None,
    typer.Option(help="fp32, fp16, int8 or dynamic; default: what serves the budget best."),
]
MaxDrop = Annotated[
    float,
    typer.Option(
        min=0, metavar="POINTS", help="Of accuracy that 8-bit integers may cost, measured."
    ),
]
Frames = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Photos that this device's camera took, of as many different scenes as there are.",
    ),
]
FramesShare = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="At most so much of what calibrates are frames, 0 to 1; default: a quarter.",
    ),
]


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"tofa-edge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Takes the options that stand before the command; `main` reads --debug itself."""


@app.command()
def inspect(
    bundle: BundlePath,
    of_layers: Annotated[
        bool, typer.Option("--layers", help="Show the layers of a subnet; default: the largest.")
    ] = False,
    subnet: Annotated[
        str | None, typer.Option(metavar="JSON", help="Which subnet, as deploy prints it.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="int8 measures what 8-bit weights do to each layer.")
    ] = "fp32",
    as_json: Json = False,
) -> None:
    """Says what a bundle holds: classes, subnets, photos, where it comes from.

    With --layers: each layer of a subnet; "3×3/2 dw" is a depthwise kernel with a stride of 2.
    """
    from tofa_edge.cli.describe import describe

    if not of_layers and (subnet is not None or precision != "fp32"):
        raise typer.BadParameter("--subnet and --precision go with --layers")
    if of_layers:
        _inspect_layers(bundle, subnet, precision, as_json)
        return
    description = describe(bundle)
    if as_json:
        print_json(description)
        return
    for key, value in description.items():
        out.print(f"{key.replace('_', ' ')}: {value}", markup=False)


def _inspect_layers(bundle: Path, subnet: str | None, precision: str, as_json: bool) -> None:
    from tofa_edge.architecture.space import Subnet
    from tofa_edge.cli.layers import layer_rows
    from tofa_edge.cli.output import table

    if precision not in ("fp32", "int8"):
        raise typer.BadParameter(f"wanted --precision fp32 or int8, got {precision}")
    wanted = None if subnet is None else Subnet.from_json(subnet)
    columns, rows, said = layer_rows(bundle, wanted, precision == "int8")
    if as_json:
        print_json({"subnet": said, "layers": [dict(zip(columns, r, strict=True)) for r in rows]})
        return
    shown = table("layers", *columns)
    for row in rows:
        shown.add_row(*row)
    out.print(shown)
    out.print(said, markup=False)


@app.command()
def verify(bundle: BundlePath, as_json: Json = False) -> None:
    """Checks every member's hash, then every engine here against the golden cases."""
    from tofa_edge.cli.describe import prove_engines

    verdicts = prove_engines(bundle)
    if as_json:
        print_json([dataclasses.asdict(verdict) for verdict in verdicts])
    else:
        out.print("all members whole")
        for verdict in verdicts:
            out.print(f"{verdict.engine}: {verdict.reason}", markup=False)
    wrong = ", ".join(verdict.engine for verdict in verdicts if verdict.right is False)
    if wrong:
        raise BackendError(f"{wrong}: not right on this machine, deploy with another --backend")


@app.command()
def doctor(
    probe_again: Annotated[
        bool, typer.Option("--probe-again", help="Try every engine, whatever is known of it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Says what this machine is, which engines work, and what spoils its latencies.

    Exit code 0 whatever it finds: problems cost time, they do not forbid anything.
    """
    from tofa_edge.cli.doctor import examine, lines

    examination = examine(probe_again)
    if as_json:
        print_json(examination.to_dict())
        return
    for line in lines(examination):
        out.print(line, markup=False)


@app.command()
def deploy(
    bundle: BundlePath,
    latency_ms: LatencyMs = None,
    memory_mb: MemoryMb = None,
    subnet: SubnetJson = None,
    backend: BackendName = None,
    threads: Threads = None,
    precision: Precision = None,
    max_accuracy_drop: MaxDrop = 1.0,
    max_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Measure about so long at most; the choice is worse."),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Choose again, whatever was chosen here before.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the candidates drawn.")] = 0,
    frames: Frames = None,
    frames_share: FramesShare = None,
    as_json: Json = False,
) -> None:
    """Chooses, cuts and measures a network on this machine, and says why."""
    budget = _budget(latency_ms, memory_mb, max_accuracy_drop)
    asked = {"backend": backend, "threads": threads, "precision": precision}
    choices = {"max_seconds": max_seconds, "seed": seed, "remember": not anew}
    with _deployed(
        bundle, subnet, frames, frames_share, budget=budget, **asked, **choices
    ) as model:
        if as_json:
            print_json(_as_json(model))
        else:
            out.print(model.explain(), markup=False)
            out.print(f"the same again: --subnet '{model.subnet.to_json()}'", markup=False)


@app.command()
def run(
    bundle: BundlePath,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="Photos to classify.")],
    latency_ms: LatencyMs = None,
    memory_mb: MemoryMb = None,
    subnet: SubnetJson = None,
    backend: BackendName = None,
    threads: Threads = None,
    precision: Precision = None,
    max_accuracy_drop: MaxDrop = 1.0,
    top: Annotated[int, typer.Option(min=1, help="Classes to print for each photo.")] = 1,
    unknown_below: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Photos whose best class is less probable are called unknown."
        ),
    ] = 0.0,
    frames: Frames = None,
    frames_share: FramesShare = None,
    as_json: Json = False,
) -> None:
    """Deploys a bundle and classifies photos."""
    budget = _budget(latency_ms, memory_mb, max_accuracy_drop)
    asked: dict[str, Any] = {"backend": backend, "threads": threads, "precision": precision}
    asked |= {"budget": budget, "unknown_below": unknown_below}
    with _deployed(bundle, subnet, frames, frames_share, **asked) as model:
        if as_json:
            said = {str(image): model(image) for image in images}
            print_json({name: {"known": p.known, "top": p.top(top)} for name, p in said.items()})
            return
        for image in images:  # each as it comes: a later one may be unreadable
            prediction = model(image)
            best = prediction.top(top)
            named = ", ".join(f"{label} {probability:.1%}" for label, probability in best)
            out.print(f"{image}: {'' if prediction.known else 'unknown, '}{named}", markup=False)


@app.command()
def profile(
    bundle: BundlePath,
    out_path: Annotated[
        Path | None,
        typer.Option("--out", help="File to write besides; deployments here know it anyway."),
    ] = None,
    subnets: Annotated[int, typer.Option(min=1, help="To measure on each engine.")] = 40,
    backend: BackendName = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measures this device once, so that every later deployment here predicts better."""
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.deployment import profile as profiling
    from tofa_edge.device_profiles.profile import to_json

    made = profiling.profile(Bundle.open(bundle), subnets, backend, threads)
    paths = profiling.keep(made, out_path)
    if as_json:
        print_json(json.loads(to_json(made)))
        return
    for path in paths:
        out.print(f"wrote {path}", markup=False)


@app.command()
def bench(
    bundle: BundlePath,
    out_path: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path(
        "results"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Within two minutes.")] = False,
    sustain: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Run the fastest network so long besides."),
    ] = 0.0,
    engines: Annotated[
        str, typer.Option(help="Names, with commas between; default: all that work here.")
    ] = "",
    scenarios: Annotated[
        bool, typer.Option(help="Run MLPerf's SingleStream and Offline, where loadgen is there.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Measures a bundle here: every engine, and its front, predicted and measured.

    Ctrl-C ends it and keeps what was measured.
    """
    from tofa_edge.benchmarks.suite.bench import BenchOptions
    from tofa_edge.benchmarks.suite.bench import bench as measured
    from tofa_edge.cli.describe import bench_tables

    names = tuple(name.strip() for name in engines.split(",") if name.strip())
    options = BenchOptions(quick=quick, engines=names, sustain_s=sustain, scenarios=scenarios)

    found = measured(bundle, out_path, options)
    if as_json:
        print_json(found)
    else:
        for made in bench_tables(found):
            out.print(made)
    if found["interrupted"]:
        tell("tofa-edge: interrupted; what was measured until then is written")
        raise ReportedExit(130)


def _budget(latency_ms: float | None, memory_mb: float | None, most_points: float) -> Any:
    from tofa_edge.budget import Budget

    allowed = most_points / 100
    return Budget(latency_ms=latency_ms, memory_mb=memory_mb, max_accuracy_drop=allowed)


def _deployed(
    bundle: Path,
    subnet: str | None,
    frames: Path | None,
    frames_share: float | None,
    **options: Any,
) -> Any:
    import tofa_edge
    from tofa_edge.bundle.frames import read_frames

    options["subnet"] = None if subnet is None else tofa_edge.Subnet.from_json(subnet)
    options["calibration"] = () if frames is None else read_frames(frames)
    if frames_share is not None:
        options["frames_share"] = frames_share
    return tofa_edge.deploy(bundle, **options)


def _as_json(model: Any) -> dict[str, object]:
    explanation = dataclasses.asdict(model.explanation)
    if not model.explanation.predicts_accuracy:  # what orders subnets then is no accuracy
        chosen = [explanation["chosen"]] if explanation["chosen"] else []
        for row in (*explanation["measured"], *explanation["finished"], *chosen):
            row["accuracy"] = None
    return {
        **explanation,
        "bundle": str(model.explanation.bundle),
        "subnet": model.subnet.to_json(),
        "input_size": model.input_size,
    }
