"""The phases of training: all subnets become like a pretrained network, then learn the task.

A last one, if wanted, makes them survive 8-bit integers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.errors import TrainingError
from tofa_edge.train.config import OnStep, Progress, TrainingConfig
from tofa_edge.train.distributed import ALONE, Processes
from tofa_edge.train.objective.first_targets import start_from_probe
from tofa_edge.train.objective.objectives import Distillation, Objective, SemiSupervised
from tofa_edge.train.objective.teachers import TEACHER_FEATURES, TeacherOutputs, teacher_resolution
from tofa_edge.train.run.checkpoint import Checkpoints
from tofa_edge.train.run.early_stopping import EarlyStopping, has_stopped
from tofa_edge.train.run.loop import Choose, Phase, TrainingState, begin, run, sandwich
from tofa_edge.train.run.time_estimate import (
    ROUNDED,
    TEACHER,
    estimated_seconds,
    seconds_per_mac,
    teacher_macs,
)
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

PRETRAINING, TRAINING = "pretraining", "training"
QUANTISATION_AWARE = "quantisation-aware training"
PRETRAINING_BATCH = 64
LAST_RATE = 0.1  # the peak of the last phase's learning rate over that of the training before
NEW_RATE = 3.0  # the learning rate of a classifier that starts from nothing, over the others'
SECONDS_BETWEEN_CHECKPOINTS = 120.0


def pretrain_supernet(
    supernet: Supernet,
    images: ImageArray,
    look: TeacherOutputs,
    config: TrainingConfig,
    on_step: OnStep = lambda progress: None,
    checkpoints: Checkpoints | None = None,
    processes: Processes = ALONE,
) -> Supernet:
    """Returns a supernet whose subnets are like the plain pretrained network of `config.start`.

    Args:
        supernet: holds its weights; of any number of classes: the classifier is not trained.
        images: uint8, (N, S, S, 3), in mixed order.
        look: what the pretrained network says of them.
        config: how to train.
        on_step: called after each step.
        checkpoints: of checkpoints.
        processes: that train together.

    Raises:
        TrainingError: a loss is not finite; the step is named.
    """
    space, arrays = load_lite(config.start)
    steps = _steps(config.pretrain_epochs, len(images), PRETRAINING_BATCH)
    processes.check(PRETRAINING_BATCH)
    phase = Phase(PRETRAINING, steps, config.learning_rate, config.seed, processes=processes)
    student = Supernet(replace(supernet.space, classes=space.classes), supernet.preprocessing)
    student.load_arrays(arrays)
    student.mixed = supernet.mixed
    student = student.to(next(supernet.parameters()).device)
    objective = Distillation(images, look.logits, look.features, PRETRAINING_BATCH, processes)
    learned = _finish(_run(student, objective, phase, on_step, checkpoints), images)
    if supernet.space.classes == space.classes:
        return learned
    kept = {name: supernet.to_arrays()[name] for name in (f"{LOGITS}.weight", f"{LOGITS}.bias")}
    supernet.load_arrays({**learned.to_arrays(), **kept})
    return supernet


def optimise(
    supernet: Supernet,
    images: ImageArray,
    labels: IndexArray,
    config: TrainingConfig,
    on_step: OnStep = lambda progress: None,
    checkpoints: Checkpoints | None = None,
    processes: Processes = ALONE,
    early_stopping: EarlyStopping | None = None,
    choose: Choose = sandwich,
    teacher_outputs: Sequence[TeacherOutputs] = (),
) -> Supernet:
    """Returns a supernet all of whose subnets were trained for a task.

    Args:
        supernet: to start from; trained with the sandwich rule, every step the largest, the
            smallest and two random subnets.
        images: uint8, (N, S, S, 3), S the largest resolution, in mixed order.
        labels: class indices, −1 where unlabelled, (N,).
        config: how to train.
        on_step: called after each step.
        checkpoints: of checkpoints.
        processes: that train together.
        watch: ends training early, and keeps the best weights that it saw; of the first process.
        choose: the subnets of a step; one alone is trained by itself.
        looks: what frozen pretrained networks say of the images; without, the first targets are
            read from the supernet's own features.

    Raises:
        TrainingError: a loss is not finite; the step is named.
    """
    known = labels >= 0
    if not known.any():
        raise TrainingError("wanted labelled photos, all are unlabelled; `pretrain` needs none")
    unlabelled, steps = _plan(images, labels, config)
    pretrained = not config.starts_from_nothing
    probe, shares = None, None
    if pretrained and not (
        checkpoints is not None and checkpoints.is_at(TRAINING, QUANTISATION_AWARE)
    ):
        probe, shares = start_from_probe(
            supernet, images, labels, teacher_outputs, bool(unlabelled)
        )
        processes.agree([probe, shares])
    rate = 1.0 if pretrained else NEW_RATE
    processes.check(config.batch_size, unlabelled)
    phase = Phase(TRAINING, steps, config.learning_rate, config.seed, choose, rate, processes)
    objective = SemiSupervised(
        images,
        labels,
        supernet.space.classes,
        config.batch_size,
        unlabelled,
        probe,
        processes=processes,
        shares=shares,
    )
    if checkpoints is None or not checkpoints.is_at(QUANTISATION_AWARE):
        supernet = _finish(
            _run(supernet, objective, phase, on_step, checkpoints, early_stopping), images
        )
    if config.quantisation_aware_epochs:
        _, steps = _plan(images, labels, _last(config))
        rate = LAST_RATE * config.learning_rate
        phase = replace(
            phase,
            name=QUANTISATION_AWARE,
            steps=steps,
            learning_rate=rate,
            head_rate=1.0,
            rounded=True,
        )
        supernet = train_on(supernet, objective, phase, on_step, checkpoints)
    return supernet


def train_on(
    supernet: Supernet,
    objective: SemiSupervised,
    phase: Phase,
    on_step: OnStep = lambda progress: None,
    checkpoints: Checkpoints | None = None,
) -> Supernet:
    """Returns a trained supernet, trained on a little.

    Loss, sandwich and optimiser are those of the training before. If the phase is a rounded one,
    every subnet learns to survive 8-bit integers; the averaged supernet, which gives the targets
    and ships, is not rounded.

    Args:
        supernet: trained.
        objective: of the training before, with what it has learned; the probe has its least part.
        phase: to run.
        on_step: called after each step.
        checkpoints: of checkpoints.

    Raises:
        TrainingError: a loss is not finite; the step is named.
    """
    objective.settled = True
    return _finish(_run(supernet, objective, phase, on_step, checkpoints), objective.images)


def _run(
    supernet: Supernet,
    objective: Objective,
    phase: Phase,
    on_step: OnStep,
    checkpoints: Checkpoints | None,
    early_stopping: EarlyStopping | None = None,
) -> TrainingState:
    state = begin(supernet, objective, phase)
    if checkpoints is not None:
        checkpoints.restore(state, phase)
    saves = checkpoints if phase.processes.first else None
    saved = time.perf_counter()

    def keep() -> None:
        if saves is not None:
            saves.save(state, phase)

    def hook(progress: Progress, state: TrainingState) -> bool:
        nonlocal saved
        ends = early_stopping is not None and early_stopping.evaluate(progress, state)
        if time.perf_counter() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            keep()
            saved = time.perf_counter()
        return ends

    if not has_stopped(state):  # before it was interrupted
        run(state, phase, on_step, hook, keep)
    if early_stopping is not None and early_stopping.stops:
        early_stopping.restore_best(state)
    phase.processes.agree(state.averaged.arrays().values())  # the first one may have watched
    return state


def _finish(state: TrainingState, images: ImageArray) -> Supernet:
    """Returns the trained supernet: averaged weights, and the largest subnet's own statistics."""
    averaged = state.averaged
    device = next(averaged.parameters()).device
    seen = torch.from_numpy(images[: 4 * CALIBRATION_IMAGES]).permute(0, 3, 1, 2)
    parts = torch.tensor_split(seen, math.ceil(len(seen) / CALIBRATION_IMAGES))  # of equal weight
    with torch.no_grad():
        for number, part in enumerate(parts):
            averaged.momentum = 1 / (number + 1)
            averaged(part.to(device).float(), averaged.space.largest(), update=True)
    return averaged


def expected_seconds(
    supernet: Supernet, images: ImageArray, labels: IndexArray, config: TrainingConfig
) -> dict[str, float]:
    """Returns about how long each phase will take, in seconds; measures for a moment.

    Args:
        supernet: to train.
        images: uint8, (N, S, S, 3).
        labels: class indices, −1 where unlabelled, (N,); none, (0,), for pretraining alone.
        config: how to train.
    """
    found: dict[str, float] = {}
    space, mac = supernet.space, seconds_per_mac(supernet)
    size = teacher_resolution(space.resolutions[-1])
    looked = sum(
        teacher_macs(load_lite(name)[0], size) for name in config.looking(bool((labels < 0).any()))
    )
    if looked:
        found[TEACHER_FEATURES] = looked * len(images) * mac * TEACHER
    if config.is_plain and config.pretrain_epochs:
        steps = _steps(config.pretrain_epochs, len(images), PRETRAINING_BATCH)
        found[PRETRAINING] = estimated_seconds(space, mac, PRETRAINING_BATCH, steps, 0)
    if len(labels):
        unlabelled, steps = _plan(images, labels, config)
        batch = config.batch_size + unlabelled
        found[TRAINING] = estimated_seconds(space, mac, batch, steps, unlabelled)
        if config.quantisation_aware_epochs:
            _, steps = _plan(images, labels, _last(config))
            seconds = estimated_seconds(space, mac, batch, steps, unlabelled)
            found[QUANTISATION_AWARE] = ROUNDED * seconds
    return found


def _plan(images: ImageArray, labels: IndexArray, config: TrainingConfig) -> tuple[int, int]:
    """Returns unlabelled images a step, and steps of training."""
    known = labels >= 0
    unlabelled = config.unlabelled_ratio * config.batch_size * int(not known.all())
    pool = len(images) // unlabelled if unlabelled else int(known.sum()) // config.batch_size
    return unlabelled, max(1, int(config.epochs * max(1, pool)))


def _last(config: TrainingConfig) -> TrainingConfig:
    """Returns how the last phase trains: as before, for its own epochs."""
    return replace(config, epochs=config.quantisation_aware_epochs, quantisation_aware_epochs=0)


def _steps(epochs: float, count: int, batch: int) -> int:
    return max(1, int(epochs * max(1, count // batch)))
