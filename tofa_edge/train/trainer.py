"""Training: from photos to a bundle. `train` reads from top to bottom."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tofa_edge.accuracy import AccuracyPredictor
from tofa_edge.cutting import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.network import LITE_PREPROCESSING, ImageArray
from tofa_edge.train import checkpoint
from tofa_edge.train.config import PRETRAINED, Progress, Report, TrainingConfig
from tofa_edge.train.data import Photos, decode_all, forget_labels, read_folder, read_photos, split
from tofa_edge.train.distributed import Processes
from tofa_edge.train.evaluate import accuracy, fit_temperature
from tofa_edge.train.integer_drop import integer_drop
from tofa_edge.train.keeper import Keeper
from tofa_edge.train.loop import OnStep
from tofa_edge.train.once_for_all import load_once_for_all
from tofa_edge.train.packing import Contents, check_writable, pack
from tofa_edge.train.phases import (
    QUANTISATION_AWARE,
    TRAINING,
    expected_seconds,
    optimise,
    pretrain_supernet,
)
from tofa_edge.train.pretrained import load_lite
from tofa_edge.train.start import new_supernet, read_start, used_device
from tofa_edge.train.supernet import Supernet
from tofa_edge.train.teachers import Look, look, looks
from tofa_edge.train.tested import evaluate_subnets
from tofa_edge.train.watch import LEAST_LABELS, Watch

SHARES = {"train": 0.8, "validation": 0.1, "check": 0.1}
IMAGENET_CROP = 0.875  # how EfficientNet-Lite's published accuracies were measured
FREE = {  # to differ when resuming
    "device", "calibration_photos", "check_photos", "predictor_subnets", "half_precision",
}  # fmt: skip

TESTING = "testing subnets"
AFTER_LOOKING = (TRAINING, QUANTISATION_AWARE)  # whose checkpoints hold what the teachers said

Tell = Callable[[str], None]


def train(
    data: Path | None,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = lambda progress: None,
    tell: Tell = lambda line: None,
    resume: bool = False,
) -> Report:
    """Trains a supernet on photos and writes the bundle.

    A checkpoint lies beside `out` meanwhile: written every two minutes and on an interruption,
    removed when the bundle is there.

    Args:
        data: a folder with a folder of photos per class (`unlabelled` holds those without), a CSV
            file of path,label, or the name of a set; None only with `epochs=0`.
        out: the bundle to write.
        config: how to train.
        on_step: called after each step.
        tell: called with a line of text for what a person should know.
        resume: whether to go on from the checkpoint of an interrupted run.

    Raises:
        DataError: the photos cannot be used.
        TrainingError: pretrained weights are not installed, the loss is not finite, or there is
            no fitting checkpoint.
        BundleError: the bundle cannot be written there.
    """
    config = config or TrainingConfig()
    processes = Processes.join(used_device(config).type)
    if not processes.first:
        on_step, tell = _silent, _silent
    check_writable(out)
    if config.epochs == 0:
        return _bundle_as_is(data, out, config, tell)
    if data is None:
        raise TrainingError("training wants a folder of photos; only --epochs 0 goes without")
    start = read_start(config)
    photos = read_photos(data, start.space.resolutions[-1], tell)  # uint8 (N, S, S, 3)
    supernet = new_supernet(start, config, len(photos.classes))
    roles = split(photos.labels, SHARES, config.seed)
    trained = roles["train"]
    labels = forget_labels(photos.labels[trained], config.labels_per_class, config.seed)
    tell(_summary(photos, roles, labels, supernet))
    keeper = Keeper.open(checkpoint.beside(out), _identity(photos, config), resume)
    images = photos.images[trained]
    tell(_time_needed(expected_seconds(supernet, images, labels, config)))
    begun = time.perf_counter()
    with _telling_how_to_resume(keeper, tell):
        seen = _looks(images, labels, config, on_step, keeper, processes)
        if config.is_plain and config.pretrain_epochs and not keeper.is_at(*AFTER_LOOKING):
            said = seen[config.start]
            supernet = pretrain_supernet(supernet, images, said, config, on_step, keeper, processes)
        watch = _watch(photos, roles, labels, processes, tell)
        taught = [seen[name] for name in config.teachers if name in seen]
        supernet = optimise(
            supernet, images, labels, config, on_step, keeper, processes, watch, looks=taught
        )
    seconds = time.perf_counter() - begun
    processes.leave()
    if not processes.first:
        return Report(out, {}, seconds)
    report = _pack_trained(out, config, supernet.cpu(), photos, roles, seconds, on_step)
    keeper.remove()
    return report


def pretrain(
    images: Path,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = lambda progress: None,
    tell: Tell = lambda line: None,
    resume: bool = False,
) -> Report:
    """Distils a pretrained network into all subnets of its space, without labels.

    Done once on any photos, the bundle is a start for every later task.

    Args:
        images: a folder of photos, with or without folders inside; labels are not read.
        out: the bundle to write, with the classes of the pretrained network.
        config: how; `start` is the pretrained network, `pretrain_epochs` says how long.
        on_step: called after each step.
        tell: called with a line of text for what a person should know.
        resume: whether to go on from the checkpoint of an interrupted run.

    Raises:
        DataError, TrainingError, BundleError: as for `train`.
    """
    config = config or TrainingConfig()
    if not config.is_plain or not config.pretrain_epochs:
        raise TrainingError(f"pretraining wants a start of {', '.join(PRETRAINED)} and an epoch")
    check_writable(out)
    processes = Processes.join(used_device(config).type)
    if not processes.first:
        on_step, tell = _silent, _silent
    supernet = new_supernet(read_start(config), config)
    size = supernet.space.resolutions[-1]
    seen, _ = decode_all(read_folder(images, labelled=False), size, tell)
    order = np.random.default_rng(config.seed).permutation(len(seen))
    seen = seen[order]
    classes = [f"imagenet {index}" for index in range(supernet.space.classes)]
    identity = _identity(Photos(tuple(classes), seen, np.zeros(0, np.int64)), config)
    keeper = Keeper.open(checkpoint.beside(out), identity, resume)
    tell(f"{len(seen)} photos, {supernet.space.count():.1e} subnets up to {size} px")
    tell(_time_needed(expected_seconds(supernet, seen, np.zeros(0, np.int64), config)))
    begun = time.perf_counter()
    with _telling_how_to_resume(keeper, tell):
        said = look(config.start, seen, used_device(config), on_step, processes)
        supernet = pretrain_supernet(supernet, seen, said, config, on_step, keeper, processes)
    processes.leave()
    if not processes.first:
        return Report(out, {}, time.perf_counter() - begun)
    contents = Contents(classes, seen[: config.calibration_photos])
    provenance = {"pretrain_epochs": config.pretrain_epochs, "pretrained_on_photos": len(seen)}
    pack(out, config, supernet.cpu(), contents, provenance)
    keeper.remove()
    return Report(out, {}, time.perf_counter() - begun)


@contextlib.contextmanager
def _telling_how_to_resume(keeper: Keeper, tell: Tell) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if keeper.path.exists():
            tell(f"stopped; go on with --resume (checkpoint: {keeper.path})")
        raise


def _looks(
    images: ImageArray,
    labels: NDArray[np.int64],
    config: TrainingConfig,
    on_step: OnStep,
    keeper: Keeper,
    processes: Processes,
) -> dict[str, Look]:
    """Returns what the teachers say, by name; nothing where a checkpoint holds what came of it."""
    at = keeper.is_at(*AFTER_LOOKING)
    names = () if at else config.looking(bool((labels < 0).any()))
    return looks(names, images, used_device(config), on_step, processes)


def _watch(
    photos: Photos,
    roles: Mapping[str, NDArray[np.int64]],
    labels: NDArray[np.int64],
    processes: Processes,
    tell: Tell,
) -> Watch | None:
    fewest = int(np.bincount(labels[labels >= 0], minlength=len(photos.classes)).min())
    if processes.world > 1:
        return None
    if fewest < LEAST_LABELS:
        tell(f"{fewest} labels of a class, fewer than {LEAST_LABELS}: training does not stop early")
        return None
    validated, seen = roles["validation"], photos.images[roles["train"][:CALIBRATION_IMAGES]]
    return Watch(photos.images[validated], photos.labels[validated], seen, tell)


def _time_needed(seconds: Mapping[str, float]) -> str:
    parts = ", ".join(f"{phase} {_duration(value)}" for phase, value in seconds.items())
    return f"about {_duration(sum(seconds.values()))} on this machine ({parts})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _silent(_: object) -> None:
    pass


def _summary(
    photos: Photos,
    roles: Mapping[str, NDArray[np.int64]],
    labels: NDArray[np.int64],
    supernet: Supernet,
) -> str:
    space, unlabelled = supernet.space, int((labels < 0).sum())
    without = f" ({unlabelled} without a label)" if unlabelled else ""
    return (
        f"{len(photos.images)} photos of {len(photos.classes)} classes: "
        f"{len(roles['train'])} to train on{without}, {len(roles['validation'])} to validate, "
        f"{len(roles['check'])} to check on devices; "
        f"{space.count():.1e} subnets up to {space.resolutions[-1]} px"
    )


def _identity(photos: Photos, config: TrainingConfig) -> dict[str, str]:
    """What a resumed run must have in common with the interrupted one."""
    digest = hashlib.sha256(photos.images.tobytes())
    digest.update(photos.labels.tobytes())
    settings = {name: str(value) for name, value in asdict(config).items() if name not in FREE}
    return {"classes": ", ".join(photos.classes), "photos": digest.hexdigest()[:16], **settings}


def _pack_trained(
    out: Path,
    config: TrainingConfig,
    supernet: Supernet,
    photos: Photos,
    roles: Mapping[str, NDArray[np.int64]],
    seconds: float,
    on_step: OnStep,
) -> Report:
    trained, validated = roles["train"], roles["validation"]
    check = roles["check"][: config.check_photos]
    images, labels = photos.images[validated], photos.labels[validated]
    seen = photos.images[trained[:CALIBRATION_IMAGES]]
    logits = Watch(images, labels, seen, _silent).logits(supernet)
    accuracies = {name: accuracy(found, labels) for name, found in logits.items()}
    temperature = fit_temperature(np.stack(list(logits.values())), labels)
    predictor = None
    if len(labels):
        predictor = _predictor(supernet, config, photos, roles, temperature, on_step)
    contents = Contents(
        photos.classes,
        photos.images[trained[: config.calibration_photos]],
        photos.images[check],
        photos.labels[check],
        temperature,
        predictor,
    )
    provenance = {f"accuracy_{name}": share for name, share in accuracies.items()}
    if predictor is not None:
        provenance |= {"predictor_error": predictor.error, "predictor_tau": predictor.tau}
        provenance |= {"integer_drop": predictor.integer_drop}
    provenance |= {"epochs": config.epochs}
    provenance |= {"pretrain_epochs": config.pretrain_epochs if config.is_plain else 0}
    provenance |= {"quantisation_aware_epochs": config.quantisation_aware_epochs}
    provenance |= {"photos_trained_on": len(trained), "photos_validated_on": len(validated)}
    pack(out, config, supernet, contents, provenance)
    return Report(out, accuracies, seconds)


def _predictor(
    supernet: Supernet,
    config: TrainingConfig,
    photos: Photos,
    roles: Mapping[str, NDArray[np.int64]],
    temperature: float,
    on_step: OnStep,
) -> AccuracyPredictor | None:
    if not config.predictor_subnets:
        return None
    validated = roles["validation"]

    def told(number: int, count: int, seconds: float) -> None:
        on_step(Progress(number, count, (), seconds, number / seconds, TESTING))

    whole = (supernet.space, supernet.to_arrays(), supernet.preprocessing)
    unlabelled = photos.images[roles["train"]]
    tested = evaluate_subnets(
        *whole,
        unlabelled,
        photos.images[validated],
        photos.labels[validated],
        config.predictor_subnets,
        config.seed,
        told,
    )
    rounding = integer_drop(*whole, unlabelled, tested.encodings, temperature)
    predictor = tested.predictor()
    return predictor if rounding is None else replace(predictor, rounding=rounding)


def _bundle_as_is(data: Path | None, out: Path, config: TrainingConfig, tell: Tell) -> Report:
    """Bundles a pretrained network with its own classes and all its resolutions.

    `data` gives calibration photos only.
    """
    if not config.is_plain and config.pretrained is None:
        raise TrainingError(f"--epochs 0 wants pretrained weights, {config.start} has none")
    if config.pretrained is None:
        space, arrays = load_lite(config.start)
        preprocessing = LITE_PREPROCESSING
    else:
        space, arrays, preprocessing = load_once_for_all(Path(config.pretrained))
    supernet = Supernet(space, replace(preprocessing, crop=IMAGENET_CROP))
    supernet.load_arrays(arrays)
    size = space.resolutions[-1]
    calibration = np.zeros((0, size, size, 3), np.uint8)
    if data is not None:
        folder = read_folder(data)
        order = np.random.default_rng(config.seed).permutation(len(folder))
        chosen = folder.take(order[: config.calibration_photos])
        calibration = decode_all(chosen, size, tell)[0]
    classes = [f"imagenet {index}" for index in range(space.classes)]
    pack(out, config, supernet, Contents(classes, calibration), {"epochs": 0})
    return Report(out, {}, 0.0)
