"""The commands of a host: training and what belongs to it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any, get_type_hints

import typer

from tofa_edge.cli.app import BundlePath, Force, Json, app
from tofa_edge.cli.output import is_first_process, out, print_json, training_progress
from tofa_edge.errors import TrainingError
from tofa_edge.storage.schema import attribute_docs
from tofa_edge.train.config import PROBE_EVERY, OnStep, Report, TrainingConfig
from tofa_edge.train.data.reading import ReadingOptions

MOST_CONFUSED = 10  # classes that a terminal has room for
DEMO_EPOCHS = 6

# Options that are not called as the attribute that they set, or want more than its help.
OPTIONS: dict[str, Any] = {
    "start": typer.Option("--from"),
    "pretrained": typer.Option(metavar="FILE"),
    "teachers": typer.Option(metavar="NAMES"),
    "seed": typer.Option(min=0),
    "half_precision": typer.Option("--half"),
    "crops": typer.Option("--crops"),
    "report_data": typer.Option(metavar="FILE"),
    "allow_outside": typer.Option("--allow-outside"),
    "classes_as_given": typer.Option("--classes-as-given"),
}
SETTINGS = tuple(field.name for field in dataclasses.fields(TrainingConfig))
LAST = ("resume", "force", "log", "as_json")
OF_PRETRAINING = (
    "start", "pretrain_epochs", "resolution", "flips", "teachers", "learning_rate", "seed",
    "calibration_photos", "half_precision", "device",
)  # fmt: skip

Log = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Write metrics.csv and TensorBoard events there."),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
Command = Callable[..., None]
OutPath = Annotated[Path, typer.Option("--out", help="The bundle to write.")]


def configured(*names: str) -> Callable[[Command], Command]:
    """Gives a command an option for each attribute of `TrainingConfig` in `*names`, as `config`."""
    return _with_options("config", TrainingConfig, names)


def reads_photos(command: Command) -> Command:
    """Gives a `command` an option for each attribute of `ReadingOptions`, as `reading`."""
    names = tuple(field.name for field in dataclasses.fields(ReadingOptions))
    return _with_options("reading", ReadingOptions, names)(command)


def _with_options(
    parameter: str, whole: type[Any], names: Sequence[str]
) -> Callable[[Command], Command]:
    """Gives a command options for attributes of a dataclass, and the `whole` as a `parameter`.

    Default, type and help of each option are the attribute's.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_options(**given: Any) -> None:
            values = {name: given.pop(name) for name in names}
            if "teachers" in values:
                teachers = map(str.strip, values["teachers"].split(","))
                values["teachers"] = tuple(filter(None, teachers))
            command(**{parameter: whole(**values)}, **given)

        own = inspect.signature(command, eval_str=True).parameters
        every = [own[name] for name in own if name != parameter]
        every += [_option(whole, name) for name in names]
        every.sort(key=lambda each: each.name in LAST)
        with_options.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
        return with_options

    return decorate


def _option(whole: type[Any], name: str) -> inspect.Parameter:
    default, kind = getattr(whole(), name), get_type_hints(whole)[name]
    if isinstance(default, tuple):
        default, kind = ",".join(default), str
    option = OPTIONS.get(name, typer.Option())
    option.help = attribute_docs(whole).get(name)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


@app.command()
@configured(*SETTINGS)
@reads_photos
def train(
    *,
    out_path: OutPath,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Folder with a folder per class and perhaps one called unlabelled; a table (CSV) "
            "of path,label; boxes, with --crops; or elpv, fashion-mnist, digits.",
        ),
    ] = None,
    config: TrainingConfig,
    reading: ReadingOptions,
    resume: Resume = False,
    force: Force = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Trains a supernet on photos, few of them labelled, and writes a bundle."""
    trainer = _training()
    with _progress(log) as on_step:
        report = trainer.train(data, out_path, config, on_step, resume, force, reading)
    if not as_json and report.written:
        for name, value in report.accuracies.items():
            out.print(f"{name} subnet: accuracy on validation photos {value:.1%}")
        for name, value in report.test_accuracies.items():
            out.print(f"{name} subnet: accuracy on test photos {value:.1%}")
    _show(report, f"tofa-edge deploy {quote(str(out_path))} --latency-ms 10", as_json)


@app.command()
@configured(*OF_PRETRAINING)
@reads_photos
def pretrain(
    *,
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="Folder of any photos, or as for train.")
    ],
    out_path: OutPath,
    config: TrainingConfig,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps on crops at many scales, drawn as they are needed, instead of passes over "
            "photos that are decoded once: for large photos, and for long."
        ),
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Labelled photos, as for train: with --steps, what few labels make of features "
            "is written to OUT.probes.jsonl now and then, and shows whether it still helps.",
        ),
    ] = None,
    probe_every: Annotated[int, typer.Option(help="Steps between two probes.")] = PROBE_EVERY,
    reading: ReadingOptions,
    resume: Resume = False,
    force: Force = False,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Makes all subnets like a pretrained network, without labels: a start for every task.

    With --steps, the features of all --teachers are learned; without, those of --from alone.
    """
    trainer = _training()
    if probe is not None and steps is None:
        raise TrainingError("--probe is for pretraining by --steps: give both")
    with _progress(log) as on_step:
        if steps is None:
            report = trainer.pretrain(images, out_path, config, on_step, resume, force, reading)
        else:
            report = _pretrain_by_steps(
                images, out_path, config, steps, probe, probe_every, on_step, resume, force, reading
            )
    start = quote(str(out_path))
    _show(report, f"tofa-edge train PHOTOS --from {start} --out parts.tofa", as_json)


def _pretrain_by_steps(
    images: Path,
    out_path: Path,
    config: TrainingConfig,
    steps: int,
    probe: Path | None,
    probe_every: int,
    on_step: OnStep,
    resume: bool,
    force: bool,
    reading: ReadingOptions,
) -> Report:
    from tofa_edge.train.pretrainer import Probing, pretrain_on_photos
    from tofa_edge.train.run.crop_pretraining import CropPretraining

    how = CropPretraining(steps, config.teachers)
    probing = None if probe is None else Probing(probe, probe_every)
    return pretrain_on_photos(
        images, out_path, how, config, probing, on_step, resume, force, reading
    )


@app.command()
@reads_photos
def evaluate(
    *,
    bundle: BundlePath,
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="Labelled photos, as for train; not the same.")
    ],
    subnets: Annotated[int, typer.Option(min=0, help="Random ones, beside three named ones.")] = 20,
    plot: Annotated[Path | None, typer.Option(help="Picture to draw (.png, .svg).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random subnets.")] = 0,
    reading: ReadingOptions,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measures the accuracy of subnets on labelled photos, with intervals."""
    from tofa_edge.bundle.bundle import Bundle
    from tofa_edge.cli.describe import confusion_table, evaluations_as_json, evaluations_table
    from tofa_edge.train.after import evaluation

    opened = Bundle.open(bundle)
    if plot is not None:
        evaluation.check_plot(plot, force)
    evaluations = evaluation.evaluate(opened, data, subnets, seed, reading, force)
    if as_json:
        print_json(evaluations_as_json(evaluations))
    else:
        out.print(evaluations_table(evaluations))
        if len(opened.classes) <= MOST_CONFUSED:
            out.print(confusion_table(evaluations[0], opened.classes))
    if plot is not None:
        evaluation.plot(evaluations, opened.classes, plot, force)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option(help="Of its photos and bundles; those of an earlier demo are replaced.")
    ] = Path("demo"),
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


@contextlib.contextmanager
def _progress(log: Path | None) -> Iterator[OnStep]:
    """Yields what to call after each step; the first process alone writes logs."""
    from tofa_edge.train.run.logs import logged

    folder = log if is_first_process() else None
    with training_progress() as shown, logged(folder, shown) as on_step:
        yield on_step


def _show(report: Report, following: str, as_json: bool) -> None:
    """Prints what was made and the `following` command, if this process has written it."""
    if not report.written:
        return
    if as_json:
        print_json({**dataclasses.asdict(report), "bundle": str(report.bundle)})
        return
    size = report.bundle.stat().st_size / 1e6
    out.print(f"wrote {report.bundle} ({size:.1f} MB). Next: {following}")


def _training() -> Any:
    try:
        from tofa_edge.train import trainer
    except ImportError as error:
        raise TrainingError(
            f"this command needs the training packages ({error}): pip install 'tofa-edge[train]'"
        ) from error
    return trainer
