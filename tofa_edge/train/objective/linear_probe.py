"""A linear probe on a network's features: the baseline, the first targets, the first classifier.

Training all subnets starts from what the pretrained features already tell: a logistic regression
with a few rounds of self-training on the unlabelled images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import Subnet
from tofa_edge.train.data.augment import resize
from tofa_edge.train.objective.standardisation import centre_and_deviation
from tofa_edge.train.supernet.supernet import Supernet

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

    def probabilities(self, features: Tensor) -> Tensor:
        """Returns probabilities, float32, (N, classes), of features (N, channels).

        Args:
            features: float32.
        """
        return F.linear(features, self.weight, self.bias).softmax(dim=1)


def features(
    supernet: Supernet, subnet: Subnet, images: ImageArray, statistics: str = "batch"
) -> Tensor:
    """Returns what a subnet's classifier reads of images, float32, (N, channels).

    Args:
        images: uint8, (N, S, S, 3), in mixed order: BatchNorm sees them 256 at a time.
    """
    device = next(supernet.parameters()).device
    last = next(layer for layer in layers(supernet.space, subnet) if layer.name == LOGITS)
    found = []
    with torch.no_grad():
        for part in np.array_split(images, max(1, round(len(images) / BATCH))):
            pixels = torch.from_numpy(part).to(device).permute(0, 3, 1, 2).float()
            pixels = resize(pixels, subnet.resolution)
            kind = "stored" if statistics == "stored" else "batch"
            (pooled,) = supernet(pixels, subnet, statistics=kind, outputs=last.inputs)
            found.append(pooled.flatten(1).float())
    return torch.cat(found)


def fit_linear_probe(
    seen: Tensor,
    labels: IndexArray,
    classes: int,
    rounds: int = SELF_TRAINING_ROUNDS,
    shares: Tensor | None = None,
) -> Probe:
    """Fits a probe to labelled features, then again with its own predictions of the others.

    Each round takes, for every class, the surest share of the unlabelled images, growing from
    round to round (curriculum labelling: Cascante-Bonilla et al., AAAI 2021).

    Args:
        seen: features of all images, float32, (N, channels).
        labels: class indices, −1 where unlabelled, (N,).
        classes: how many.
        rounds: of self-training; 0 uses the labels alone.
        shares: how frequent each class is among the unlabelled images, (classes,), where labels
            do not tell: they count as if they were so. None takes the labels' own.
    """
    mean, deviation = centre_and_deviation(seen)
    standard = (seen - mean) / deviation / seen.shape[1] ** 0.5
    known = torch.from_numpy(labels).to(seen.device)
    labelled = known >= 0
    targets = torch.zeros(len(seen), classes, device=seen.device)
    targets[labelled] = F.one_hot(known[labelled], classes).float()
    weights = labelled.float()
    prior = (targets[labelled].sum(dim=0) + 1) / (labelled.sum() + classes)
    if shares is not None:
        shares = shares.to(seen)
        weights[labelled] = (shares / prior)[known[labelled]]
        prior = shares
    weight, bias = _regression(standard, targets, weights)
    unlabelled = torch.nonzero(~labelled).flatten()
    for number in range(rounds if len(unlabelled) else 0):
        guesses = (standard[unlabelled] @ weight.T + bias).softmax(dim=1)
        share = (number + 1) / (rounds + 1)
        targets[unlabelled] = guesses
        weights[unlabelled] = 0.0
        for index in range(classes):
            quota = max(1, int(share * float(prior[index]) * len(unlabelled)))
            surest = guesses[:, index].topk(min(quota, len(unlabelled))).indices
            mine = surest[guesses[surest].argmax(dim=1) == index]
            targets[unlabelled[mine]] = F.one_hot(torch.tensor(index), classes).float().to(seen)
            weights[unlabelled[mine]] = TRUST
        weight, bias = _regression(standard, targets, weights, (weight, bias))
    scale = deviation * seen.shape[1] ** 0.5
    folded = weight / scale
    return Probe(folded, bias - folded @ mean)


def fit_to(seen: Tensor, said: Tensor) -> Probe:
    """Fits a probe to probabilities instead of labels.

    Args:
        seen: features, (N, channels).
        said: probabilities, (N, classes).
    """
    mean, deviation = centre_and_deviation(seen)
    scale = deviation * seen.shape[1] ** 0.5
    weight, bias = _regression((seen - mean) / scale, said, torch.ones(len(seen)).to(seen))
    folded = weight / scale
    return Probe(folded, bias - folded @ mean)


def _regression(
    seen: Tensor, targets: Tensor, weights: Tensor, start: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    chosen = torch.nonzero(weights > 0).flatten()
    seen, targets, weights = seen[chosen], targets[chosen], weights[chosen]
    if start is None:
        classes = targets.shape[1]
        start = (torch.zeros(classes, seen.shape[1]), torch.zeros(classes))
    weight, bias = (value.to(seen).clone().requires_grad_() for value in start)
    solver = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        losses = -(targets * F.linear(seen, weight, bias).log_softmax(dim=1)).sum(dim=1)
        loss = (weights * losses).sum() / weights.sum()
        loss = loss + DECAY / seen.shape[1] * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def probe_accuracy(probe: Probe, seen: Tensor, labels: IndexArray) -> float:
    """Returns the share of features whose most probable class is their label, 0..1.

    Args:
        probe: what predicts.
        seen: features, float32, (N, channels).
        labels: class indices, (N,).
    """
    guesses = probe.probabilities(seen).argmax(dim=1).cpu().numpy()
    return float((guesses == labels).mean())


def as_arrays(probe: Probe) -> tuple[FloatArray, FloatArray]:
    """Returns weight and bias as numpy arrays."""
    weight: FloatArray = probe.weight.cpu().numpy()
    bias: FloatArray = probe.bias.cpu().numpy()
    return weight, bias
