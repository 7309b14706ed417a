"""Pretraining for long: crops drawn as they are needed, teachers that see the same crops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.errors import TrainingError
from tofa_edge.train.config import PRETRAINED, PRETRAINING
from tofa_edge.train.data.crops import Crops, CropSettings
from tofa_edge.train.distributed import ALONE, Processes
from tofa_edge.train.objective.crop_distillation import STEPS_PER_BATCH, CropDistillation
from tofa_edge.train.objective.feature_adapters import Adapters
from tofa_edge.train.objective.subnets import RANDOM_SUBNETS
from tofa_edge.train.objective.teachers import BATCH, Teacher
from tofa_edge.train.run.feature_probe import ProbeLog
from tofa_edge.train.run.loop import Phase
from tofa_edge.train.run.phases import PRETRAINING_BATCH, TrainingRun, train_phase
from tofa_edge.train.supernet.supernet import Supernet

TEACHER_RESOLUTION = 128  # of each crop; larger ones cost more than all students together
FITTED_CROPS = 512  # that adapters and BatchNorm statistics are fitted to
FITTED_PER_PHOTO = 4
LEAST_FITTED = 8  # crops, for statistics


@dataclass(frozen=True, slots=True)
class CropPretraining:
    """How long to pretrain, and by what.

    Attributes:
        steps: how many.
        teachers: names of pretrained networks.
        batch_size: crops a step.
        teacher_resolution: size of the crops, and of the teachers' input, in pixels; larger where
            a subnet's is.
        steps_per_batch: steps that the crops of a batch serve, with what the teachers say of them.

    Raises:
        TrainingError: on construction, when a value is out of range.
    """

    steps: int
    teachers: tuple[str, ...] = PRETRAINED
    batch_size: int = PRETRAINING_BATCH
    teacher_resolution: int = TEACHER_RESOLUTION
    steps_per_batch: int = STEPS_PER_BATCH

    def __post_init__(self) -> None:
        for name in ("steps", "steps_per_batch"):
            if getattr(self, name) < 1:
                got = getattr(self, name)
                raise TrainingError(f"pretraining wants {name} of 1 or more, got {got}")
        if self.batch_size < 4 or self.batch_size % RANDOM_SUBNETS:
            raise TrainingError(
                f"pretraining wants an even batch of 4 crops or more, got {self.batch_size}"
            )
        if not self.teachers or set(self.teachers) - {*PRETRAINED}:
            got = ",".join(self.teachers) or "none"
            raise TrainingError(f"pretraining wants teachers of {', '.join(PRETRAINED)}, got {got}")


def pretrain_on_crops(
    supernet: Supernet,
    paths: Sequence[Path],
    how: CropPretraining,
    run: TrainingRun,
    probe_log: ProbeLog | None = None,
) -> tuple[Supernet, ImageArray]:
    """Returns a supernet whose subnets are like its teachers, and crops in mixed order.

    Args:
        supernet: holds the weights of the plain network `run.config.start`, with its classes.
        paths: of the photos, of any size.
        how: how long, and by what.
        run: how to train: rate, seed, flips; what it reports to, keeps and shares.
        probe_log: called now and then; the first process's.

    Returns:
        The averaged supernet; and crops that set its statistics, uint8, (N, S, S, 3).

    Raises:
        DataError: too many photos cannot be read.
        TrainingError: a loss is not finite; the step is named.
    """
    config, processes = run.config, run.processes
    processes.check(how.batch_size, RANDOM_SUBNETS)
    device = next(supernet.parameters()).device
    size = max(how.teacher_resolution, supernet.space.resolutions[-1])
    settings = CropSettings(size, how.batch_size, config.seed, config.flips)
    fitted = _fitted_crops(paths, settings)
    names = dict.fromkeys((config.start, *how.teachers))
    networks = {name: Teacher.load(name, device, size) for name in names}
    adapters = _fitted_adapters(config.start, networks, fitted, device).only(how.teachers)
    teachers = {name: networks[name] for name in how.teachers}
    phase = Phase(PRETRAINING, how.steps, config.learning_rate, config.seed, processes=processes)
    if probe_log is not None and processes.first:
        found = run.checkpoints.found
        probe_log.begin(supernet, found.step if found else 0)
    with _drawn(paths, settings, processes) as crops:
        objective = CropDistillation(crops, teachers, adapters, fitted, how.steps_per_batch)
        learned = train_phase(
            supernet, objective, phase, run.on_step, run.checkpoints,
            watch=probe_log.after if probe_log else None,
        )  # fmt: skip
    return learned, fitted


@contextmanager
def _drawn(
    paths: Sequence[Path], settings: CropSettings, processes: Processes = ALONE
) -> Iterator[Crops]:
    crops = Crops(paths, settings, range(processes.rank, settings.rows, processes.world))
    try:
        yield crops
    finally:
        crops.close()


def _fitted_crops(paths: Sequence[Path], settings: CropSettings) -> ImageArray:
    """Returns crops of as many photos as may be, the same in every process."""
    count = min(FITTED_CROPS, max(LEAST_FITTED, FITTED_PER_PHOTO * len(paths)))
    rows = math.ceil(count / FITTED_PER_PHOTO)
    few = CropSettings(
        settings.size, rows, settings.seed + 1, settings.flips, FITTED_PER_PHOTO, settings.degraded
    )
    with _drawn(paths, few) as crops:
        batches = [crops.batch(number) for number in range(FITTED_PER_PHOTO)]
    every = np.concatenate(batches)
    mixed: ImageArray = every[np.random.default_rng(settings.seed).permutation(len(every))]
    return mixed


def _fitted_adapters(
    start: str, networks: dict[str, Teacher], images: ImageArray, device: torch.device
) -> Adapters:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    features = {
        name: torch.cat([network(part.to(device)).features for part in torch.split(pixels, BATCH)])
        for name, network in networks.items()
    }
    return Adapters.fitted(start, features)
