"""Training: from photos to a bundle. `train` reads from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.train.after.finishing import (
    PACKING_SECONDS,
    Taught,
    bundle_as_is,
    pack_trained,
    seconds_after_training,
)
from tofa_edge.train.after.given_test import accuracies_on_test
from tofa_edge.train.after.packing import Contents, pack
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
from tofa_edge.train.data.account.report import account
from tofa_edge.train.data.division import divided, to_test
from tofa_edge.train.data.files.decoding import arranged, decode_all, reorder
from tofa_edge.train.data.grouping import grouped
from tofa_edge.train.data.photos import LabelledPaths, Photos, forget_labels
from tofa_edge.train.data.reading import PLAIN, ReadingOptions
from tofa_edge.train.data.roles import TEST
from tofa_edge.train.data.sources import decode_photos, list_photos, list_unlabelled
from tofa_edge.train.objective.teachers import run_teacher, run_teachers
from tofa_edge.train.run.checkpoint import Checkpoints, saying_how_to_resume
from tofa_edge.train.run.early_stopping import EarlyStopping, why_not_to_stop
from tofa_edge.train.run.identity import identity
from tofa_edge.train.run.output_file import trained_file
from tofa_edge.train.run.phases import Optimised, TrainingRun, optimise, pretrain_supernet
from tofa_edge.train.run.session import join, to_ship
from tofa_edge.train.run.time_estimate import PhaseCosts, TimeLeft, expected_seconds
from tofa_edge.train.supernet.start import new_supernet, read_start, used_device
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)

PARTS = {"train": 0.8, "validation": 0.1, "check": 0.1}  # that photos are split into
NO_LABELS: IndexArray = np.zeros(0, np.int64)


def train(
    data: Path | None,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = silent,
    resume: bool = False,
    overwrite: bool = False,
    reading: ReadingOptions = PLAIN,
) -> Report:
    """Trains a supernet on photos and writes the bundle.

    A checkpoint lies beside `out` meanwhile: written every two minutes and on Ctrl-C, SIGTERM or
    SIGHUP, removed when the bundle is there.

    Args:
        data: a folder with a folder of photos per class (`unlabelled` holds those without), a
            table of paths and labels, boxes (with `reading.crops`), or the name of a set; None only
            with `epochs=0`.
        out: the bundle to write.
        config: how to train.
        on_step: called after each step of each phase, from reading the photos to packing.
        resume: whether to go on from the checkpoint of an interrupted run.
        overwrite: whether a file of that name may be replaced; a run that is resumed was asked.
        reading: how tables, boxes and names of classes are read.

    Raises:
        DataError: the photos cannot be used.
        TrainingError: pretrained weights are not installed, the loss is not finite, or there is
            no fitting checkpoint; or another training writes the same bundle.
        BundleError: the bundle cannot be written there, or would replace a file. One that is new
            when training ends is kept, too, and the bundle gets another name.
    """
    config = config or TrainingConfig()
    processes, on_step = join(config, on_step)
    processes.check(config.batch_size)
    if config.epochs == 0:
        if not processes.first:
            return Report(out, {}, 0.0, written=False)
        with trained_file(out, overwrite) as file:
            return replace(bundle_as_is(data, file, config, reading), bundle=out)
    reading.check_place(overwrite or resume)
    with trained_file(out, overwrite or resume, processes.first) as file:
        if data is None:
            raise TrainingError("training wants a folder of photos; only --epochs 0 goes without")
        start, listed = read_start(config), list_photos(data, reading=reading)
        run = TrainingRun(config, on_step, Checkpoints.open(out, resume), processes)
        supernet = new_supernet(start, config, len(listed.classes))
        report = _train(supernet, listed, file, run, reading, overwrite or resume)
        return replace(report, bundle=out)


def _train(
    supernet: Supernet,
    listed: LabelledPaths | Photos,
    out: Path,
    run: TrainingRun,
    reading: ReadingOptions,
    overwrite: bool,
) -> Report:
    run = _with_time_left(run, supernet, listed)
    size = supernet.space.resolutions[-1]
    found = grouped(decode_photos(listed, size, run.on_step, out.parent))
    photos = found.photos
    roles, labels = _divided(photos, run.config, found.groups)
    run.checkpoints.identify(identity(photos, run.config, roles))
    roles |= to_test(photos)
    first = run.processes.first
    notes = account(photos.listed, reading, roles, overwrite, first, found.groups)
    parts = arranged(photos, roles)
    log.info(_summary(parts, labels, supernet))
    begun = time.perf_counter()
    with saying_how_to_resume(run.checkpoints):
        early_stopping = _early_stopping(parts, labels) if run.processes.first else None
        trained = _trained(supernet, parts["train"].images, labels, run, early_stopping)
    seconds = time.perf_counter() - begun
    run.processes.leave()
    if not run.processes.first:
        return Report(out, {}, seconds, written=False)
    taught, shipped = Taught(parts, labels, trained.pseudo_labels), to_ship(trained.supernet)
    tested = accuracies_on_test(shipped, parts)
    notes |= {f"accuracy_on_test_{name}": value for name, value in tested.items()}
    accuracies = pack_trained(out, run.config, shipped, taught, run.on_step, notes=notes)
    run.checkpoints.remove()
    return Report(out, accuracies, seconds, test_accuracies=tested)


def pretrain(
    images: Path,
    out: Path,
    config: TrainingConfig | None = None,
    on_step: OnStep = silent,
    resume: bool = False,
    overwrite: bool = False,
    reading: ReadingOptions = PLAIN,
) -> Report:
    """Distils a pretrained network into all subnets of its space, without labels.

    Done once on any photos, the bundle is a start for every later task.

    Args:
        images: a folder of photos, with or without folders inside, a table, or boxes (with
            `reading.crops`); labels are not used.
        out: the bundle to write, with the classes of the pretrained network.
        config: how; `start` is the pretrained network, `pretrain_epochs` says how long.
        on_step: called after each step of each phase.
        resume: whether to go on from the checkpoint of an interrupted run.
        overwrite: as for `train`.
        reading: as for `train`.

    Raises:
        DataError, TrainingError, BundleError: as for `train`.
    """
    config = config or TrainingConfig()
    if not config.is_plain:
        got = config.pretrained or config.start
        raise TrainingError(f"pretraining wants a start of {', '.join(PRETRAINED)}, got {got}")
    if not config.pretrain_epochs:
        raise TrainingError("pretraining wants pretrain_epochs of more than 0, got 0")
    processes, on_step = join(config, on_step)
    reading.check_place(overwrite or resume)
    with trained_file(out, overwrite or resume, processes.first) as file:
        listed = list_unlabelled(images, reading)
        supernet = new_supernet(read_start(config), config)
        run = TrainingRun(config, on_step, Checkpoints.open(out, resume), processes)
        report = _pretrain(supernet, listed, file, run, reading, overwrite or resume)
        return replace(report, bundle=out)


def _pretrain(
    supernet: Supernet,
    listed: LabelledPaths,
    out: Path,
    run: TrainingRun,
    reading: ReadingOptions,
    overwrite: bool,
) -> Report:
    run, config, space = _with_time_left(run, supernet, listed), run.config, supernet.space
    decoded, read = decode_all(listed, space.resolutions[-1], run.on_step, out.parent)
    notes = account(read, reading, {}, overwrite, run.processes.first)
    reorder(decoded, np.random.default_rng(config.seed).permutation(len(decoded)))
    classes = tuple(f"imagenet {index}" for index in range(space.classes))
    run.checkpoints.identify(identity(Photos(classes, decoded, NO_LABELS), config))
    log.info(f"{len(decoded)} photos, {space.count():.1e} subnets up to {space.resolutions[-1]} px")
    begun, device = time.perf_counter(), used_device(config)
    with saying_how_to_resume(run.checkpoints):
        teacher = run_teacher(
            config.start, decoded, device, run.on_step, run.processes, place=out.parent
        )
        supernet = pretrain_supernet(supernet, decoded, teacher, run)
    run.processes.leave()
    if run.processes.first:
        contents = Contents(classes, decoded[: config.calibration_photos])
        notes |= {"pretrain_epochs": config.pretrain_epochs, "pretrained_on_photos": len(decoded)}
        pack(out, config, to_ship(supernet), contents, notes, run.on_step)
        run.checkpoints.remove()
    return Report(out, {}, time.perf_counter() - begun, written=run.processes.first)


def _divided(
    photos: LabelledPaths | Photos, config: TrainingConfig, groups: IndexArray | None = None
) -> tuple[dict[str, IndexArray], IndexArray]:
    """Returns indices of photos by role, and the labels to train with, −1 where there is none."""
    roles = divided(photos, PARTS, config.seed, groups)
    kept = forget_labels(photos.labels[roles["train"]], config.labels_per_class, config.seed)
    return roles, kept


def _with_time_left(
    run: TrainingRun, supernet: Supernet, listed: LabelledPaths | Photos
) -> TrainingRun:
    """Logs how long a run will take; returns one that reports the time left with each step."""
    roles, labels = _divided(listed, run.config) if listed.classes else ({}, NO_LABELS)
    costs = PhaseCosts.of(supernet, len(labels))
    expected = expected_seconds(costs, listed, labels, run.config)
    if roles:
        validated = len(roles["validation"])
        expected |= seconds_after_training(costs, len(labels), validated, run.config)
    expected[PACKING] = PACKING_SECONDS
    time_left = TimeLeft(expected, run.on_step, costs.late)
    time_left.resume(run.checkpoints.found)
    log.info(f"{time_left} on this machine")
    return replace(run, on_step=time_left)


def _trained(
    supernet: Supernet,
    images: ImageArray,
    labels: IndexArray,
    run: TrainingRun,
    early_stopping: EarlyStopping | None,
) -> Optimised:
    """Returns the trained supernet; a checkpoint may hold what came of the teachers."""
    config = run.config
    resumed = run.checkpoints.is_at(TRAINING, QUANTISATION_AWARE)
    names = () if resumed else config.teachers_to_run(bool((labels < 0).any()))
    device = used_device(config)
    outputs = run_teachers(
        names, config.start, images, device, run.on_step, run.processes, run.checkpoints.folder
    )
    if config.is_plain and config.pretrain_epochs and not resumed:
        supernet = pretrain_supernet(supernet, images, outputs[config.start], run)
    teacher_outputs = [outputs[name] for name in config.teachers if name in outputs]
    return optimise(supernet, images, labels, run, early_stopping, teacher_outputs=teacher_outputs)


def _early_stopping(parts: Mapping[str, Photos], labels: IndexArray) -> EarlyStopping:
    train, validation = parts["train"], parts["validation"]
    fewest = int(np.bincount(labels[labels >= 0], minlength=len(train.classes)).min())
    reason = why_not_to_stop(len(validation.labels), fewest)
    if reason is not None:
        log.info(f"{reason}: training does not stop early")
    calibration = train.images[:CALIBRATION_IMAGES]
    return EarlyStopping(validation.images, validation.labels, calibration, reason is None)


def _summary(parts: Mapping[str, Photos], labels: IndexArray, supernet: Supernet) -> str:
    space, unlabelled = supernet.space, int((labels < 0).sum())
    without = f" ({unlabelled} without a label)" if unlabelled else ""
    counts = {role: len(part.labels) for role, part in parts.items()}
    tested = f", {counts[TEST]} to test" if counts.get(TEST) else ""
    return (
        f"{sum(counts.values())} photos of {space.classes} classes: "
        f"{counts['train']} to train on{without}, {counts['validation']} to validate, "
        f"{counts['check']} to check on devices{tested}; "
        f"{space.count():.1e} subnets up to {space.resolutions[-1]} px"
    )
