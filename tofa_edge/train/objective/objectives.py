"""What a phase of training does with a step: it draws images, augments them and asks for losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.cost import macs
from tofa_edge.architecture.layers import layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.train.data.augment import TARGET_CROP, resize, strong, weak
from tofa_edge.train.data.steps import Step
from tofa_edge.train.distributed import ALONE, Processes
from tofa_edge.train.objective.class_prior import labelled_prior
from tofa_edge.train.objective.losses import Batch, distilled, unified
from tofa_edge.train.objective.pseudo_labels import Targets
from tofa_edge.train.objective.subnets import part, space_at
from tofa_edge.train.supernet.supernet import Supernet

PROBE_LEAST = 0.3  # the weight of initial pseudo-labels from half of training on; 1 at first
PROBED_REFRESHES, REFRESHES = 4, 20  # of targets in a training, from initial ones and from none
REFRESHED_AT_ONCE = 64  # images
STRONG_FROM = 25e6  # MACs


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
        """Yields a loss for each subnet, in their order.

        Args:
            step: whose images and views are drawn.
            supernet: that learns.
            averaged: its averaged weights, which give the pseudo-labels.
            subnets: of the step.
        """

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """Returns what it trains beside the supernet, by name; `state` holds them, too."""
        return {}

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
        device, share = next(supernet.parameters()).device, self.processes.share
        largest = space_at(supernet.space, step).largest()
        generator = step.generator("distilled")
        views = weak(pixels(self.images, chosen, device), generator, TARGET_CROP, self.flips)
        for index, subnet in enumerate(subnets):
            mine = part(subnets, index, largest, len(chosen))
            places = torch.from_numpy(chosen[mine])
            taught = (self.logits, self.features)  # in float16 where they are very many
            logits, features = (share(v[places]).to(device, torch.float32) for v in taught)
            images, update = resize(share(views[mine]), subnet.resolution), subnet == largest
            yield distilled(supernet, images, logits, features, subnet, update)


@dataclass(eq=False)
class SemiSupervised(Objective):
    """The one loss on labelled and unlabelled images; supervised where there are none.

    Each image's target is kept, and refreshed a few times: a mix of its initial pseudo-label and of
    what the averaged largest subnet predicts of weak views, aligned to the class prior.

    Attributes:
        images: uint8, (N, S, S, 3).
        labels: class indices, −1 where unlabelled, (N,).
        classes: how many.
        batch_size: labelled images a step.
        unlabelled_batch: images a step that may be unlabelled; 0 trains on the labels alone.
        probe: initial pseudo-labels of every image, probabilities, (N, classes), or None.
        processes: that share a batch.
        settled: whether the targets stay as the phase before left them.
        prior: how frequent each class is among the unlabelled images, (classes,); None takes the
            labels' own. Pseudo-labels are aligned to it, and labels are weighted by it.
        strong_from: MACs from which a subnet learns strong views.
        flips: whether views are flipped.
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
    strong_from: float = STRONG_FROM
    flips: bool = True

    def __post_init__(self) -> None:
        prior = labelled_prior(self.labels, self.classes) if self.prior is None else self.prior
        self.images_per_step = self.batch_size + self.unlabelled_batch
        self._labelled = np.flatnonzero(self.labels >= 0)
        self._targets = Targets.first(self.labels, prior.cpu(), self.probe)

    def losses(
        self, step: Step, supernet: Supernet, averaged: Supernet, subnets: Sequence[Subnet]
    ) -> Iterator[Tensor]:
        """See `Objective`."""
        space, device = space_at(supernet.space, step), next(supernet.parameters()).device
        largest, chosen = space.largest(), self._chosen(step)
        if not self.settled:
            self._refresh(step, averaged, largest)
        for index, subnet in enumerate(subnets):
            leads, mine = subnet == largest, chosen[part(subnets, index, largest, len(chosen))]
            strongly = leads or macs(layers(space, subnet)) >= self.strong_from
            views = self._views(step, mine, strongly, device)
            yield unified(supernet, self._batch(views, mine, leads), subnet, update=leads)

    def _chosen(self, step: Step) -> IndexArray:
        """Returns which images a step has: labelled ones, then any, (B,)."""
        known = step.draw(self._labelled, self.batch_size, "labelled")
        every = np.arange(len(self.images))
        return np.concatenate([known, step.draw(every, self.unlabelled_batch, "unlabelled")])

    def _views(
        self, step: Step, chosen: IndexArray, strongly: bool, device: torch.device
    ) -> Tensor:
        """Returns weak views of images, or strong ones of those without a label."""
        images = pixels(self.images, chosen, device)
        views = weak(images, step.generator("weak"), flips=self.flips)
        unlabelled = self.labels[chosen] < 0
        if strongly and unlabelled.any():
            views[unlabelled] = strong(images[unlabelled], step.generator("strong"), self.flips)
        return views

    def _batch(self, views: Tensor, chosen: IndexArray, leads: bool) -> Batch:
        """Returns this process's share of what one subnet learns of views of images.

        The largest, which leads, learns labels as they are, and of the others what is sure.
        """
        share, device, every = self.processes.share, views.device, self._targets
        labels, targets = every.labels[chosen], every.probabilities[chosen]
        weights = (every.sure if leads else every.weights)[chosen]
        known = torch.from_numpy(self.labels[chosen] >= 0)
        balance = every.prior / labelled_prior(self.labels, self.classes)
        weights = torch.where(known, labels @ balance, weights)
        if leads:
            targets = torch.where(known[:, None], labels, targets)
        return Batch(share(views), share(targets).to(device), share(weights).to(device))

    def _refresh(self, step: Step, averaged: Supernet, largest: Subnet) -> None:
        """Predicts all images anew, if it is time to."""
        times = PROBED_REFRESHES if self.probe is not None else REFRESHES
        number = int(step.progress * (times + 1))
        if number <= self._targets.refreshes:
            return
        predictions = self._predicted(step, averaged, largest)
        weight = max(PROBE_LEAST, 1 - 2 * (1 - PROBE_LEAST) * step.progress)
        self._targets = self._targets.refreshed(predictions, self.probe, weight, number)

    def _predicted(self, step: Step, averaged: Supernet, largest: Subnet) -> Tensor:
        """Returns what a supernet's largest subnet predicts of a weak view of each image."""
        device, generator = next(averaged.parameters()).device, step.generator("refresh")
        batches = max(1, len(self.images) // REFRESHED_AT_ONCE)
        parts = []
        for some in np.array_split(np.arange(len(self.images)), batches):
            views = weak(pixels(self.images, some, device), generator, TARGET_CROP, self.flips)
            with torch.no_grad():
                views = resize(self.processes.share(views), largest.resolution)
                (logits,) = averaged(views, largest)
            probabilities = logits.float().softmax(dim=1).cpu()
            parts.append(self.processes.gather(probabilities, len(some)))
        return torch.cat(parts)

    def state(self) -> dict[str, Tensor]:
        """See `Objective`."""
        probe = {} if self.probe is None else {"probe": self.probe}
        return {**self._targets.state(), **probe}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """See `Objective`."""
        self._targets = Targets.from_state(state)
        self.probe = state.get("probe")

    def metrics(self) -> dict[str, float]:
        """See `Objective`."""
        unlabelled = torch.from_numpy(self.labels < 0)
        if not self.unlabelled_batch or not unlabelled.any():
            return {}
        return {"mask_rate": float(self._targets.sure[unlabelled].mean())}


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
