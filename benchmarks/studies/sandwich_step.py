"""The training step of version 0.4, to compare with: the sandwich rule and moving pseudo-labels.

Each step trains the largest subnet, the smallest and two random ones on all of its images (Yu and
Huang, "Universally Slimmable Networks", ICCV 2019, sections 3.1 and 3.2). The largest learns labels
and sure pseudo-labels of strong views; the others learn its predictions of the labelled images, and
the pseudo-labels. These come in every step from the averaged largest subnet and a weak view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.train.data.augment import TARGET_CROP, resize, strong, weak
from tofa_edge.train.data.steps import Step
from tofa_edge.train.objective.losses import distilled, kullback_leibler
from tofa_edge.train.objective.objectives import PROBE_LEAST, Objective, pixels
from tofa_edge.train.supernet.supernet import Supernet

RANDOM_SUBNETS = 2  # a step
MEMORY = 0.99  # of the moving averages, per step


def sandwich(space: SearchSpace, step: Step) -> list[Subnet]:
    """Returns the subnets of a step: the largest, the smallest, two that are drawn gene by gene."""
    rng = step.rng("subnets")
    return [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(RANDOM_SUBNETS))]


@dataclass(eq=False)
class SandwichDistillation(Objective):
    """Makes every subnet like a frozen pretrained network, all on the same images.

    Attributes:
        images: uint8, (N, S, S, 3).
        logits: the pretrained network's, (N, classes).
        features: its pooled ones, (N, channels).
        batch_size: images a step.
    """

    images: ImageArray
    logits: Tensor
    features: Tensor
    batch_size: int

    def __post_init__(self) -> None:
        self.images_per_step = self.batch_size

    def losses(
        self, step: Step, supernet: Supernet, averaged: Supernet, subnets: Sequence[Subnet]
    ) -> Iterator[Tensor]:
        """See `Objective`; the first subnet is the largest."""
        chosen = step.draw(np.arange(len(self.images)), self.batch_size, "distilled")
        device, places = next(supernet.parameters()).device, torch.from_numpy(chosen)
        images = weak(pixels(self.images, chosen, device), step.generator("distilled"), TARGET_CROP)
        taught = (self.logits[places], self.features[places])
        for index, subnet in enumerate(subnets):
            resized = resize(images, subnet.resolution)
            yield distilled(supernet, resized, *taught, subnet, update=not index)


@dataclass(eq=False)
class SandwichTraining(Objective):
    """In-place distillation on labelled and unlabelled images.

    Attributes:
        images: uint8, (N, S, S, 3).
        labels: class indices, −1 where unlabelled, (N,).
        classes: how many.
        batch_size: labelled images a step.
        unlabelled_batch: unlabelled images a step.
        probe: initial pseudo-labels of every image, probabilities, (N, classes).
        prior: how frequent each class is, (classes,).
    """

    images: ImageArray
    labels: IndexArray
    classes: int
    batch_size: int
    unlabelled_batch: int
    probe: Tensor
    prior: Tensor

    def __post_init__(self) -> None:
        self.images_per_step = self.batch_size + self.unlabelled_batch
        self._labelled = np.flatnonzero(self.labels >= 0)
        counts = np.bincount(self.labels[self._labelled], minlength=self.classes) + 1.0
        self._balance = self.prior / torch.from_numpy(counts / counts.sum()).float()
        self._mean = torch.full((self.classes,), 1 / self.classes)
        self._confidence = torch.tensor(1 / self.classes)

    def losses(
        self, step: Step, supernet: Supernet, averaged: Supernet, subnets: Sequence[Subnet]
    ) -> Iterator[Tensor]:
        """See `Objective`; the first subnet is the largest."""
        largest, *others = subnets
        known = step.draw(self._labelled, self.batch_size, "labelled")
        every = np.arange(len(self.images))
        chosen = step.draw(every, self.unlabelled_batch, "unlabelled")
        targets, mask = self._targets(step, averaged, largest, chosen)
        images = self._views(step, known, chosen, largest)
        labels = torch.from_numpy(self.labels[known])
        (logits,) = supernet(images, largest, update=True)
        on_labels = F.cross_entropy(logits[: len(known)], labels, reduction="none")
        on_strong = -(targets * logits[len(known) :].log_softmax(dim=1)).sum(dim=1)
        yield (self._balance[labels] * on_labels).mean() + (mask * on_strong).mean()
        taught = torch.cat([logits[: len(known)].detach().softmax(dim=1), targets])
        for subnet in others:
            (logits,) = supernet(resize(images, subnet.resolution), subnet)
            divergence = kullback_leibler(logits, taught)
            yield divergence[: len(known)].mean() + divergence[len(known) :].mean()

    def _views(self, step: Step, known: IndexArray, chosen: IndexArray, largest: Subnet) -> Tensor:
        """Returns weak views of labelled images, then strong ones of others: one batch."""
        device = torch.device("cpu")
        labelled = weak(pixels(self.images, known, device), step.generator("labelled"))
        others = strong(pixels(self.images, chosen, device), step.generator("strong"))
        return resize(torch.cat([labelled, others]), largest.resolution)

    def _targets(
        self, step: Step, averaged: Supernet, largest: Subnet, chosen: IndexArray
    ) -> tuple[Tensor, Tensor]:
        """Returns targets, probabilities (U, classes), and which are sure, 0 or 1, (U,).

        Predictions are aligned to the prior by their moving average, thresholds follow the moving
        average of the confidence (FreeMatch: Wang et al., ICLR 2023).
        """
        images = pixels(self.images, chosen, torch.device("cpu"))
        views = resize(weak(images, step.generator("weak"), TARGET_CROP), largest.resolution)
        with torch.no_grad():
            (logits,) = averaged(views, largest)
        predicted = logits.float().softmax(dim=1)
        self._mean = MEMORY * self._mean + (1 - MEMORY) * predicted.mean(dim=0)
        aligned = predicted * (self.prior / self._mean)
        aligned = aligned / aligned.sum(dim=1, keepdim=True)
        weight = max(PROBE_LEAST, 1 - 2 * (1 - PROBE_LEAST) * step.progress)
        targets = torch.lerp(aligned, self.probe[torch.from_numpy(chosen)], weight)
        confidence, best = targets.max(dim=1)
        self._confidence = MEMORY * self._confidence + (1 - MEMORY) * confidence.mean()
        balance = self._mean / self.prior
        needed = self._confidence * (balance / balance.max())[best]
        return targets, (confidence >= needed).float()
