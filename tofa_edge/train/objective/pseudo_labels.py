"""Pseudo-labels: from a network's predictions of weak views to targets, and which to trust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

MEMORY = 0.99  # of the moving averages, per step
LEAST = 1e-6  # that a mean is divided by: a class may be nowhere in the first batches


@dataclass(eq=False)
class PseudoLabels:
    """Distribution alignment and self-adaptive thresholds, with their moving averages.

    The averages are of the batches alone, whatever they start from (the correction for bias of
    Adam: Kingma and Ba, ICLR 2015, section 3).

    Attributes:
        prior: how frequent each class is, (classes,).
        adaptive: whether the threshold follows the network's own confidence (FreeMatch: Wang et
            al., ICLR 2023, equations 5 to 8) or stays at FixMatch's 0.95.
        aligned: whether predictions are aligned to the prior (ReMixMatch: Berthelot et al., ICLR
            2020, section 3.1).
        across: averages a value over the processes of a distributed run.
    """

    prior: Tensor
    adaptive: bool = True
    aligned: bool = True
    across: Callable[[Tensor], Tensor] = lambda value: value
    _mean: Tensor = field(init=False)
    _confidence: Tensor = field(init=False)
    _weight: Tensor = field(init=False)

    def __post_init__(self) -> None:
        classes = len(self.prior)
        self._mean = torch.full((classes,), 1 / classes)
        self._confidence = torch.tensor(1 / classes)
        self._weight = torch.tensor(0.0)  # of all batches so far, 1 in the end

    @property
    def threshold(self) -> Tensor:
        """The confidence that a target needs, before its correction by class, a float32 scalar."""
        return self._confidence if self.adaptive else torch.tensor(0.95)

    def targets(
        self, predictions: Tensor, probe: Tensor | None = None, weight: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Returns targets, probabilities (U, classes), and a mask of 0 or 1, (U,).

        Args:
            predictions: the network's probabilities of the weak views, (U, classes).
            probe: initial pseudo-labels, (U, classes), that a target is mixed with.
            weight: of these in the mix.
        """
        device = predictions.device
        self._weight = MEMORY * self._weight + (1 - MEMORY)
        share = (1 - MEMORY) / self._weight  # of this batch: 1, 1/2, 1/3 … 1 - MEMORY
        average = self.across(predictions.mean(dim=0)).cpu()
        self._mean = torch.lerp(self._mean, average, share)
        if self.aligned:
            predictions = predictions * (self.prior / self._mean.clamp(min=LEAST)).to(device)
            predictions = predictions / predictions.sum(dim=1, keepdim=True)
        if probe is not None:
            predictions = weight * probe + (1 - weight) * predictions
        confidence, best = predictions.max(dim=1)
        sure = self.across(confidence.mean()).cpu()
        self._confidence = torch.lerp(self._confidence, sure, share)
        needed = torch.full_like(confidence, float(self.threshold))
        if self.adaptive:
            balance = self._mean / self.prior
            needed = needed * (balance / balance.max()).to(device)[best]
        return predictions, (confidence >= needed).float()

    def state(self) -> dict[str, Tensor]:
        """Returns the prior and the moving averages."""
        averages = {"mean": self._mean, "confidence": self._confidence, "weight": self._weight}
        return {"prior": self.prior, **averages}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Goes on from such a `state`."""
        self.prior = state.get("prior", self.prior).clone()
        self._mean, self._confidence = state["mean"].clone(), state["confidence"].clone()
        self._weight = state.get("weight", torch.tensor(1.0)).clone()
