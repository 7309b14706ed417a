"""Pseudo-labels: from a network's predictions of weak views to targets, and which to trust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

MEMORY = 0.99  # of the moving averages, per step


@dataclass(eq=False)
class PseudoLabels:
    """Distribution alignment and self-adaptive thresholds, with their moving averages.

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

    def __post_init__(self) -> None:
        classes = len(self.prior)
        self._mean = torch.full((classes,), 1 / classes)
        self._confidence = torch.tensor(1 / classes)

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
        average = self.across(predictions.mean(dim=0)).cpu()
        self._mean = MEMORY * self._mean + (1 - MEMORY) * average
        if self.aligned:
            predictions = predictions * (self.prior / self._mean).to(device)
            predictions = predictions / predictions.sum(dim=1, keepdim=True)
        if probe is not None:
            predictions = weight * probe + (1 - weight) * predictions
        confidence, best = predictions.max(dim=1)
        sure = self.across(confidence.mean()).cpu()
        self._confidence = MEMORY * self._confidence + (1 - MEMORY) * sure
        needed = torch.full_like(confidence, float(self.threshold))
        if self.adaptive:
            balance = self._mean / self.prior
            needed = needed * (balance / balance.max()).to(device)[best]
        return predictions, (confidence >= needed).float()

    def state(self) -> dict[str, Tensor]:
        """Returns the prior and the moving averages."""
        return {"prior": self.prior, "mean": self._mean, "confidence": self._confidence}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Goes on from such a `state`."""
        self.prior = state.get("prior", self.prior).clone()
        self._mean, self._confidence = state["mean"].clone(), state["confidence"].clone()
