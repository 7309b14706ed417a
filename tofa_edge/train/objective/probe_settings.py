"""How a linear probe is best fitted here, by cross-validation on the labels.

Self-training helps where classes are clusters of features, as with everyday photos, and harms where
neighbours share the make and not the defect, as with solar cells. Only labels can tell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.train.objective.features import Features
from tofa_edge.train.objective.label_spreading import Neighbours, spread
from tofa_edge.train.objective.linear_probe import (
    DECAY,
    SELF_TRAINING_ROUNDS,
    StandardFeatures,
    self_trained,
    stratified_folds,
)
from tofa_edge.train.objective.standardisation import centre_and_deviation

FOLDS = 5
LEAST_LABELS = 3  # of the rarest class: with fewer, the defaults serve
CHANNELS = 256  # that features are reduced to for the choice
IMAGES = 4000  # with a label, and as many without, that probes are fitted to for the choice
SUBSPACE_ITERATIONS = 2
DECAYS = (DECAY, 10 * DECAY)
ROUNDS = (0, SELF_TRAINING_ROUNDS)
LEAST_PROBABILITY = 1e-6  # that a loss counts


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How a probe is fitted.

    Attributes:
        rounds: of self-training; 0 uses the labels alone.
        decay: of the squared weights.
        spreads: whether label spreading corrects the probe's predictions.
    """

    rounds: int = SELF_TRAINING_ROUNDS
    decay: float = DECAY
    spreads: bool = True


DEFAULTS = ProbeSettings()
CHOICES = tuple(itertools.starmap(ProbeSettings, itertools.product(ROUNDS, DECAYS, (False, True))))


def choose_settings(
    features: Tensor | Features,
    labels: IndexArray,
    classes: int,
    prior: Tensor,
    neighbours: Neighbours,
) -> ProbeSettings:
    """Returns the settings of the least cross-validated log loss on the labels, in doubt the safer.

    With fewer than three labels of a class, the defaults. Features are reduced to about their
    first 256 principal components meanwhile.

    Args:
        features: of all images, float32, (N, channels), in mixed order.
        labels: class indices, int64, −1 where unlabelled, (N,).
        classes: how many.
        prior: how frequent each class is among the unlabelled images, (classes,).
        neighbours: of all images.
    """
    places = np.flatnonzero(labels >= 0)
    truth = torch.from_numpy(labels[places])
    counts = torch.bincount(truth, minlength=classes)
    if counts.min() < LEAST_LABELS:
        return DEFAULTS
    reduced, folds = _reduced(features), min(FOLDS, int(counts.min()))
    fold = stratified_folds(labels[places], classes, folds)
    losses = {settings: torch.zeros(len(places), dtype=torch.float64) for settings in CHOICES}
    for number in range(folds):
        held = torch.from_numpy(fold == number)
        kept = labels.copy()
        kept[places[fold == number]] = -1
        for settings, predicted in _predictions(reduced, kept, classes, prior, neighbours):
            right = predicted[places[fold == number]].cpu().gather(1, truth[held, None])[:, 0]
            losses[settings][held] = -right.double().clamp(min=LEAST_PROBABILITY).log()
    return _best(losses, (prior.cpu() / counts)[truth].double())


def _best(losses: Mapping[ProbeSettings, Tensor], weights: Tensor) -> ProbeSettings:
    """Returns the settings of the least mean of losses, (L,), weighted by (L,).

    Those that go without spreading, or that train themselves, have to be better by more than a
    standard error: few labels are often wrong by that, and self-training does the most harm.
    """
    share, choices = weights / weights.sum(), list(CHOICES)

    def least(some: Sequence[ProbeSettings]) -> ProbeSettings:
        return min(some, key=lambda settings: float(share @ losses[settings]))

    for is_risky in (lambda settings: not settings.spreads, lambda settings: settings.rounds > 0):
        safe, risky = ([s for s in choices if is_risky(s) == wanted] for wanted in (False, True))
        gain = losses[least(safe)] - losses[least(risky)]
        mean = share @ gain
        error = (share * (gain - mean)).norm()
        choices = risky if mean > error else safe
    return least(choices)


def _reduced(features: Tensor | Features) -> StandardFeatures:
    """Returns features in an orthonormal basis of about their first principal components.

    Subspace iteration from a random start (Halko et al., SIAM Review 2011, algorithm 4.4); weights
    that are drawn to 0 are so in any such basis.
    """
    standard = StandardFeatures.of(features, *centre_and_deviation(features))
    values = standard.values
    if min(len(values), values.channels) <= CHANNELS:
        return standard
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(values.channels, CHANNELS, generator=generator).to(values.device)
    for _ in range(SUBSPACE_ITERATIONS):
        products = [block.T @ (block @ basis) for _, block in values.blocks()]
        basis = torch.linalg.qr(sum(products[1:], start=products[0])).Q
    return StandardFeatures(Features.of(values.linear(basis.T)), standard.channels)


def _predictions(
    reduced: StandardFeatures,
    labels: IndexArray,
    classes: int,
    prior: Tensor,
    neighbours: Neighbours,
) -> Iterator[tuple[ProbeSettings, Tensor]]:
    """Yields each of the settings and its probabilities of all images, (N, classes)."""
    seen = np.concatenate([np.flatnonzero(known)[:IMAGES] for known in (labels >= 0, labels < 0)])
    part = StandardFeatures(reduced.values.take(torch.from_numpy(seen)), reduced.channels)
    for decay, rounds in itertools.product(DECAYS, ROUNDS):
        weight, bias = self_trained(part, labels[seen], classes, rounds, prior, decay)
        predicted = reduced.values.linear(weight, bias).softmax(dim=1)
        yield ProbeSettings(rounds, decay, False), predicted
        yield ProbeSettings(rounds, decay, True), spread(predicted, labels, neighbours)
