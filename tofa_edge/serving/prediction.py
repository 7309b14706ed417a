"""The prediction for one image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tofa_edge.architecture.arrays import FloatArray

REMEMBERED_CALLS = 10_000


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one image.

    Attributes:
        logits: float32, (classes,).
        classes: names in the same order.
        temperature: that logits are divided by, fitted on validation photos, so that of all
            predictions made with a probability of 0.8 about 80 % are right.
        unknown_below: the least probability that counts as known.
    """

    logits: FloatArray
    classes: tuple[str, ...]
    temperature: float = 1.0
    unknown_below: float = 0.0

    @cached_property
    def index(self) -> int:
        """The number of the most probable class."""
        return int(self.logits.argmax())

    @property
    def label(self) -> str:
        """The name of the most probable class."""
        return self.classes[self.index]

    @property
    def known(self) -> bool:
        """Whether the most probable class is probable enough (`unknown_below`)."""
        return self.probability >= self.unknown_below

    @property
    def probability(self) -> float:
        """The probability of the most probable class, 0..1."""
        return float(self.probabilities[self.index])

    @cached_property
    def probabilities(self) -> FloatArray:
        """Softmax of the logits over the temperature, float32, (classes,)."""
        powers = np.exp((self.logits - self.logits.max()) / self.temperature)
        shares: FloatArray = powers / powers.sum()
        return shares

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """Returns the `count` most probable classes with their probabilities, best first."""
        best = np.argsort(-self.logits, kind="stable")[:count]
        return [(self.classes[index], float(self.probabilities[index])) for index in best]

    def __repr__(self) -> str:
        return f"Prediction({self.label!r}, {self.probability:.3f})"
