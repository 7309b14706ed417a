"""Pseudo-labels: what every image is taught, from labels, a probe and a network's predictions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import IndexArray

LABEL_SHARE = 0.5  # of a label in what smaller subnets learn of its image: the rest is softer
STATE = ("labels", "prior", "probabilities", "weights", "sure", "predicted")  # in checkpoints
LATEST_SHARE = 0.5  # of the latest predictions in their average


@dataclass(frozen=True, eq=False)
class Targets:
    """What every image of a training is taught, refreshed now and then.

    Attributes:
        labels: one-hot, zeros where unlabelled, (N, classes).
        prior: how frequent each class is among the unlabelled images, (classes,).
        probabilities: the targets, (N, classes).
        weights: 1 where an image has a target, else 0, (N,).
        sure: which targets are sure enough to teach the largest subnet, 0 or 1, (N,).
        predicted: the average of what was predicted so far, (N, classes).
        refreshes: how often that was.
    """

    labels: Tensor
    prior: Tensor
    probabilities: Tensor
    weights: Tensor
    sure: Tensor
    predicted: Tensor
    refreshes: int = 0

    @staticmethod
    def first(labels: IndexArray, prior: Tensor, probe: Tensor | None) -> Targets:
        """Returns the targets before anything is predicted.

        Args:
            labels: class indices, −1 where unlabelled, (N,).
            prior: (classes,).
            probe: initial pseudo-labels, (N, classes); None: unlabelled images have no target.
        """
        known = torch.from_numpy(labels)
        labelled = (known >= 0).float()
        one_hot = F.one_hot(known.clamp(min=0), len(prior)) * labelled[:, None]
        nothing = torch.zeros_like(one_hot)
        if probe is None:
            uniform = torch.full_like(one_hot, 1 / len(prior))
            targets = torch.where(labelled[:, None] > 0, one_hot, uniform)
            return Targets(one_hot, prior, targets, labelled, labelled, nothing)
        targets = torch.where(labelled[:, None] > 0, one_hot, probe.cpu())
        sure = _sure(targets, labelled, prior)
        return Targets(one_hot, prior, targets, torch.ones(len(known)), sure, nothing)

    def refreshed(
        self, predictions: Tensor, probe: Tensor | None, weight: float, refreshes: int
    ) -> Targets:
        """Returns the targets after a network has predicted all images.

        Args:
            predictions: probabilities, (N, classes).
            probe: initial pseudo-labels, (N, classes), that predictions are mixed with.
            weight: of these in the mix, 0..1.
            refreshes: how many there were, with this one.
        """
        predicted = predictions
        if self.refreshes:
            predicted = torch.lerp(self.predicted, predictions, LATEST_SHARE)
        targets = aligned(predicted, self.prior)
        if probe is not None:
            targets = torch.lerp(targets, probe.cpu(), weight)
        labelled = self.labels.sum(dim=1)
        softer = torch.lerp(predicted, self.labels, LABEL_SHARE)
        targets = torch.where(labelled[:, None] > 0, softer, targets)
        sure, every = _sure(targets, labelled, self.prior), torch.ones_like(labelled)
        return Targets(self.labels, self.prior, targets, every, sure, predicted, refreshes)

    def state(self) -> dict[str, Tensor]:
        """Returns all of it, for a checkpoint."""
        state: dict[str, Tensor] = {name: getattr(self, name) for name in STATE}
        return {**state, "refreshes": torch.tensor(self.refreshes)}

    @staticmethod
    def from_state(state: dict[str, Tensor]) -> Targets:
        """Returns the targets of a `state`; other entries in it are ignored."""
        kept = {name: state[name].clone() for name in STATE}
        return Targets(**kept, refreshes=int(state["refreshes"]))


def aligned(predictions: Tensor, prior: Tensor) -> Tensor:
    """Returns probabilities scaled so that classes are as frequent as in the prior (ReMixMatch).

    Args:
        predictions: probabilities of all images, (N, classes).
        prior: (classes,).
    """
    scaled = predictions * (prior / predictions.mean(dim=0).clamp(min=1e-6))
    return scaled / scaled.sum(dim=1, keepdim=True).clamp(min=1e-12)


def _sure(targets: Tensor, labelled: Tensor, prior: Tensor) -> Tensor:
    """Returns 1 for targets of more than usual confidence, and for labels, else 0, (N,).

    A class that is predicted less often than the prior says has a lower threshold (FreeMatch: Wang
    et al., ICLR 2023, equations 5 to 8).
    """
    confidence, best = targets.max(dim=1)
    balance = targets.mean(dim=0) / prior
    needed = confidence.mean() * (balance / balance.max())[best]
    return torch.maximum((confidence >= needed).float(), labelled)
