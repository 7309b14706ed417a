"""The commands of a host: training and what belongs to it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from tofa_edge.cli.app import BundlePath, Json, app
from tofa_edge.cli.output import (
    is_first_process,
    out,
    print_json,
    training_progress,
)
from tofa_edge.errors import TrainingError
from tofa_edge.train.config import TrainingConfig

DEFAULTS = TrainingConfig()
MOST_CONFUSED = 10  # classes that a terminal has room for
DEMO_EPOCHS = 6

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
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same bundle.")]


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
    quantisation_aware_epochs: Annotated[
        float,
        typer.Option(
            help="Passes at the end with weights and values rounded as in int8: only worth it "
            "where int8 was seen to lose accuracy without, which lite0 hardly does; 0: none."
        ),
    ] = DEFAULTS.quantisation_aware_epochs,
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
        quantisation_aware_epochs=quantisation_aware_epochs,
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
        report = trainer.train(data, out_path, config, on_step, resume)
    if not report.written:  # another process did
        return
    if as_json:
        print_json({**dataclasses.asdict(report), "bundle": str(report.bundle)})
        return
    for name, share in report.accuracies.items():
        out.print(f"{name} subnet: {share:.1%} of the validation photos right")
    out.print(
        f"{_written(out_path)}. Next: tofa-edge deploy {quote(str(out_path))} --latency-ms 10",
        markup=False,
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
        report = trainer.pretrain(images, out_path, config, on_step, resume)
    if not report.written:
        return
    if as_json:
        print_json({**dataclasses.asdict(report), "bundle": str(report.bundle)})
        return
    out.print(
        f"{_written(out_path)}. Next: "
        f"tofa-edge train PHOTOS --from {quote(str(out_path))} --out parts.tofa",
        markup=False,
    )


@app.command()
def evaluate(
    bundle: BundlePath,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Labelled photos, as for train; not the same.")
    ],
    subnets: Annotated[int, typer.Option(min=0, help="Random ones, beside three named ones.")] = 20,
    plot: Annotated[Path | None, typer.Option(help="Picture to draw (.png, .svg).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random subnets.")] = 0,
    as_json: Json = False,
) -> None:
    """Says how often subnets are right on labelled photos, and how sure one can be of that."""
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.cli.describe import confusion_table, evaluations_as_json, evaluations_table
    from tofa_edge.train.after import evaluation

    opened = Bundle.open(bundle)
    if plot is not None:
        evaluation.check_plot(plot)
    made = evaluation.evaluate(opened, data, subnets, seed)
    if as_json:
        print_json(evaluations_as_json(made))
    else:
        out.print(evaluations_table(made))
        if len(opened.classes) <= MOST_CONFUSED:
            out.print(confusion_table(made[0], opened.classes))
    if plot is not None:
        evaluation.plot(made, opened.classes, plot)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where to keep its photos and bundles.")] = Path(
        "demo"
    ),
    epochs: Annotated[
        int, typer.Option(help="Of training on the solar-cell photos.")
    ] = DEMO_EPOCHS,
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
    from tofa_edge.train.run.logs import logged

    return logged(folder if is_first_process() else None, on_step)


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
