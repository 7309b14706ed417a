"""Training: from photos to a bundle. `train` reads from top to bottom."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.train.after.finishing import TESTING, bundle_as_is, pack_trained
from tofa_edge.train.after.packing import Contents, check_writable, pack
from tofa_edge.train.after.tested import SECONDS as SECONDS_TO_TEST
from tofa_edge.train.config import PRETRAINED, OnStep, Report, TrainingConfig
from tofa_edge.train.data.photos import Photos, decode_all, forget_labels, read_folder, split
from tofa_edge.train.data.sources import read_photos
from tofa_edge.train.distributed import Processes
from tofa_edge.train.objective.teachers import (
    TEACHER_FEATURES,
    TeacherOutputs,
    run_teacher,
    run_teachers,
)
from tofa_edge.train.run import checkpoint
from tofa_edge.train.run.checkpoint import Checkpoints
from tofa_edge.train.run.early_stopping import LEAST_LABELS, EarlyStopping
from tofa_edge.train.run.phases import (
    PRETRAINING,
    QUANTISATION_AWARE,
    TRAINING,
    expected_seconds,
    optimise,
    pretrain_supernet,
)
from tofa_edge.train.supernet.start import new_supernet, read_start, used_device
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)

SHARES = {"train": 0.8, "validation": 0.1, "check": 0.1}
FREE = {  # to differ when resuming
    "device", "calibration_photos", "check_photos", "predictor_subnets", "half_precision",
    "learning_rate",
}  # fmt: skip

AFTER_LOOKING = (TRAINING, QUANTISATION_AWARE)  # whose checkpoints hold what the teachers said


def train(
    data: Path | None,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = lambda progress: None,
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
        on_step: called after each step.
        resume: whether to go on from the checkpoint of an interrupted run.

    Raises:
        DataError: the photos cannot be used.
        TrainingError: pretrained weights are not installed, the loss is not finite, or there is
            no fitting checkpoint.
        BundleError: the bundle cannot be written there.
    """
    config = config or TrainingConfig()
    processes = Processes.join(used_device(config).type)
    processes.check(config.batch_size)
    if not processes.first:
        on_step = _silent
        logging.getLogger("tofa_edge").setLevel(logging.ERROR)
    check_writable(out)
    if config.epochs == 0:
        if not processes.first:
            return Report(out, {}, 0.0, written=False)
        return bundle_as_is(data, out, config)
    if data is None:
        raise TrainingError("training wants a folder of photos; only --epochs 0 goes without")
    start = read_start(config)
    photos = read_photos(data, start.space.resolutions[-1])  # uint8 (N, S, S, 3)
    supernet = new_supernet(start, config, len(photos.classes))
    roles = split(photos.labels, SHARES, config.seed, photos.classes)
    trained = roles["train"]
    labels = forget_labels(photos.labels[trained], config.labels_per_class, config.seed)
    log.info(_summary(photos, roles, labels, supernet))
    checkpoints = Checkpoints.open(checkpoint.beside(out), _identity(photos, config), resume)
    images = photos.images[trained]
    needed = expected_seconds(supernet, images, labels, config)
    needed[TESTING] = config.predictor_subnets * SECONDS_TO_TEST
    log.info(_time_needed(needed, checkpoints))
    begun = time.perf_counter()
    with _telling_how_to_resume(checkpoints):
        seen = _looks(images, labels, config, on_step, checkpoints, processes)
        if config.is_plain and config.pretrain_epochs and not checkpoints.is_at(*AFTER_LOOKING):
            said = seen[config.start]
            supernet = pretrain_supernet(
                supernet, images, said, config, on_step, checkpoints, processes
            )
        early_stopping = _early_stopping(photos, roles, labels, processes)
        taught = [seen[name] for name in config.teachers if name in seen]
        supernet = optimise(
            supernet,
            images,
            labels,
            config,
            on_step,
            checkpoints,
            processes,
            early_stopping,
            teacher_outputs=taught,
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
    on_step: OnStep = lambda progress: None,
    resume: bool = False,
) -> Report:
    """Distils a pretrained network into all subnets of its space, without labels.

    Done once on any photos, the bundle is a start for every later task.

    Args:
        images: a folder of photos, with or without folders inside; labels are not read.
        out: the bundle to write, with the classes of the pretrained network.
        config: how; `start` is the pretrained network, `pretrain_epochs` says how long.
        on_step: called after each step.
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
    processes = Processes.join(used_device(config).type)
    if not processes.first:
        on_step = _silent
        logging.getLogger("tofa_edge").setLevel(logging.ERROR)
    supernet = new_supernet(read_start(config), config)
    size = supernet.space.resolutions[-1]
    seen, _ = decode_all(read_folder(images, labelled=False), size)
    order = np.random.default_rng(config.seed).permutation(len(seen))
    seen = seen[order]
    classes = [f"imagenet {index}" for index in range(supernet.space.classes)]
    identity = _identity(Photos(tuple(classes), seen, np.zeros(0, np.int64)), config)
    checkpoints = Checkpoints.open(checkpoint.beside(out), identity, resume)
    log.info(f"{len(seen)} photos, {supernet.space.count():.1e} subnets up to {size} px")
    needed = expected_seconds(supernet, seen, np.zeros(0, np.int64), config)
    log.info(_time_needed(needed, checkpoints))
    begun = time.perf_counter()
    with _telling_how_to_resume(checkpoints):
        said = run_teacher(config.start, seen, used_device(config), on_step, processes)
        supernet = pretrain_supernet(supernet, seen, said, config, on_step, checkpoints, processes)
    processes.leave()
    if not processes.first:
        return Report(out, {}, time.perf_counter() - begun, written=False)
    contents = Contents(classes, seen[: config.calibration_photos])
    provenance = {"pretrain_epochs": config.pretrain_epochs, "pretrained_on_photos": len(seen)}
    pack(out, config, _to_ship(supernet), contents, provenance)
    checkpoints.remove()
    return Report(out, {}, time.perf_counter() - begun)


def _to_ship(supernet: Supernet) -> Supernet:
    """Returns a supernet as devices compute it: not in bfloat16."""
    supernet.mixed = False
    return supernet.cpu()


@contextlib.contextmanager
def _telling_how_to_resume(checkpoints: Checkpoints) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if checkpoints.path.exists():
            log.info(f"stopped; go on with --resume (checkpoint: {checkpoints.path})")
        raise


def _looks(
    images: ImageArray,
    labels: IndexArray,
    config: TrainingConfig,
    on_step: OnStep,
    checkpoints: Checkpoints,
    processes: Processes,
) -> dict[str, TeacherOutputs]:
    """Returns what the teachers say, by name; nothing where a checkpoint holds what came of it."""
    at = checkpoints.is_at(*AFTER_LOOKING)
    names = () if at else config.looking(bool((labels < 0).any()))
    return run_teachers(names, images, used_device(config), on_step, processes)


def _early_stopping(
    photos: Photos,
    roles: Mapping[str, IndexArray],
    labels: IndexArray,
    processes: Processes,
) -> EarlyStopping | None:
    fewest = int(np.bincount(labels[labels >= 0], minlength=len(photos.classes)).min())
    if not processes.first:
        return None
    if fewest < LEAST_LABELS:
        count = "1 label" if fewest == 1 else f"{fewest} labels"
        log.info(f"{count} of a class, fewer than {LEAST_LABELS}: training does not stop early")
    validated, seen = roles["validation"], photos.images[roles["train"][:CALIBRATION_IMAGES]]
    stops = fewest >= LEAST_LABELS
    return EarlyStopping(photos.images[validated], photos.labels[validated], seen, stops)


def _time_needed(expected: Mapping[str, float], checkpoints: Checkpoints) -> str:
    """Says how long each phase will take, less what is done; looks are in no checkpoint."""
    left, found = dict(expected), checkpoints.found
    if found is not None and found.phase in left:
        for phase in itertools.takewhile(lambda name: name != found.phase, expected):
            if phase != TEACHER_FEATURES or found.phase != PRETRAINING:
                left[phase] = 0.0
        left[found.phase] = max(0.0, left[found.phase] - found.seconds)
    parts = ", ".join(f"{phase} {_duration(value)}" for phase, value in left.items() if value)
    return f"about {_duration(sum(left.values()))} on this machine ({parts})"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _silent(_: object) -> None:
    pass


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
    settings = {name: str(value) for name, value in asdict(config).items() if name not in FREE}
    return {"classes": ", ".join(photos.classes), "photos": digest.hexdigest()[:16], **settings}
