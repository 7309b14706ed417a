"""What rounding to 8-bit integers or bf16 costs a network in accuracy, by the bundle's own images.

Two estimates. On all images, without labels: where the rounded network predicts another class, the
float network's calibrated probabilities tell what that costs on average. On the check images, with
labels: those that one of the two alone gets right (McNemar's pairs). A network is refused if by the
first it loses more than allowed, or by the second with 95 % confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS, Layer
from tofa_edge.backends.protocol import Engine, Session
from tofa_edge.bundle.bundle import Bundle
from tofa_edge.cutting.calibration import batches, outputs_of
from tofa_edge.cutting.cutter import Cutter
from tofa_edge.measurement.order_statistics import wilson
from tofa_edge.network.network import Network

ONE_SIDED_95 = 1.645  # standard deviations
TWO_SIDED_95 = 1.96


@dataclass(frozen=True, slots=True)
class Drop:
    """What a rounded network loses against the same in float32.

    Attributes:
        images: that both classified.
        alike: of these, in the same class.
        expected: loss of accuracy by the float network's probabilities, 0..1.
        expected_error: its standard error.
        checked: images with labels among them.
        lost: of these, right in float32 alone.
        won: of these, right in integers alone.
    """

    images: int
    alike: int
    expected: float
    expected_error: float
    checked: int = 0
    lost: int = 0
    won: int = 0

    @property
    def measured(self) -> tuple[float, float]:
        """The loss on the check images and its standard error; infinite where there are none."""
        if not self.checked:
            return 0.0, float("inf")
        loss = (self.lost - self.won) / self.checked
        pairs = self.lost + self.won
        variance = max(pairs / self.checked - loss**2, 1 / self.checked) / self.checked
        return loss, float(np.sqrt(variance))

    def refusal(self, allowed: float | None) -> str:
        """Returns why the network must not be used; empty where it may.

        A loss of so much accuracy is `allowed`, 0..1; None is any.
        """
        if allowed is None:
            return ""
        loss, error = self.measured
        if self.expected > allowed or loss - ONE_SIDED_95 * error > allowed:
            return f"rounding costs more than {100 * allowed:g} points: {self}"
        return ""

    def __str__(self) -> str:
        low, high = wilson(self.alike, self.images)
        loss, error = self.measured
        checked = f"; on {self.checked} check photos {_points(loss, error)} points"
        return (
            f"the same class as in float32 on {self.alike} of {self.images} photos "
            f"({low:.0%} to {high:.0%}), which costs {_points(self.expected, self.expected_error)} "
            f"points of accuracy{checked if self.checked else ''}"
        )


def drop(
    exact: FloatArray, rounded: FloatArray, temperature: float, labels: IndexArray | None = None
) -> Drop:
    """Compares the logits of a network in float32 and in integers.

    Args:
        exact: float32, (N, classes).
        rounded: of the same images, (N, classes).
        temperature: that logits are divided by for calibrated probabilities.
        labels: of the last images, (L,), L ≤ N.
    """
    first, second = exact.argmax(axis=1), rounded.argmax(axis=1)
    shares = softmax(exact / np.float32(temperature))
    rows = np.arange(len(exact))
    costs = shares[rows, first] - shares[rows, second]
    known = np.zeros(0, np.int64) if labels is None else labels
    start = len(exact) - len(known)
    right, still = first[start:] == known, second[start:] == known
    return Drop(
        images=len(exact),
        alike=int((first == second).sum()),
        expected=float(costs.mean()),
        expected_error=float(costs.std() / np.sqrt(len(costs))),
        checked=len(known),
        lost=int((right & ~still).sum()),
        won=int((still & ~right).sum()),
    )


def softmax(values: FloatArray) -> FloatArray:
    """Returns the probabilities, (N, classes), of `values`: logits over the temperature."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def logits_of(network: Network, engine: Engine, images: ImageArray) -> FloatArray:
    """Returns what an engine computes for images, uint8, (N, S, S, 3): (N, classes).

    Raises:
        BackendError: it refuses the network, or fails.
    """
    return outputs_of(network, engine, images, LOGITS)


def logits_by(session: Session, network: Sequence[Layer], images: ImageArray) -> FloatArray:
    """Returns what a loaded network computes for images, uint8, (N, S, S, 3): (N, classes).

    They go through in batches that the activations of the `network`'s layers decide.
    """
    parts = batches(images, network)
    return np.concatenate([session.run(part)[LOGITS] for part in parts])


def photos_of(bundle: Bundle, cutter: Cutter, size: int) -> tuple[ImageArray, IndexArray]:
    """Returns all images of a bundle at a `size`, those with labels last, and these labels."""
    check, labels = bundle.check_images(size)
    return np.concatenate([cutter.images(size), check]), labels


def _points(loss: float, error: float) -> str:
    low, high = loss - TWO_SIDED_95 * error, loss + TWO_SIDED_95 * error
    return f"{100 * loss:.1f} ({100 * low:.1f} to {100 * high:.1f})"
