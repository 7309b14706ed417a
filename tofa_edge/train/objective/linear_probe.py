"""A linear probe: logistic regression on a network's features, with self-training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.train.data.augment import resize
from tofa_edge.train.objective.features import Features, room_for_rows
from tofa_edge.train.objective.standardisation import centre_and_deviation
from tofa_edge.train.supernet.supernet import Statistics, Supernet

BATCH = 256
DECAY = 1e-2  # of the squared weights, on standardised features
SELF_TRAINING_ROUNDS = 3
TRUST = 0.5  # of an unlabelled image in self-training, beside a labelled one


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear classifier of features: logits = features @ weight.T + bias.

    Attributes:
        weight: float32, (classes, channels).
        bias: float32, (classes,).
    """

    weight: Tensor
    bias: Tensor

    def probabilities(self, features: Tensor | Features) -> Tensor:
        """Returns probabilities, float32, (N, classes), of `features`, (N, channels)."""
        return Features.of(features).linear(self.weight, self.bias).softmax(dim=1)


def subnet_features(
    supernet: Supernet,
    subnet: Subnet,
    images: ImageArray,
    statistics: Statistics = "batch",
    place: Path | None = None,
) -> Tensor:
    """Returns what a subnet's classifier reads of images, (N, channels), float32.

    The images, uint8, (N, S, S, 3), come in mixed order: BatchNorm sees them 256 at a time. Of very
    many, the features are float16 on disk, in the folder `place` (`features.room_for_rows`).
    """
    device = next(supernet.parameters()).device
    last = next(layer for layer in layers(supernet.space, subnet) if layer.name == LOGITS)
    found: Tensor | None = None
    done = 0
    with torch.no_grad():
        for part in np.array_split(images, max(1, round(len(images) / BATCH))):
            pixels = torch.from_numpy(part).to(device).permute(0, 3, 1, 2).float()
            pixels = resize(pixels, subnet.resolution)
            (pooled,) = supernet(pixels, subnet, statistics=statistics, outputs=last.inputs)
            rows = pooled.flatten(1).float()
            if found is None:
                found = room_for_rows(len(images), rows.shape[1], "features", place)
                found = found if found.dtype == torch.float16 else found.to(device)
            found[done : done + len(rows)] = rows
            done += len(rows)
    assert found is not None
    return found


@dataclass(frozen=True, eq=False)
class StandardFeatures:
    """Features in the form that a probe is fitted to.

    Attributes:
        values: (N, channels), or fewer columns that stand for them.
        channels: how many features had; weights are drawn to 0 the more, the fewer.
    """

    values: Features
    channels: int

    @classmethod
    def of(cls, features: Tensor | Features, mean: Tensor, deviation: Tensor) -> StandardFeatures:
        """Returns features, (N, channels), less their mean, by their deviation."""
        features = Features.of(features)
        divisor = deviation * features.channels**0.5
        return cls(features.standardised(mean, divisor), features.channels)


def fit_linear_probe(
    features: Tensor | Features,
    labels: IndexArray,
    classes: int,
    rounds: int = SELF_TRAINING_ROUNDS,
    prior: Tensor | None = None,
    decay: float = DECAY,
) -> Probe:
    """Fits a probe to labelled features, then again with its own predictions of the others.

    Each round takes, for every class, a growing part of the unlabelled images, the most confident
    ones first (curriculum labelling: Cascante-Bonilla et al., AAAI 2021).

    Args:
        features: of all images, float32, (N, channels).
        labels: class indices, −1 where unlabelled, (N,).
        classes: how many.
        rounds: of self-training; 0 uses the labels alone.
        prior: how frequent each class is among the unlabelled images, (classes,), where labels
            do not tell: they are weighted to be as frequent. None takes the labels' own.
        decay: of the squared weights, on standardised features.
    """
    mean, deviation = centre_and_deviation(features)
    standard = StandardFeatures.of(features, mean, deviation)
    weight, bias = self_trained(standard, labels, classes, rounds, prior, decay)
    return _on_raw_features(weight, bias, mean, deviation)


def self_trained(
    standard: StandardFeatures,
    labels: IndexArray,
    classes: int,
    rounds: int,
    prior: Tensor | None,
    decay: float,
) -> tuple[Tensor, Tensor]:
    """Returns weight, (classes, columns), and bias of a probe of features in standard form.

    See `fit_linear_probe`.
    """
    values = standard.values
    known = torch.from_numpy(labels).to(values.device)
    labelled = known >= 0
    targets = torch.zeros(len(values), classes, device=values.device)
    targets[labelled] = F.one_hot(known[labelled], classes).float()
    weights = labelled.float()
    own = (targets[labelled].sum(dim=0) + 1) / (labelled.sum() + classes)
    if prior is not None:
        prior = prior.to(targets)
        weights[labelled] = (prior / own)[known[labelled]]
    weight, bias = _regression(standard, targets, weights, decay)
    unlabelled = torch.nonzero(~labelled).flatten()
    for number in range(rounds if len(unlabelled) else 0):
        guesses = values.take(unlabelled).linear(weight, bias).softmax(dim=1)
        part = (number + 1) / (rounds + 1)
        frequencies = own if prior is None else prior
        targets[unlabelled], weights[unlabelled] = _most_confident(guesses, part, frequencies)
        weight, bias = _regression(standard, targets, weights, decay, (weight, bias))
    return weight, bias


def fit_to(features: Tensor | Features, probabilities: Tensor) -> Probe:
    """Fits a probe of features, (N, channels), to probabilities instead of labels."""
    mean, deviation = centre_and_deviation(features)
    standard = StandardFeatures.of(features, mean, deviation)
    weights = torch.ones(len(features)).to(probabilities)
    weight, bias = _regression(standard, probabilities, weights)
    return _on_raw_features(weight, bias, mean, deviation)


def stratified_folds(labels: IndexArray, classes: int, folds: int) -> IndexArray:
    """Returns the fold of each label, (N,), as even over each class as can be."""
    rng, fold = np.random.default_rng(0), np.empty(len(labels), np.int64)
    for index in range(classes):
        mine = rng.permutation(np.flatnonzero(labels == index))
        fold[mine] = np.arange(len(mine)) % folds
    return fold


def _most_confident(guesses: Tensor, part: float, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Returns targets, (N, classes), and weights, 0 but for rows surely of their class, (N,).

    Of each class a part of as many rows as there should be by the prior.
    """
    targets, weights = guesses.clone(), torch.zeros_like(guesses[:, 0])
    for index, frequency in enumerate(prior.tolist()):
        quota = max(1, int(part * frequency * len(guesses)))
        best = guesses[:, index].topk(min(quota, len(guesses))).indices
        rows = best[guesses[best].argmax(dim=1) == index]
        targets[rows] = torch.eye(len(prior)).to(guesses)[index]
        weights[rows] = TRUST
    return targets, weights


def _on_raw_features(weight: Tensor, bias: Tensor, mean: Tensor, deviation: Tensor) -> Probe:
    folded = weight / (deviation * len(mean) ** 0.5)
    return Probe(folded, bias - folded @ mean)


def _regression(
    standard: StandardFeatures,
    targets: Tensor,
    weights: Tensor,
    decay: float = DECAY,
    start: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    chosen = torch.nonzero(weights > 0).flatten()
    values, targets, weights = standard.values.take(chosen), targets[chosen], weights[chosen]
    if start is None:
        classes = targets.shape[1]
        start = (torch.zeros(classes, values.channels), torch.zeros(classes))
    weight, bias = (value.to(targets).clone().requires_grad_() for value in start)
    total = weights.sum()
    solver = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = decay / standard.channels * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        for places, block in values.blocks():
            logs = F.linear(block, weight, bias).log_softmax(dim=1)
            losses = -(targets[places] * logs).sum(dim=1)
            part = (weights[places] * losses).sum() / total
            part.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach() + part.detach()
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def probe_accuracy(probe: Probe, features: Tensor | Features, labels: IndexArray) -> float:
    """Returns the accuracy on `features`, float32, (N, channels), of `labels`, (N,)."""
    guesses = probe.probabilities(features).argmax(dim=1).cpu().numpy()
    return float((guesses == labels).mean())
