"""A classifier of a subnet's own: the shared one, moved a little towards targets.

All subnets share one classifier, which fits no subnet's features exactly. Logistic regression on
the features of one subnet mends that; it is drawn towards the shared one, and refused where
photos it has not seen do not confirm it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import FloatArray
from tofa_edge.train.objective.standardisation import centre_and_deviation

FOLDS = 3
STRENGTHS = (1e-3, 1e-2, 1e-1)  # of the squared change of weights, on standardised features
STEPS = 12  # of L-BFGS: it starts from the shared one, near the end
MARGIN = 0.002  # of agreement with targets: less is not worth its bytes
SURE = 2.0  # standard errors that the gain must exceed


@dataclass(frozen=True, eq=False)
class OwnClassifier:
    """A classifier fitted to one subnet.

    Attributes:
        weight: float32, (classes, channels).
        bias: float32, (classes,).
        gain: by which its predictions agree more with the targets of photos that it was not
            fitted to, 0..1.
    """

    weight: FloatArray
    bias: FloatArray
    gain: float


@dataclass(frozen=True, eq=False)
class _Problem:
    """Standardised features, (N, channels), targets, (N, classes), and the shared logits."""

    features: Tensor
    targets: Tensor
    logits: Tensor

    def take(self, chosen: Tensor) -> _Problem:
        return _Problem(self.features[chosen], self.targets[chosen], self.logits[chosen])

    def moved(self, change: tuple[Tensor, Tensor]) -> Tensor:
        """Returns logits with a change of weights, (classes, channels), and biases."""
        return self.logits + F.linear(self.features, *change)

    def errors(self, logits: Tensor) -> Tensor:
        """Returns the cross-entropy of each photo, (N,)."""
        return -(self.targets * logits.log_softmax(dim=1)).sum(dim=1)

    def agreement(self, logits: Tensor) -> Tensor:
        """Returns the probability of each prediction among the targets, (N,)."""
        return self.targets.gather(1, logits.argmax(dim=1, keepdim=True)).squeeze(1)

    def fit(self, strength: float) -> tuple[Tensor, Tensor]:
        """Returns the change of weights and biases of the least penalised cross-entropy."""
        sizes = self.targets.shape[1], self.features.shape[1]
        weight = torch.zeros(sizes, requires_grad=True)
        bias = torch.zeros(sizes[0], requires_grad=True)
        solver = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            solver.zero_grad()
            loss = self.errors(self.moved((weight, bias))).mean()
            loss = loss + strength * (weight.square().sum() + bias.square().sum()) / sizes[1]
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        solver.step(closure)  # type: ignore[no-untyped-call]
        return weight.detach(), bias.detach()


def own_classifier(
    features: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    bias: FloatArray,
    temperature: float = 1.0,
) -> OwnClassifier | None:
    """Returns a classifier of the subnet's own; None where it is not surely better.

    Its strength is the one of the least cross-entropy over folds.

    Args:
        features: what the subnet's classifier reads, in mixed order, float32, (N, channels).
        targets: probabilities, float32, (N, classes).
        weight: of the shared classifier, float32, (classes, channels).
        bias: of the shared classifier, float32, (classes,).
        temperature: that calibrates logits, before and afterwards.
    """
    if len(features) < 2 * FOLDS:
        return None
    problem, mean, scale = _standardised(features, targets, weight, bias, temperature)
    strength, gained = _cross_validated(problem)
    gain, error = float(gained.mean()), float(gained.std() / np.sqrt(len(gained)))
    if not strength or gain <= max(MARGIN, SURE * error):
        return None
    moved, shift = (temperature * value.numpy() for value in problem.fit(strength))
    moved = moved / scale
    own: FloatArray = (weight + moved).astype(np.float32)
    return OwnClassifier(own, (bias + shift - moved @ mean).astype(np.float32), gain)


def _cross_validated(problem: _Problem) -> tuple[float, FloatArray]:
    """Returns the strength of the least cross-entropy over folds, 0 for the shared classifier.

    And by how much the agreement of each photo exceeds the shared classifier's, (N,).
    """
    count = len(problem.features)
    folds, shared = torch.arange(count) % FOLDS, problem.agreement(problem.logits)
    best: tuple[float, float, Tensor] = (float(problem.errors(problem.logits).mean()), 0.0, shared)
    for strength in STRENGTHS:
        error, agreement = 0.0, torch.zeros(count)
        for fold in range(FOLDS):
            held = problem.take(torch.nonzero(folds == fold).flatten())
            change = problem.take(torch.nonzero(folds != fold).flatten()).fit(strength)
            logits = held.moved(change)
            error += float(held.errors(logits).sum()) / count
            agreement[folds == fold] = held.agreement(logits)
        best = min(best, (error, strength, agreement), key=lambda found: found[0])
    gained: FloatArray = (best[2] - shared).numpy()
    return best[1], gained


def _standardised(
    features: FloatArray,
    targets: FloatArray,
    weight: FloatArray,
    bias: FloatArray,
    temperature: float,
) -> tuple[_Problem, FloatArray, FloatArray]:
    """Returns the problem, and mean and scale, (channels,), of the features as they are."""
    raw = torch.from_numpy(features)
    mean, deviation = centre_and_deviation(raw)
    scale = deviation * features.shape[1] ** 0.5
    logits = torch.from_numpy((features @ weight.T + bias) / np.float32(temperature))
    problem = _Problem((raw - mean) / scale, torch.from_numpy(targets), logits)
    return problem, mean.numpy(), scale.numpy()
