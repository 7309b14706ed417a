"""The class prior: how frequent each class is among the unlabelled images.

People often label as many images of each class, whatever the world is like: 100 intact and 100
broken parts where one in three is broken. Pseudo-labels aligned to such a prior teach the wrong
thing to all subnets. The prior under which a classifier's calibrated predictions of the unlabelled
images are likeliest is found by expectation-maximisation (Saerens et al., Neural Computation 2002).
A calibrated classifier matters more than any refinement of that (Alexandari et al., "Maximum
Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation", ICML 2020).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tofa_edge.architecture.arrays import IndexArray
from tofa_edge.train.objective.features import Features
from tofa_edge.train.objective.linear_probe import fit_linear_probe, stratified_folds

LEAST_LABELS = 3  # of the rarest class: with fewer, the labels' frequencies serve
LABELS_OF_EQUAL_WEIGHT = 5  # of the rarest class: the estimate and the labels' own count alike
FOLDS = 5
TEMPERATURES = torch.logspace(0, 1, 21, dtype=torch.float64)  # a probe is never too timid
ROUNDS = 100  # of expectation-maximisation


def labelled_prior(labels: IndexArray, classes: int) -> Tensor:
    """Returns how frequent each class is among the labels, plus one of each, (classes,)."""
    counts = torch.from_numpy(np.bincount(labels[labels >= 0], minlength=classes) + 1.0).float()
    return counts / counts.sum()


def class_prior(features: Tensor | Features, labels: IndexArray, classes: int) -> Tensor:
    """Returns how frequent each class is among the unlabelled images.

    In each round of expectation-maximisation the frequencies among the labels count as much as
    five labels of the rarest class would: few labels calibrate badly, and the estimate stays near
    these. With fewer than three labels of a class, or nothing unlabelled, it is these.

    Args:
        features: of all images, float32, (N, channels).
        labels: class indices, int64, −1 where unlabelled, (N,).
        classes: how many.

    Returns:
        frequencies, float32, (classes,).
    """
    expected = labelled_prior(labels, classes)
    places = np.flatnonzero(labels >= 0)
    fewest = int(np.bincount(labels[places], minlength=classes).min())
    if len(places) == len(labels) or fewest < LEAST_LABELS:
        return expected
    features = Features.of(features)
    unlabelled = torch.from_numpy(np.flatnonzero(labels < 0))
    probe = fit_linear_probe(features, labels, classes, rounds=0)
    logits = features.take(unlabelled).linear(probe.weight, probe.bias).cpu().double()
    predicted = (logits / _temperature(features, labels, classes)).softmax(dim=1)
    trust = fewest / (fewest + LABELS_OF_EQUAL_WEIGHT)
    return _likeliest_prior(predicted, expected.double(), trust).float()


def _temperature(features: Features, labels: IndexArray, classes: int) -> float:
    """Returns what the logits of a probe are to be divided by, by cross-validation on the labels.

    Of unseen images of which few of a kind are labelled, a probe is too sure (Guo et al., ICML
    2017).
    """
    places = np.flatnonzero(labels >= 0)
    fold = stratified_folds(labels[places], classes, FOLDS)
    known, truth = torch.from_numpy(places), torch.from_numpy(labels[places])
    losses = torch.zeros(len(TEMPERATURES), dtype=torch.float64)
    for held in (torch.from_numpy(fold == number) for number in range(FOLDS)):
        if held.any():
            kept = truth[~held].numpy()
            probe = fit_linear_probe(features.take(known[~held]), kept, classes, rounds=0)
            tested = features.take(known[held])
            logits = tested.linear(probe.weight, probe.bias).cpu().double()
            losses += torch.stack([
                F.cross_entropy(logits / temperature, truth[held], reduction="sum")
                for temperature in TEMPERATURES
            ])  # fmt: skip
    return float(TEMPERATURES[losses.argmin()])


def _likeliest_prior(predicted: Tensor, expected: Tensor, trust: float) -> Tensor:
    """Returns the prior under which predictions are likeliest, drawn to the `expected` one.

    Args:
        predicted: probabilities under the `expected` prior, (N, classes).
        expected: (classes,).
        trust: of the predictions, 0..1.
    """
    prior = expected
    for _ in range(ROUNDS):
        weighted = predicted * (prior / expected)
        found = (weighted / weighted.sum(dim=1, keepdim=True)).mean(dim=0)
        prior = trust * found + (1 - trust) * expected
    return prior
