"""Pretraining on crops that are drawn as they are needed, by teachers that see the same crops.

A teacher that sees exactly what the student sees, aggressive crops and mixtures of two, and very
long schedules make a student like its teacher on all images, not on those at hand alone (Beyer et
al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022).

Teachers cost more than students. So the crops of a batch, with what the teachers say of them, serve
a few steps, and halves are swapped between: a crop teaches a smaller subnet first, then a larger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tofa_edge.architecture.arrays import ImageArray
from tofa_edge.architecture.layers import LOGITS, POOLED
from tofa_edge.architecture.space import Subnet
from tofa_edge.train.data.augment import resize
from tofa_edge.train.data.crops import Crops
from tofa_edge.train.data.steps import Step
from tofa_edge.train.objective.feature_adapters import Adapters
from tofa_edge.train.objective.losses import (
    DISTILLED_TEMPERATURE,
    LOGITS_WEIGHT,
    kullback_leibler,
)
from tofa_edge.train.objective.objectives import Objective
from tofa_edge.train.objective.subnets import LEAST_IMAGES, space_at
from tofa_edge.train.objective.teachers import Teacher
from tofa_edge.train.supernet.supernet import Supernet

FEATURES_WEIGHT = 10.0  # of standardised features: makes the two terms about as large
MIXED = 0.3  # of the crops of a batch
STEPS_PER_BATCH = 2  # that the crops of a batch serve


@dataclass(frozen=True, eq=False)
class TaughtBatch:
    """A batch and what teachers say of it; the rows of this process.

    Attributes:
        images: pixel values 0..255, float32, (N, 3, S, S).
        probabilities: the mean of the teachers' at the temperature, (N, classes).
        features: standardised, of each teacher by name, (N, channels).
    """

    images: Tensor
    probabilities: Tensor
    features: Mapping[str, Tensor]


@dataclass(eq=False)
class CropDistillation(Objective):
    """Makes every subnet like frozen pretrained networks that see the same crops.

    Attributes:
        crops: drawn by the number of a batch.
        teachers: by name.
        adapters: from the supernet's features to those of the teachers.
        images: crops that set BatchNorm statistics in the end, uint8, (M, S, S, 3).
        steps_per_batch: steps that the crops of a batch serve.
    """

    crops: Crops
    teachers: Mapping[str, Teacher]
    adapters: Adapters
    images: ImageArray
    steps_per_batch: int = STEPS_PER_BATCH
    _kept: tuple[int, TaughtBatch] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.images_per_step = self.crops.settings.rows

    def losses(
        self, step: Step, supernet: Supernet, averaged: Supernet, subnets: Sequence[Subnet]
    ) -> Iterator[Tensor]:
        """See `Objective`."""
        largest = space_at(supernet.space, step).largest()
        taught = self._taught(step, next(supernet.parameters()).device)
        for index, subnet in enumerate(subnets):
            sizes = (len(taught.images), step.number, self.images_per_step)
            rows = half(subnets, index, largest, *sizes)
            images = resize(taught.images[rows], subnet.resolution)
            own, pooled = supernet(
                images, subnet, update=subnet == largest, outputs=(LOGITS, POOLED)
            )
            divergence = kullback_leibler(own / DISTILLED_TEMPERATURE, taught.probabilities[rows])
            features = {name: each[rows] for name, each in taught.features.items()}
            apart = self.adapters.distance(pooled.flatten(1), features)
            yield (LOGITS_WEIGHT * divergence + FEATURES_WEIGHT * apart).mean()

    def _taught(self, step: Step, device: torch.device) -> TaughtBatch:
        """Returns the batch of a step; a batch is computed once for the steps that it serves."""
        number = step.number // self.steps_per_batch
        if self._kept is None or self._kept[0] != number:
            batch = torch.from_numpy(self.crops.batch(number)).to(device).permute(0, 3, 1, 2)
            views = self._mixed(batch.float(), Step(number, step.of, step.seed))
            self._kept = number, self._asked(views)
        return self._kept[1]

    def _mixed(self, images: Tensor, step: Step) -> Tensor:
        """Returns images of which some are mixed with one of the other half of the batch.

        Mixup (Zhang et al., ICLR 2018), with even proportions, as Beyer et al. mix.
        """
        rows, mine, generator = self.crops.settings.rows, self.crops.mine, step.generator("mixed")
        proportions, chosen = torch.rand(2, rows, generator=generator)
        other = torch.where(chosen < MIXED, proportions, 0.0)[list(mine)].to(images.device)
        partner = images.roll(len(images) // 2, 0)
        return torch.lerp(images, partner, other[:, None, None, None])

    def _asked(self, images: Tensor) -> TaughtBatch:
        outputs = {name: teacher(images) for name, teacher in self.teachers.items()}
        soft = [(o.logits / DISTILLED_TEMPERATURE).softmax(dim=1) for o in outputs.values()]
        features = {name: o.features for name, o in outputs.items()}
        return TaughtBatch(images, torch.stack(soft).mean(dim=0), self.adapters.standard(features))

    def parameters(self) -> dict[str, nn.Parameter]:
        """See `Objective`."""
        return self.adapters.parameters()

    def state(self) -> dict[str, Tensor]:
        """See `Objective`."""
        return self.adapters.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Objective`."""
        self.adapters.load_state(state)


def half(
    subnets: Sequence[Subnet], index: int, largest: Subnet, rows: int, number: int, batch: int
) -> slice:
    """Returns which of this process's `rows` of a batch the subnet at an `index` learns from.

    The largest, all; the others share them, in turns that change with the step's `number`, unless
    the whole `batch` is too small for BatchNorm of its parts. Parts lie together, so that each of
    several processes, which deal the rows out in turn, finds its share of a part in one place.
    """
    others = [place for place, subnet in enumerate(subnets) if subnet != largest]
    if subnets[index] == largest or batch < LEAST_IMAGES * len(others):
        return slice(None)
    turn, part = (others.index(index) + number) % len(others), rows // len(others)
    return slice(turn * part, (turn + 1) * part)
