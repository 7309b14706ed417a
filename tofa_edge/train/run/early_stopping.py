"""Evaluates while training, and ends it when accuracy no longer rises, if photos are enough.

A cosine schedule gains most at its end. Of 100 validation photos, one more or less that is right is
a point: three evaluations without improvement are chance, and stopping by them, or keeping the best
of ten, costs more than it saves.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.train.config import EVALUATION, OnStep, Progress, counted, silent
from tofa_edge.train.run.loop import TrainingState
from tofa_edge.train.run.statistics import set_statistics
from tofa_edge.train.run.subnet_accuracy import accuracy, subnet_logits
from tofa_edge.train.supernet.supernet import Supernet

log = logging.getLogger(__name__)

EVALUATIONS = 10  # in a phase
PATIENCE = 3  # evaluations without improvement
LEAST_PHOTOS = 300  # to validate with
LEAST_LABELS = 25  # a class: who has no more would not have so many validation photos either


def named_subnets(space: SearchSpace) -> dict[str, Subnet]:
    """Returns the three subnets that are reported: smallest, middle, largest."""
    return {"smallest": space.smallest(), "middle": space.middle(), "largest": space.largest()}


def has_stopped(state: TrainingState) -> bool:
    """Returns whether early stopping has ended this phase, now or before an interruption."""
    return int(state.extra.get("waited", 0)) >= PATIENCE


def why_not_to_stop(validated: int, fewest: int) -> str | None:
    """Returns why training must not end early, nor keep an earlier average; None: it may.

    Args:
        validated: number of validation photos.
        fewest: labels of the class that has the fewest to train with.
    """
    if fewest < LEAST_LABELS:
        return f"fewer than {LEAST_LABELS} labels of a class ({fewest})"
    if validated < LEAST_PHOTOS:
        return f"fewer than {LEAST_PHOTOS} validation photos ({validated})"
    return None


@dataclass(frozen=True, eq=False)
class EarlyStopping:
    """Evaluates the averaged supernet ten times in a phase.

    What it remembers, the best weights among it, lies in `TrainingState.extra` and so in the
    checkpoint.

    Attributes:
        images: validation photos, uint8, (N, S, S, 3).
        labels: class indices, (N,).
        calibration: photos for BatchNorm calibration, uint8, (M, S, S, 3).
        stops: whether to end training, and to keep the best weights (see `why_not_to_stop`); or
            only to report.
    """

    images: ImageArray
    labels: IndexArray
    calibration: ImageArray
    stops: bool = True

    def evaluate(self, progress: Progress, state: TrainingState) -> bool:
        """Evaluates if it is time; returns whether training should end."""
        every = max(1, progress.steps // EVALUATIONS)
        if progress.step % every and progress.step != progress.steps:
            return False
        set_statistics(state.averaged, self.calibration)  # an average of those of training is late
        accuracies = {n: accuracy(x, self.labels) for n, x in self.logits(state.averaged).items()}
        text = ", ".join(f"{name} {value:.1%}" for name, value in accuracies.items())
        log.info(f"step {progress.step}/{progress.steps}: accuracy on validation photos: {text}")
        progress.metrics.update({f"accuracy/{name}": value for name, value in accuracies.items()})
        if not self.stops:
            return False
        score = torch.tensor(float(np.mean(list(accuracies.values()))))
        best = state.extra.get("score")
        if best is None or score >= best:
            arrays = state.averaged.arrays().items()
            state.extra = {f"best/{name}": value.detach().clone() for name, value in arrays}
            state.extra |= {"score": score, "waited": torch.tensor(0)}
            return False
        state.extra["waited"] = state.extra["waited"] + 1
        if not has_stopped(state):
            return False
        log.info(f"early stopping: no improvement in {PATIENCE} evaluations")
        return True

    def restore_best(self, state: TrainingState) -> None:
        """Puts the best weights into the averaged supernet."""
        with torch.no_grad():
            for name, value in state.averaged.arrays().items():
                value.copy_(state.extra.get(f"best/{name}", value))

    def logits(self, supernet: Supernet, on_step: OnStep = silent) -> dict[str, FloatArray]:
        """Returns the three subnets' logits, (N, classes), by name; reports them to `on_step`."""
        space, arrays = supernet.space, supernet.to_arrays()
        whole = (arrays, supernet.preprocessing, self.calibration, self.images)
        named = [*named_subnets(space).items()]
        return {
            name: subnet_logits(space, subnet, *whole)
            for name, subnet in counted(EVALUATION, named, on_step, len(self.images))
        }
