"""The class prior: how frequent each class is among the unlabelled images.

People often label as many images of each class, whatever the world is like: 100 intact and 100
broken parts where one in three is broken. Pseudo-labels aligned to such a prior teach the wrong
thing to all subnets. A classifier's predictions of the unlabelled images, corrected by its
confusion matrix, tell the true one (label shift: Saerens et al., Neural Computation 2002; with the
confusion matrix: Lipton et al., ICML 2018).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import DoubleArray, IndexArray
from tofa_edge.train.objective.linear_probe import fit_linear_probe, stratified_folds

LEAST_LABELS = 20  # of the rarest class: below, the confusion matrix is a guess
FOLDS = 5
RESAMPLED = 200
ROUNDS = 300  # of expectation-maximisation, which need a matrix product each


def labelled_prior(labels: IndexArray, classes: int) -> Tensor:
    """Returns how frequent each class is among the labels, plus one of each, (classes,)."""
    counts = torch.from_numpy(np.bincount(labels[labels >= 0], minlength=classes) + 1.0).float()
    return counts / counts.sum()


def class_prior(features: Tensor, labels: IndexArray, classes: int) -> Tensor:
    """Returns how frequent each class is among the unlabelled images.

    The estimate shrinks to the frequencies among the labels as far as resampled labels say that
    its distance to them is chance (James and Stein's rule); with fewer than 20 labels of a class,
    or nothing unlabelled, it is those.

    Args:
        features: of all images, float32, (N, channels).
        labels: class indices, int64, −1 where unlabelled, (N,).
        classes: how many.

    Returns:
        frequencies, float32, (classes,).
    """
    expected = labelled_prior(labels, classes)
    places = np.flatnonzero(labels >= 0)
    truth = labels[places]
    if len(places) == len(labels) or np.bincount(truth, minlength=classes).min() < LEAST_LABELS:
        return expected
    predicted = _predicted_unseen(features, labels, classes)
    unlabelled = features[torch.from_numpy(np.flatnonzero(labels < 0)).to(features.device)]
    probe = fit_linear_probe(features, labels, classes, rounds=0)
    best = probe.probabilities(unlabelled).argmax(dim=1).cpu()
    observed = F.one_hot(best, classes).double().mean(dim=0)
    weights = torch.from_numpy(np.vstack([np.ones(len(truth)), _resampled(truth, classes)]))
    confusions = _confusions(predicted, torch.from_numpy(truth), weights, classes)
    priors = _likeliest_priors(observed, confusions)
    distance = float((priors[0] - expected).square().sum())
    chance = float(priors[1:].var(dim=0).sum())
    kept = max(0.0, 1 - chance / max(distance, 1e-12))
    return expected + kept * (priors[0].float() - expected)


def _predicted_unseen(features: Tensor, labels: IndexArray, classes: int) -> Tensor:
    """Returns a probe's prediction of each labelled image, fitted without it, (L,)."""
    places = np.flatnonzero(labels >= 0)
    fold = stratified_folds(labels[places], classes, FOLDS)
    known = torch.from_numpy(places).to(features.device)
    predicted = torch.zeros(len(places), dtype=torch.int64)
    for number in range(FOLDS):
        held = fold == number
        tested, fitted_to = (known[torch.from_numpy(part)] for part in (held, ~held))
        probe = fit_linear_probe(features[fitted_to], labels[places[~held]], classes, rounds=0)
        predicted[held] = probe.probabilities(features[tested]).argmax(dim=1).cpu()
    return predicted


def _resampled(truth: IndexArray, classes: int) -> DoubleArray:
    """Returns how often each labelled image is drawn within its class, (RESAMPLED, L)."""
    rng, weights = np.random.default_rng(0), np.zeros((RESAMPLED, len(truth)))
    for index in range(classes):
        mine = np.flatnonzero(truth == index)
        even = np.full(len(mine), 1 / len(mine))
        weights[:, mine] = rng.multinomial(len(mine), even, size=RESAMPLED)
    return weights


def _confusions(predicted: Tensor, truth: Tensor, weights: Tensor, classes: int) -> Tensor:
    """Returns how often a class is predicted as another, (B, predicted, true).

    Each image, (L,), has a weight in each of the matrices, (B, L).
    """
    one, other = (F.one_hot(value, classes).double() for value in (predicted, truth))
    counts = torch.einsum("bl,ln,lt->bnt", weights, one, other) + 1 / classes
    return counts / counts.sum(dim=1, keepdim=True)


def _likeliest_priors(observed: Tensor, confusions: Tensor) -> Tensor:
    """Returns the priors under which the observed predictions are likeliest, (B, classes)."""
    priors = torch.full(confusions.shape[::2], 1 / len(observed), dtype=torch.float64)
    for _ in range(ROUNDS):
        mixed = torch.einsum("bnt,bt->bn", confusions, priors)
        priors = priors * torch.einsum("bnt,bn->bt", confusions, observed / mixed)
        priors = priors / priors.sum(dim=1, keepdim=True)
    return priors
