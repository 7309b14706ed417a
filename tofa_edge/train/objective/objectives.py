"""What a phase of training does with a step: it draws images, augments them and asks for losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.space import Subnet
from tofa_edge.train.data.augment import TARGET_CROP, resize, strong, weak
from tofa_edge.train.data.steps import Step
from tofa_edge.train.distributed import ALONE, Processes
from tofa_edge.train.objective.class_prior import labelled_prior
from tofa_edge.train.objective.losses import Batch, distilled, unified
from tofa_edge.train.objective.pseudo_labels import PseudoLabels
from tofa_edge.train.supernet.supernet import Supernet

PROBE_LEAST = 0.3  # the weight of initial pseudo-labels from half of training on; 1 at first


class Objective(ABC):
    """A phase of training.

    Attributes:
        images: uint8, (N, S, S, 3).
        images_per_step: how many images a step draws.
    """

    images: ImageArray
    images_per_step: int

    @abstractmethod
    def losses(
        self, step: Step, supernet: Supernet, averaged: Supernet, subnets: Sequence[Subnet]
    ) -> Iterator[Tensor]:
        """Yields a loss for each subnet, the largest first.

        Args:
            step: whose images and views are drawn.
            supernet: that learns.
            averaged: its averaged weights, which give the pseudo-labels.
            subnets: the largest first.
        """

    def state(self) -> dict[str, Tensor]:
        """Returns what it keeps from step to step, for a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:  # noqa: B027
        """Goes on from a `state`."""

    def metrics(self) -> dict[str, float]:
        """Returns figures of the last step."""
        return {}


@dataclass(eq=False)
class Distillation(Objective):
    """Makes every subnet like a frozen pretrained network. Needs no labels.

    The students get weak views of images that the teacher was given once and whole.

    Attributes:
        images: uint8, (N, S, S, 3).
        logits: the teacher's, (N, classes).
        features: the teacher's, pooled, (N, channels).
        batch_size: images a step.
        processes: that share a batch.
        flips: whether views are flipped.
    """

    images: ImageArray
    logits: Tensor
    features: Tensor
    batch_size: int
    processes: Processes = ALONE
    flips: bool = True

    def __post_init__(self) -> None:
        self.images_per_step = self.batch_size

    def losses(
        self, step: Step, supernet: Supernet, averaged: Supernet, subnets: Sequence[Subnet]
    ) -> Iterator[Tensor]:
        """See `Objective`."""
        chosen = step.draw(np.arange(len(self.images)), self.batch_size, "distilled")
        device = next(supernet.parameters()).device
        generator = step.generator("distilled")
        views = weak(pixels(self.images, chosen, device), generator, TARGET_CROP, self.flips)
        images, mine = self.processes.share(views), self.processes.share(torch.from_numpy(chosen))
        taught = (self.logits[mine].to(device), self.features[mine].to(device))
        yield from distilled(supernet, images, taught, subnets)


@dataclass(eq=False)
class SemiSupervised(Objective):
    """The one loss on labelled and unlabelled images; supervised where there are none.

    Attributes:
        images: uint8, (N, S, S, 3).
        labels: class indices, −1 where unlabelled, (N,).
        classes: how many.
        batch_size: labelled images a step.
        unlabelled_batch: unlabelled images a step; 0 trains on the labels alone.
        probe: initial pseudo-labels of every image, probabilities, (N, classes), or None. A target
            is a mix of these and of the averaged supernet's predictions.
        processes: that share a batch.
        prior: how frequent each class is among the unlabelled images, (classes,); None takes the
            labels' own. Pseudo-labels are aligned to it, and labels are weighted by it.
        flips: whether views are flipped.
        settled: whether initial pseudo-labels have their least weight from the first step on.
        pseudo: what is kept of the pseudo-labels from step to step.
    """

    images: ImageArray
    labels: IndexArray
    classes: int
    batch_size: int
    unlabelled_batch: int
    probe: Tensor | None = None
    processes: Processes = ALONE
    settled: bool = False
    prior: Tensor | None = None
    flips: bool = True
    pseudo: PseudoLabels = field(init=False)

    def __post_init__(self) -> None:
        prior = labelled_prior(self.labels, self.classes) if self.prior is None else self.prior
        self.pseudo = PseudoLabels(prior, across=self.processes.mean)
        self.images_per_step = self.batch_size + self.unlabelled_batch
        self._labelled = np.flatnonzero(self.labels >= 0)
        self._metrics: dict[str, float] = {}

    def losses(
        self, step: Step, supernet: Supernet, averaged: Supernet, subnets: Sequence[Subnet]
    ) -> Iterator[Tensor]:
        """See `Objective`."""
        yield from unified(supernet, self._batch(step, averaged, subnets[0]), subnets)

    def _batch(self, step: Step, averaged: Supernet, largest: Subnet) -> Batch:
        device, share = next(averaged.parameters()).device, self.processes.share
        known = step.draw(self._labelled, self.batch_size, "labelled")
        labels = share(torch.from_numpy(self.labels[known]).to(device))
        images = pixels(self.images, known, device)
        views = share(weak(images, step.generator("labelled"), flips=self.flips))
        labelled = resize(views, largest.resolution)
        balance = self.pseudo.prior / labelled_prior(self.labels, self.classes)
        weights = balance.to(device)[labels]
        if not self.unlabelled_batch:
            nothing = labelled[:0]
            empty = torch.zeros(0, self.classes, device=device)
            return Batch(labelled, labels, weights, nothing, empty, empty[:, 0])
        chosen = step.draw(np.arange(len(self.images)), self.unlabelled_batch, "unlabelled")
        images = pixels(self.images, chosen, device)
        views = weak(images, step.generator("weak"), TARGET_CROP, self.flips)
        views = resize(share(views), largest.resolution)
        with torch.no_grad():
            (logits,) = averaged(views, largest)
        probe = None if self.probe is None else share(self.probe[chosen].to(device))
        progress = 1.0 if self.settled else step.progress
        weight = max(PROBE_LEAST, 1 - 2 * (1 - PROBE_LEAST) * progress)
        targets, mask = self.pseudo.targets(logits.float().softmax(dim=1), probe, weight)
        self._metrics = {"mask_rate": float(mask.mean())}
        self._metrics["threshold"] = float(self.pseudo.threshold)
        views = share(strong(images, step.generator("strong"), self.flips))
        views = resize(views, largest.resolution)
        return Batch(labelled, labels, weights, views, targets, mask)

    def state(self) -> dict[str, Tensor]:
        """See `Objective`."""
        probe = {} if self.probe is None else {"probe": self.probe}
        return {**self.pseudo.state(), **probe}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Objective`."""
        self.pseudo.load_state(state)
        self.probe = state.get("probe")

    def metrics(self) -> dict[str, float]:
        """See `Objective`."""
        return self._metrics


@lru_cache(maxsize=2)
def computes_bfloat16(device: str) -> bool:
    """Returns whether a `device` ("cpu", "cuda") has instructions for bfloat16."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return False
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def pixels(images: ImageArray, chosen: IndexArray, device: torch.device) -> Tensor:
    """Returns the `chosen` ones, (N,), of `images` as uint8 (N, 3, S, S) on the device."""
    return torch.from_numpy(images[chosen]).permute(0, 3, 1, 2).to(device)
