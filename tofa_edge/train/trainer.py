"""Training: from photos to a bundle. `train` reads from top to bottom."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.train.after.finishing import (
    PACKING_SECONDS,
    bundle_as_is,
    pack_trained,
    seconds_after_training,
)
from tofa_edge.train.after.packing import Contents, check_writable, pack
from tofa_edge.train.config import (
    PACKING,
    PRETRAINED,
    QUANTISATION_AWARE,
    TRAINING,
    OnStep,
    Report,
    TrainingConfig,
    silent,
)
from tofa_edge.train.data.photos import (
    LabelledPaths,
    Photos,
    decode_all,
    forget_labels,
    read_folder,
    split,
)
from tofa_edge.train.data.sources import decode_photos, list_photos
from tofa_edge.train.distributed import Processes
from tofa_edge.train.objective.teachers import run_teacher, run_teachers
from tofa_edge.train.run import checkpoint
from tofa_edge.train.run.checkpoint import Checkpoints
from tofa_edge.train.run.early_stopping import LEAST_LABELS, EarlyStopping
from tofa_edge.train.run.phases import optimise, pretrain_supernet
from tofa_edge.train.run.time_estimate import PhaseCosts, TimeLeft, expected_seconds
from tofa_edge.train.supernet.start import new_supernet, read_start, used_device
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)

PARTS = {"train": 0.8, "validation": 0.1, "check": 0.1}  # that photos are split into
MAY_DIFFER = {  # between an interrupted run and the one that resumes it
    "device", "calibration_photos", "check_photos", "predictor_subnets", "half_precision",
    "learning_rate",
}  # fmt: skip


def train(
    data: Path | None,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = silent,
    resume: bool = False,
) -> Report:
    """Trains a supernet on photos and writes the bundle.

    A checkpoint lies beside `out` meanwhile: written every two minutes and on Ctrl-C or SIGTERM,
    removed when the bundle is there.

    Args:
        data: a folder with a folder of photos per class (`unlabelled` holds those without), a CSV
            file of path,label, or the name of a set; None only with `epochs=0`.
        out: the bundle to write.
        config: how to train.
        on_step: called after each step of each phase, from reading the photos to packing.
        resume: whether to go on from the checkpoint of an interrupted run.

    Raises:
        DataError: the photos cannot be used.
        TrainingError: pretrained weights are not installed, the loss is not finite, or there is
            no fitting checkpoint.
        BundleError: the bundle cannot be written there.
    """
    config = config or TrainingConfig()
    processes, on_step = _join(config, on_step)
    processes.check(config.batch_size)
    check_writable(out)
    if config.epochs == 0:
        if not processes.first:
            return Report(out, {}, 0.0, written=False)
        return bundle_as_is(data, out, config)
    if data is None:
        raise TrainingError("training wants a folder of photos; only --epochs 0 goes without")
    start, listed = read_start(config), list_photos(data)
    checkpoints = Checkpoints.open(checkpoint.beside(out), resume)
    supernet = new_supernet(start, config, len(listed.classes))
    on_step = _estimated(supernet, listed, config, checkpoints, on_step)
    photos = decode_photos(listed, start.space.resolutions[-1], on_step)  # uint8 (N, S, S, 3)
    roles, labels = _divided(photos, config)
    log.info(_summary(photos, roles, labels, supernet))
    checkpoints.identify(_identity(photos, config))
    begun = time.perf_counter()
    with _saying_how_to_resume(checkpoints):
        images = photos.images[roles["train"]]
        early_stopping = _early_stopping(photos, roles, labels, processes)
        supernet = _trained(
            supernet, images, labels, config, on_step, checkpoints, processes, early_stopping
        )
    seconds = time.perf_counter() - begun
    processes.leave()
    if not processes.first:
        return Report(out, {}, seconds, written=False)
    report = pack_trained(out, config, _to_ship(supernet), photos, roles, seconds, on_step)
    checkpoints.remove()
    return report


def pretrain(
    images: Path,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = silent,
    resume: bool = False,
) -> Report:
    """Distils a pretrained network into all subnets of its space, without labels.

    Done once on any photos, the bundle is a start for every later task.

    Args:
        images: a folder of photos, with or without folders inside; labels are not read.
        out: the bundle to write, with the classes of the pretrained network.
        config: how; `start` is the pretrained network, `pretrain_epochs` says how long.
        on_step: called after each step of each phase.
        resume: whether to go on from the checkpoint of an interrupted run.

    Raises:
        DataError, TrainingError, BundleError: as for `train`.
    """
    config = config or TrainingConfig()
    if not config.is_plain:
        got = config.pretrained or config.start
        raise TrainingError(f"pretraining wants a start of {', '.join(PRETRAINED)}, got {got}")
    if not config.pretrain_epochs:
        raise TrainingError("pretraining wants pretrain_epochs of more than 0, got 0")
    check_writable(out)
    processes, on_step = _join(config, on_step)
    supernet, listed = new_supernet(read_start(config), config), read_folder(images, labelled=False)
    checkpoints = Checkpoints.open(checkpoint.beside(out), resume)
    on_step = _estimated(supernet, listed, config, checkpoints, on_step)
    space = supernet.space
    decoded, _ = decode_all(listed, space.resolutions[-1], on_step)
    decoded = decoded[np.random.default_rng(config.seed).permutation(len(decoded))]
    classes = tuple(f"imagenet {index}" for index in range(space.classes))
    checkpoints.identify(_identity(Photos(classes, decoded, np.zeros(0, np.int64)), config))
    log.info(f"{len(decoded)} photos, {space.count():.1e} subnets up to {space.resolutions[-1]} px")
    begun = time.perf_counter()
    with _saying_how_to_resume(checkpoints):
        teacher = run_teacher(config.start, decoded, used_device(config), on_step, processes)
        supernet = pretrain_supernet(
            supernet, decoded, teacher, config, on_step, checkpoints, processes
        )
    processes.leave()
    if processes.first:
        contents = Contents(classes, decoded[: config.calibration_photos])
        counts = {"pretrain_epochs": config.pretrain_epochs, "pretrained_on_photos": len(decoded)}
        pack(out, config, _to_ship(supernet), contents, counts, on_step)
        checkpoints.remove()
    return Report(out, {}, time.perf_counter() - begun, written=processes.first)


def _join(config: TrainingConfig, on_step: OnStep) -> tuple[Processes, OnStep]:
    """Joins the processes of a run; only the first of them reports and logs."""
    processes = Processes.join(used_device(config).type)
    if processes.first:
        return processes, on_step
    logging.getLogger("tofa_edge").setLevel(logging.ERROR)
    return processes, silent


def _divided(
    photos: LabelledPaths | Photos, config: TrainingConfig
) -> tuple[dict[str, IndexArray], IndexArray]:
    """Returns indices of photos by role, and the labels to train with, −1 where there is none."""
    roles = split(photos.labels, PARTS, config.seed, photos.classes)
    kept = forget_labels(photos.labels[roles["train"]], config.labels_per_class, config.seed)
    return roles, kept


def _estimated(
    supernet: Supernet,
    listed: LabelledPaths | Photos,
    config: TrainingConfig,
    checkpoints: Checkpoints,
    on_step: OnStep,
) -> OnStep:
    """Logs how long training will take; returns what corrects that, and calls `on_step`."""
    if listed.classes:
        roles, labels = _divided(listed, config)
        costs = PhaseCosts.of(supernet, len(labels))
        expected = expected_seconds(costs, listed, labels, config)
        expected |= seconds_after_training(costs, len(labels), len(roles["validation"]), config)
    else:
        costs = PhaseCosts.of(supernet)
        expected = expected_seconds(costs, listed, np.zeros(0, np.int64), config)
        expected |= {PACKING: PACKING_SECONDS}
    time_left = TimeLeft(expected, on_step)
    time_left.resume(checkpoints.found)
    log.info(f"{time_left} on this machine")
    return time_left


def _trained(
    supernet: Supernet,
    images: ImageArray,
    labels: IndexArray,
    config: TrainingConfig,
    on_step: OnStep,
    checkpoints: Checkpoints,
    processes: Processes,
    early_stopping: EarlyStopping | None,
) -> Supernet:
    """Returns the trained supernet; a checkpoint may hold what came of the teachers."""
    run = (config, on_step, checkpoints, processes)
    resumed = checkpoints.is_at(TRAINING, QUANTISATION_AWARE)
    names = () if resumed else config.teachers_to_run(bool((labels < 0).any()))
    outputs = run_teachers(names, images, used_device(config), on_step, processes)
    if config.is_plain and config.pretrain_epochs and not resumed:
        supernet = pretrain_supernet(supernet, images, outputs[config.start], *run)
    teacher_outputs = [outputs[name] for name in config.teachers if name in outputs]
    return optimise(supernet, images, labels, *run, early_stopping, teacher_outputs=teacher_outputs)


def _to_ship(supernet: Supernet) -> Supernet:
    """Returns a supernet as devices compute it: not in bfloat16."""
    supernet.mixed = False
    return supernet.cpu()


@contextlib.contextmanager
def _saying_how_to_resume(checkpoints: Checkpoints) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if checkpoints.path.exists():
            log.info(f"stopped; go on with --resume (checkpoint: {checkpoints.path})")
        raise


def _early_stopping(
    photos: Photos, roles: Mapping[str, IndexArray], labels: IndexArray, processes: Processes
) -> EarlyStopping | None:
    fewest = int(np.bincount(labels[labels >= 0], minlength=len(photos.classes)).min())
    if not processes.first:
        return None
    stops = fewest >= LEAST_LABELS
    if not stops:
        count = "1 label" if fewest == 1 else f"{fewest} labels"
        log.info(f"{count} of a class, fewer than {LEAST_LABELS}: training does not stop early")
    validated = roles["validation"]
    calibration = photos.images[roles["train"][:CALIBRATION_IMAGES]]
    return EarlyStopping(photos.images[validated], photos.labels[validated], calibration, stops)


def _summary(
    photos: Photos,
    roles: Mapping[str, IndexArray],
    labels: IndexArray,
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
    settings = {
        name: str(value) for name, value in asdict(config).items() if name not in MAY_DIFFER
    }
    return {"classes": ", ".join(photos.classes), "photos": digest.hexdigest()[:16], **settings}
