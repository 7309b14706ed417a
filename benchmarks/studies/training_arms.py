"""The arms of the protocol of training: what each changes of how a supernet is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import torch

from tofa_edge.architecture.arrays import FloatArray, IndexArray
from tofa_edge.architecture.layers import Convolution, Layer, Linear
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.benchmarks.studies.sandwich_step import (
    SandwichDistillation,
    SandwichTraining,
    sandwich,
)
from tofa_edge.benchmarks.studies.study_data import Data
from tofa_edge.benchmarks.studies.study_runs import RATIO
from tofa_edge.benchmarks.studies.training_study import Start, study_space
from tofa_edge.train.config import TrainingConfig
from tofa_edge.train.objective.objectives import (
    STRONG_FROM,
    Distillation,
    Objective,
    SemiSupervised,
)
from tofa_edge.train.objective.subnets import stratified
from tofa_edge.train.objective.teachers import TeacherOutputs
from tofa_edge.train.run.loop import Choose
from tofa_edge.train.run.phases import PRETRAINING_BATCH
from tofa_edge.train.supernet import efficientnet_lite
from tofa_edge.train.supernet.efficientnet_lite import load_lite

WIDTHS_04 = ((16,), (16, 24), (24, 32, 40), (48, 64, 80), (72, 96, 112), (128, 160, 192),
             (192, 256, 320))  # fmt: skip
KERNELS_04 = ((3,), (3,), (3, 5), (3,), (3, 5), (3, 5), (3,))
EXPANDS_04 = (3, 4, 6)
STEP_04 = 16  # px, of resolutions


@dataclass(frozen=True)
class Arm:
    """A way to train; what is not given is as the package does it.

    Attributes:
        higher: whether the space has the higher of the two resolutions of the study.
        old_order: whether channels are ordered by the rule of version 0.4.
        old_space: whether the space is that of version 0.4.
        old_step: whether a step is that of version 0.4 (`sandwich_step.py`).
        share: of the processor time.
        rate: the learning rate of training, over the package's.
        strong_from: MACs from which a subnet learns strong views.
        flips: whether views are flipped; the step of 0.4 always did.
    """

    higher: bool = False
    old_order: bool = False
    old_space: bool = False
    old_step: bool = False
    share: float = 1.0
    rate: float = 1.0
    strong_from: float = STRONG_FROM
    flips: bool = True

    @property
    def pretraining(self) -> Arm:
        """The same without what only changes the training after it."""
        return replace(self, rate=1.0, strong_from=STRONG_FROM)

    @property
    def choose(self) -> Choose:
        """The subnets of a step."""
        return sandwich if self.old_step else stratified

    def space(self, classes: int, resolution: int) -> SearchSpace:
        """Returns the space up to a resolution in pixels."""
        return (space_of_04 if self.old_space else study_space)(classes, resolution)

    def plain(self) -> Start:
        """Returns Lite0's weights, channels in order."""
        if not self.old_order:
            return load_lite("lite0")[1]
        with mock.patch.object(efficientnet_lite, "_order", order_of_04):
            return load_lite("lite0")[1]

    def pretraining_objective(self, data: Data, teacher: TeacherOutputs) -> Objective:
        """Returns what pretraining without labels minimises."""
        given = (data.images, teacher.logits, teacher.features, PRETRAINING_BATCH)
        if self.old_step:
            return SandwichDistillation(*given)
        return Distillation(*given, flips=self.flips)

    def training_objective(
        self,
        data: Data,
        labels: IndexArray,
        targets: tuple[torch.Tensor, torch.Tensor],
    ) -> Objective:
        """Returns what training for the task minimises.

        Args:
            data: the images.
            labels: class indices, (N,); −1 where unlabelled.
            targets: initial pseudo-labels, (N, classes), and the class prior, (classes,).
        """
        classes, batch = len(data.classes), TrainingConfig().batch_size
        probe, prior = targets
        if self.old_step:
            sizes = (classes, batch, RATIO * batch)
            return SandwichTraining(data.images, labels, *sizes, probe, prior)
        return SemiSupervised(
            data.images, labels, classes, batch, RATIO * batch, probe, prior=prior,
            strong_from=self.strong_from,
            flips=self.flips,
        )  # fmt: skip


AS_IT_IS = "as it is"
ARMS: Mapping[str, Arm] = {
    AS_IT_IS: Arm(),
    "channel order of 0.4": Arm(old_order=True),
    "space of 0.4": Arm(old_space=True),
    "higher resolution": Arm(higher=True),
    "higher resolution, space of 0.4": Arm(higher=True, old_space=True),
    "step of 0.4": Arm(old_step=True),
    "a third of the time": Arm(share=1 / 3),
    "all of 0.4": Arm(old_order=True, old_space=True, old_step=True),
    "half the learning rate": Arm(rate=0.5),
    "strong views for all": Arm(strong_from=0.0),
    "strong views for the largest alone": Arm(strong_from=math.inf),
    "no flips": Arm(flips=False),
}


def space_of_04(classes: int, resolution: int) -> SearchSpace:
    """Returns the lite0 space of version 0.4: more widths, kernels, expand ratios, resolutions."""
    space = study_space(classes, resolution)
    stages = tuple(
        replace(stage, widths=widths, kernels=kernels, expands=EXPANDS_04 if index else (1,))
        for index, (stage, widths, kernels) in enumerate(
            zip(space.stages, WIDTHS_04, KERNELS_04, strict=True)
        )
    )
    lowest = space.resolutions[0]
    resolutions = (*range(lowest, resolution, STEP_04), resolution)
    return replace(space, stages=stages, resolutions=resolutions)


def order_of_04(
    group: str,
    groups: Mapping[str, str],
    network: tuple[Layer, ...],
    arrays: Mapping[str, FloatArray],
    deviations: Mapping[str, FloatArray],
) -> IndexArray:
    """Returns the channels of a group, most important first, by the rule of version 0.4.

    The L1 norm of the weights that read a channel times the root mean square of its value, after
    BatchNorm and before the activation, by its scale and shift. Takes what the package's rule does.
    """
    importance, power = np.zeros(1), np.zeros(1)
    for layer in network:
        if not isinstance(layer, Convolution | Linear):
            continue
        depthwise = isinstance(layer, Convolution) and layer.depthwise
        if groups.get(layer.inputs[0]) == group and not depthwise:
            weight = np.abs(arrays[f"{layer.name}.weight"])
            importance = importance + weight.sum(axis=(0, *range(2, weight.ndim)))
        if groups[layer.name] == group and isinstance(layer, Convolution) and layer.normalised:
            scale, shift = (arrays[f"{layer.name}.{role}"] for role in ("scale", "shift"))
            power = power + scale**2 + shift**2
    return np.argsort(-(importance * np.sqrt(power)), kind="stable").astype(np.int64)
