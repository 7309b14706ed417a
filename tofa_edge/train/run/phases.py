"""The phases of training: all subnets become like a pretrained network, then learn the task.

A last one, if wanted, makes them robust to rounding to 8-bit integers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.errors import TrainingError
from tofa_edge.train.config import (
    PRETRAINING,
    QUANTISATION_AWARE,
    TRAINING,
    OnStep,
    Progress,
    TrainingConfig,
    silent,
)
from tofa_edge.train.distributed import ALONE, Processes
from tofa_edge.train.objective.initial_pseudo_labels import start_from_probe
from tofa_edge.train.objective.objectives import Distillation, Objective, SemiSupervised
from tofa_edge.train.objective.subnets import RANDOM_SUBNETS, stratified
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.run import loop
from tofa_edge.train.run.checkpoint import Checkpoints
from tofa_edge.train.run.early_stopping import EarlyStopping, has_stopped
from tofa_edge.train.run.loop import Choose, Hook, Phase, TrainingState, begin
from tofa_edge.train.run.statistics import set_statistics
from tofa_edge.train.supernet.efficientnet_lite import load_lite
from tofa_edge.train.supernet.supernet import Supernet

PRETRAINING_BATCH = 64
LAST_RATE = 0.1  # the peak of the last phase's learning rate over that of the training before
NEW_RATE = 3.0  # the learning rate of a classifier that starts from nothing, over the others'
SECONDS_BETWEEN_CHECKPOINTS = 120.0


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """How to train, and what a run reports to, keeps and shares.

    Attributes:
        config: how to train.
        on_step: called after each step of each phase.
        checkpoints: of the run; by default none are written.
        processes: that train together.
    """

    config: TrainingConfig
    on_step: OnStep = silent
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    processes: Processes = ALONE


@dataclass(frozen=True, eq=False)
class Optimised:
    """What training for a task made.

    Attributes:
        supernet: trained.
        pseudo_labels: initial ones of every image, probabilities, (N, classes); None where it
            started from random weights.
    """

    supernet: Supernet
    pseudo_labels: torch.Tensor | None


def pretrain_supernet(
    supernet: Supernet, images: ImageArray, teacher: TeacherOutputs, run: TrainingRun
) -> Supernet:
    """Returns a supernet whose subnets are like the plain pretrained network it starts from.

    Args:
        supernet: holds its weights; of any number of classes: the classifier is not trained.
        images: uint8, (N, S, S, 3), in mixed order.
        teacher: the pretrained network's outputs for them.
        run: how to train.

    Raises:
        TrainingError: a loss is not finite; the step is named.
    """
    config, processes = run.config, run.processes
    space, arrays = load_lite(config.start)
    processes.check(PRETRAINING_BATCH, RANDOM_SUBNETS)
    steps = pretraining_steps(len(images), config)
    phase = Phase(PRETRAINING, steps, config.learning_rate, config.seed, processes=processes)
    student = Supernet(replace(supernet.space, classes=space.classes), supernet.preprocessing)
    student.load_arrays(arrays)
    student.mixed = supernet.mixed
    student = student.to(next(supernet.parameters()).device)
    taught = (teacher.logits, teacher.features)
    objective = Distillation(images, *taught, PRETRAINING_BATCH, processes, config.flips)
    learned = train_phase(student, objective, phase, run.on_step, run.checkpoints)
    if supernet.space.classes == space.classes:
        return learned
    kept = {name: supernet.to_arrays()[name] for name in (f"{LOGITS}.weight", f"{LOGITS}.bias")}
    supernet.load_arrays({**learned.to_arrays(), **kept})
    return supernet


def optimise(
    supernet: Supernet,
    images: ImageArray,
    labels: IndexArray,
    run: TrainingRun,
    early_stopping: EarlyStopping | None = None,
    choose: Choose = stratified,
    teacher_outputs: Sequence[TeacherOutputs] = (),
) -> Optimised:
    """Returns a `supernet` all of whose subnets were trained for a task, and its pseudo-labels.

    Args:
        images: uint8, (N, S, S, 3), in mixed order, S the largest resolution of the space.
        labels: class indices, −1 where unlabelled, (N,).
        run: how to train.
        early_stopping: evaluates, and may end training; the first process's.
        choose: the subnets of a step.
        teacher_outputs: for the images; none: initial pseudo-labels come from the supernet's own
            features.

    Raises:
        TrainingError: no photo is labelled, or a loss is not finite; the step is named.
    """
    if not (labels >= 0).any():
        raise TrainingError("wanted labelled photos, all are unlabelled; `pretrain` needs none")
    config, checkpoints = run.config, run.checkpoints
    objective, steps = _task(supernet, images, labels, run, teacher_outputs)
    rate = NEW_RATE if config.starts_from_nothing else 1.0
    phase = Phase(TRAINING, steps, config.learning_rate, config.seed, choose, rate, run.processes)
    if not checkpoints.is_at(QUANTISATION_AWARE):
        supernet = train_phase(supernet, objective, phase, run.on_step, checkpoints, early_stopping)
    if not config.quantisation_aware_epochs:
        return Optimised(supernet, objective.probe)
    _, steps = training_plan(labels, last(config))
    rate = LAST_RATE * config.learning_rate
    phase = Phase(QUANTISATION_AWARE, steps, rate, config.seed, choose, 1.0, run.processes, True)
    objective.settled = True
    supernet = train_phase(supernet, objective, phase, run.on_step, checkpoints)
    return Optimised(supernet, objective.probe)


def _task(
    supernet: Supernet,
    images: ImageArray,
    labels: IndexArray,
    run: TrainingRun,
    teacher_outputs: Sequence[TeacherOutputs],
) -> tuple[SemiSupervised, int]:
    """Returns what training minimises, and its steps; fits the classifier to pseudo-labels.

    A checkpoint holds the pseudo-labels; from random weights there are none.
    """
    config, processes = run.config, run.processes
    unlabelled, steps = training_plan(labels, config)
    processes.check(config.batch_size + unlabelled, RANDOM_SUBNETS)
    probe, prior = None, None
    if not (run.checkpoints.is_at(TRAINING, QUANTISATION_AWARE) or config.starts_from_nothing):
        probe, prior = start_from_probe(
            supernet, images, labels, teacher_outputs, bool(unlabelled), run.on_step,
            run.checkpoints.folder,
        )  # fmt: skip
        processes.agree([probe, prior])
    classes, batch = supernet.space.classes, config.batch_size
    objective = SemiSupervised(
        images, labels, classes, batch, unlabelled, probe, processes,
        prior=prior, flips=config.flips,
    )  # fmt: skip
    return objective, steps


def training_plan(labels: IndexArray, config: TrainingConfig) -> tuple[int, int]:
    """Returns unlabelled images a step, and steps of training, for labels (N,)."""
    known = int((labels >= 0).sum())
    unlabelled = config.unlabelled_ratio * config.batch_size * (known < len(labels))
    pool = len(labels) // unlabelled if unlabelled else known // config.batch_size
    return unlabelled, max(1, int(config.epochs * max(1, pool)))


def last(config: TrainingConfig) -> TrainingConfig:
    """Returns how the last phase trains: as before, for its own epochs."""
    return replace(config, epochs=config.quantisation_aware_epochs, quantisation_aware_epochs=0)


def pretraining_steps(count: int, config: TrainingConfig) -> int:
    """Returns the steps of pretraining on so many images."""
    return max(1, int(config.pretrain_epochs * max(1, count // PRETRAINING_BATCH)))


def train_phase(
    supernet: Supernet,
    objective: Objective,
    phase: Phase,
    on_step: OnStep = silent,
    checkpoints: Checkpoints | None = None,
    early_stopping: EarlyStopping | None = None,
    watch: Hook | None = None,
) -> Supernet:
    """Returns the averaged `supernet` of a phase, gone on with or run from its first step.

    `watch` is called after each step, in the first process.

    Raises:
        TrainingError: a loss is not finite; the step is named.
    """
    state = begin(supernet, objective, phase)
    checkpoints = checkpoints or Checkpoints()
    checkpoints.restore(state, phase)
    saved = time.perf_counter()

    def keep() -> None:
        if phase.processes.first:
            checkpoints.save(state, phase)

    def hook(progress: Progress, state: TrainingState) -> bool:
        nonlocal saved
        ends = early_stopping is not None and early_stopping.evaluate(progress, state)
        if watch is not None and phase.processes.first:
            ends = watch(progress, state) or ends
        if time.perf_counter() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            keep()
            saved = time.perf_counter()
        return ends

    if not has_stopped(state):  # before it was interrupted
        loop.run(state, phase, on_step, hook, keep)
    if early_stopping is not None and early_stopping.stops:
        early_stopping.restore_best(state)
    phase.processes.agree(state.averaged.arrays().values())  # the first one may have restored
    set_statistics(state.averaged, objective.images)
    return state.averaged
