"""What the accuracy predictor learns from: a few hundred subnets, tested on the host.

Where labels are few, accuracy on them is mostly noise. How far a subnet is from the largest on
unlabelled images is not; so accuracy is taken as a line of that divergence, and the labels, all
subnets together, set its level and slope.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tofa_edge.accuracy import AccuracyPredictor, fit_accuracy
from tofa_edge.cutting import CALIBRATION_IMAGES
from tofa_edge.network import FloatArray, ImageArray, Preprocessing
from tofa_edge.search import decoded, distinct, sample
from tofa_edge.space import SearchSpace
from tofa_edge.train.evaluate import log_softmax, subnet_logits
from tofa_edge.weights import Arrays

SECONDS = 1.0  # for each subnet, about: images are left out to keep it
LEAST_IMAGES, MOST_IMAGES = 200, 2000
TRUSTED_LABELS = 1000  # from so many on, half of what is learned is accuracy on them itself

OnSubnet = Callable[[int, int, float], None]


def accuracy_predictor(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    unlabelled: ImageArray,
    images: ImageArray,
    labels: NDArray[np.int64],
    count: int,
    seed: int,
    on_subnet: OnSubnet = lambda number, count, seconds: None,
) -> AccuracyPredictor:
    """Returns a predictor fitted to `count` subnets of all sizes.

    Args:
        space: of the supernet.
        arrays: its averaged weights.
        preprocessing: of every subnet.
        unlabelled: images in mixed order, uint8, (M, S, S, 3); the first calibrate BatchNorm.
        images: labelled images that were not trained on, uint8, (L, S, S, 3); a few at least.
        labels: of these, (L,).
        count: of subnets.
        seed: of their sample.
        on_subnet: called after each, with its number, the count and the seconds so far.
    """
    rng = np.random.default_rng(seed)
    encodings = distinct(space, sample(space, rng, count))
    used = _affordable(space, arrays, preprocessing, unlabelled)
    unlabelled, images, labels = unlabelled[:used], images[:used], labels[:used]
    together = np.concatenate([unlabelled, images])
    seen, split = unlabelled[:CALIBRATION_IMAGES], len(unlabelled)
    begun = time.perf_counter()
    target: FloatArray | None = None
    divergences, accuracies = [], []
    for number, subnet in enumerate([space.largest(), *decoded(space, encodings)]):
        logits = subnet_logits(space, subnet, arrays, preprocessing, seen, together)
        logs = log_softmax(logits[:split])
        target = logs if target is None else target
        divergences.append(float((np.exp(target) * (target - logs)).sum(axis=1).mean()))
        accuracies.append(float((logits[split:].argmax(axis=1) == labels).mean()))
        on_subnet(number, len(encodings), time.perf_counter() - begun)
    expected = expected_accuracies(np.array(divergences), np.array(accuracies), len(labels))
    return fit_accuracy(space, encodings, expected[1:])


def expected_accuracies(
    divergences: NDArray[np.float64], accuracies: NDArray[np.float64], labels: int
) -> NDArray[np.float64]:
    """Returns accuracies cleared of most of the noise of few labels, 0..1, (N,).

    Args:
        divergences: from the largest subnet, nats, (N,); less is better.
        accuracies: on the labelled images, 0..1, (N,).
        labels: how many these are.
    """
    design = np.stack([np.ones_like(divergences), divergences, np.sqrt(divergences)], axis=1)
    line = design @ np.linalg.lstsq(design, accuracies, rcond=None)[0]
    trust = 0.5 * min(1.0, labels / TRUSTED_LABELS)
    blended: NDArray[np.float64] = np.clip(trust * accuracies + (1 - trust) * line, 0, 1)
    return blended


def _affordable(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    images: ImageArray,
) -> int:
    """Returns how many images each subnet can be tested on in the time there is."""
    few = images[:64]
    begun = time.perf_counter()
    subnet_logits(space, space.middle(), arrays, preprocessing, few, few)
    per_image = (time.perf_counter() - begun) / len(few) / 2
    return int(np.clip(SECONDS / per_image / 2, LEAST_IMAGES, MOST_IMAGES))
