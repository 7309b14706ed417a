"""The commands."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tofa_edge import __version__
from tofa_edge.cli.output import out, print_json, tell, tell_on_terminal, training_progress
from tofa_edge.errors import BackendError, TrainingError
from tofa_edge.train.config import TrainingConfig

app = typer.Typer(
    name="tofa-edge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="One supernet, trained once; every device cuts the best network for itself out of one "
    "file. Exit codes: 0 done, 1 error, 2 wrong usage, 3 no network within the budget, "
    "130 interrupted.",
)

DEFAULTS = TrainingConfig()

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


Start = Annotated[
    str,
    typer.Option(
        "--from",
        help="lite0, lite1 or lite2 (pretrained), a bundle (its weights), or tiny (nothing).",
    ),
]
Resolution = Annotated[int, typer.Option(help="Largest input size in pixels.")]
LearningRate = Annotated[float, typer.Option(help="Peak rate of AdamW.")]
PretrainEpochs = Annotated[
    float, typer.Option(help="Passes over the photos that make all subnets like the pretrained.")
]
CalibrationPhotos = Annotated[
    int, typer.Option(help="Training photos the bundle carries; 0: frames at deployment.")
]
Half = Annotated[bool, typer.Option("--half", help="Store 16-bit weights.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Log = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Write metrics.csv and TensorBoard events there."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
OutPath = Annotated[Path, typer.Option("--out", help="The bundle to write.")]
Seed = Annotated[int, typer.Option(help="Same seed, same bundle.")]


@app.command()
def train(
    out_path: OutPath,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Folder with a folder per class and perhaps one called unlabelled; a CSV of "
            "path,label; or elpv, fashion-mnist, digits.",
        ),
    ] = None,
    start: Start = DEFAULTS.start,
    pretrained: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Weights of a once-for-all MobileNetV3 to start from."),
    ] = DEFAULTS.pretrained,
    epochs: Annotated[
        float,
        typer.Option(help="Passes over the photos; 0 bundles the pretrained network as it is."),
    ] = DEFAULTS.epochs,
    pretrain_epochs: PretrainEpochs = DEFAULTS.pretrain_epochs,
    labels_per_class: Annotated[
        int | None, typer.Option(help="Labels to use; the other photos count as unlabelled.")
    ] = DEFAULTS.labels_per_class,
    resolution: Resolution = DEFAULTS.resolution,
    batch_size: Annotated[int, typer.Option(help="Labelled photos a step.")] = DEFAULTS.batch_size,
    unlabelled_ratio: Annotated[
        int, typer.Option(help="Unlabelled photos for each labelled one; 0 ignores them.")
    ] = DEFAULTS.unlabelled_ratio,
    teachers: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Pretrained networks that look at every photo once, for first targets: "
            "of lite0, lite1, lite2; '' for none.",
        ),
    ] = ",".join(DEFAULTS.teachers),
    learning_rate: LearningRate = DEFAULTS.learning_rate,
    seed: Seed = DEFAULTS.seed,
    calibration_photos: CalibrationPhotos = DEFAULTS.calibration_photos,
    check_photos: Annotated[
        int, typer.Option(help="Labelled photos the bundle carries.")
    ] = DEFAULTS.check_photos,
    predictor_subnets: Annotated[
        int, typer.Option(help="Subnets to test for the accuracy predictor; 0 ships none.")
    ] = DEFAULTS.predictor_subnets,
    half_precision: Half = DEFAULTS.half_precision,
    device: Device = DEFAULTS.device,
    resume: Resume = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Trains a supernet on photos, few of them labelled, and writes a bundle."""
    trainer = _training()
    config = TrainingConfig(
        start=start,
        pretrained=pretrained,
        epochs=epochs,
        pretrain_epochs=pretrain_epochs,
        labels_per_class=labels_per_class,
        resolution=resolution,
        batch_size=batch_size,
        unlabelled_ratio=unlabelled_ratio,
        teachers=tuple(name.strip() for name in teachers.split(",") if name.strip()),
        learning_rate=learning_rate,
        seed=seed,
        calibration_photos=calibration_photos,
        check_photos=check_photos,
        predictor_subnets=predictor_subnets,
        half_precision=half_precision,
        device=device,
    )
    with training_progress() as shown, _logged(log, shown) as on_step:
        report = trainer.train(data, out_path, config, on_step, tell, resume)
    if as_json:
        print_json({**dataclasses.asdict(report), "bundle": str(report.bundle)})
        return
    for name, share in report.accuracies.items():
        out.print(f"{name} subnet: {share:.1%} of the validation photos right")
    out.print(
        f"{_written(out_path)}. Next: tofa-edge deploy {out_path} --latency-ms 10", markup=False
    )


@app.command()
def pretrain(
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of any photos.")],
    out_path: OutPath,
    start: Start = DEFAULTS.start,
    pretrain_epochs: Annotated[
        float, typer.Option("--epochs", help="Passes over the photos.")
    ] = DEFAULTS.pretrain_epochs,
    resolution: Resolution = DEFAULTS.resolution,
    learning_rate: LearningRate = DEFAULTS.learning_rate,
    seed: Seed = DEFAULTS.seed,
    calibration_photos: CalibrationPhotos = DEFAULTS.calibration_photos,
    half_precision: Half = DEFAULTS.half_precision,
    device: Device = DEFAULTS.device,
    resume: Resume = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Makes all subnets like a pretrained network, without labels: a start for every task."""
    trainer = _training()
    config = TrainingConfig(
        start=start,
        pretrain_epochs=pretrain_epochs,
        resolution=resolution,
        learning_rate=learning_rate,
        seed=seed,
        calibration_photos=calibration_photos,
        half_precision=half_precision,
        device=device,
    )
    with training_progress() as shown, _logged(log, shown) as on_step:
        report = trainer.pretrain(images, out_path, config, on_step, tell, resume)
    if as_json:
        print_json({**dataclasses.asdict(report), "bundle": str(report.bundle)})
        return
    out.print(
        f"{_written(out_path)}. Next: tofa-edge train PHOTOS --from {out_path} --out parts.tofa",
        markup=False,
    )


@app.command()
def inspect(bundle: BundlePath, as_json: Json = False) -> None:
    """Says what a bundle holds: classes, subnets, photos, where it comes from."""
    from tofa_edge.cli.describe import describe

    description = describe(bundle)
    if as_json:
        print_json(description)
        return
    for key, value in description.items():
        out.print(f"{key.replace('_', ' ')}: {value}", markup=False)


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
def evaluate(
    bundle: BundlePath,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Labelled photos, as for train; not the same.")
    ],
    subnets: Annotated[int, typer.Option(help="Random ones, beside three named ones.")] = 20,
    plot: Annotated[Path | None, typer.Option(help="Picture to draw (.png, .svg).")] = None,
    seed: Annotated[int, typer.Option(help="Of the random subnets.")] = 0,
    as_json: Json = False,
) -> None:
    """Says how often subnets are right on labelled photos, and how sure one can be of that."""
    from tofa_edge import evaluation
    from tofa_edge.bundle import Bundle
    from tofa_edge.cli.describe import evaluations_as_json, evaluations_table

    opened = Bundle.open(bundle)
    made = evaluation.evaluate(opened, data, subnets, seed, tell_on_terminal)
    if plot is not None:
        evaluation.plot(made, opened.classes, plot)
    if as_json:
        print_json(evaluations_as_json(made))
    else:
        out.print(evaluations_table(made))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Says what this machine is, which engines work, and what spoils its latencies.

    Exit code 0 whatever it finds: problems cost time, they do not forbid anything.
    """
    from tofa_edge.cli.doctor import examine, lines

    examination = examine()
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
    max_seconds: Annotated[
        float | None, typer.Option(help="Measure about so long at most; the choice is worse.")
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Choose again, whatever was chosen here before.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the candidates drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Chooses, cuts and measures a network on this machine, and says why."""
    asked = {"latency_ms": latency_ms, "memory_mb": memory_mb, "max_seconds": max_seconds}
    choices = {"backend": backend, "threads": threads, "seed": seed, "remember": not anew}
    with _deployed(bundle, subnet, **asked, **choices) as model:
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
    top: Annotated[int, typer.Option(help="Classes to print for each photo.")] = 1,
    unknown_below: Annotated[
        float, typer.Option(help="Photos whose best class is less probable are called unknown.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Deploys a bundle and classifies photos."""
    asked = {"latency_ms": latency_ms, "memory_mb": memory_mb, "unknown_below": unknown_below}
    with _deployed(bundle, subnet, backend=backend, threads=threads, **asked) as model:
        predictions = {str(image): model(image) for image in images}
    if as_json:
        print_json({name: prediction.top(top) for name, prediction in predictions.items()})
        return
    for name, prediction in predictions.items():
        best = prediction.top(top)
        named = ", ".join(f"{label} {probability:.1%}" for label, probability in best)
        out.print(f"{name}: {'' if prediction.known else 'unknown, '}{named}", markup=False)


@app.command()
def profile(
    bundle: BundlePath,
    out_path: Annotated[
        Path | None,
        typer.Option("--out", help="File to write besides; deployments here know it anyway."),
    ] = None,
    subnets: Annotated[int, typer.Option(help="To measure on each engine.")] = 40,
    backend: BackendName = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measures this device once, so that every later deployment here predicts better."""
    from tofa_edge import profiling
    from tofa_edge.bundle import Bundle
    from tofa_edge.device_profiles.profile import to_json

    made = profiling.profile(Bundle.open(bundle), subnets, backend, threads, tell_on_terminal)
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
    as_json: Json = False,
) -> None:
    """Measures a bundle here: cold start, engines, and its front, predicted and measured."""
    from tofa_edge.benchmarks.bench import bench as measured
    from tofa_edge.cli.describe import bench_tables

    found = measured(bundle, out_path, quick, tell_on_terminal)
    if as_json:
        print_json(found)
        return
    for made in bench_tables(found):
        out.print(made)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where to keep its photos and bundles.")] = Path(
        "demo"
    ),
    epochs: Annotated[int, typer.Option(help="Of training on the solar-cell photos.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the split and the training.")] = 0,
    as_json: Json = False,
) -> None:
    """Trains, bundles and deploys on real photos, under ten minutes on two cores."""
    _training()
    from tofa_edge.cli.demo import play

    results = play(folder, epochs, seed)
    if as_json:
        print_json(results)


def _logged(folder: Path | None, on_step: Any) -> Any:
    from tofa_edge.train.logs import logged

    return logged(folder, on_step)


def _written(path: Path) -> str:
    return f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)"


def _training() -> Any:
    try:
        from tofa_edge.train import trainer
    except ImportError as error:
        raise TrainingError(
            f"this command needs the training packages ({error}): pip install 'tofa-edge[train]'"
        ) from error
    return trainer


def _deployed(bundle: Path, subnet: str | None, **options: Any) -> Any:
    import tofa_edge

    wanted = None if subnet is None else tofa_edge.Subnet.from_json(subnet)
    return tofa_edge.deploy(bundle, subnet=wanted, tell=tell_on_terminal, **options)


def _as_json(model: Any) -> dict[str, object]:
    explanation = dataclasses.asdict(model.explanation)
    return {
        **explanation,
        "bundle": str(model.explanation.bundle),
        "subnet": model.subnet.to_json(),
        "input_size": model.input_size,
    }
