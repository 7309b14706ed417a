"""What the accuracy predictor is fitted to: a few hundred subnets, tested on the host.

Where labels are few, accuracy on them is mostly noise. How far a subnet is from the largest on
unlabelled images is not; so accuracy is taken as a line of that divergence, and the labels, all
subnets together, set its level and slope; or the level alone, where they are so few that subnets
would be the better the farther they are from the largest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray, FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.encodings import Encodings, decoded, distinct, encoded
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.network.network import Preprocessing
from tofa_edge.network.slicing import Arrays
from tofa_edge.prediction.accuracy import FITS, AccuracyPredictor, fit_accuracy
from tofa_edge.train.config import PREDICTOR, TESTING, OnStep, counted, counter, silent
from tofa_edge.train.run.subnet_accuracy import (
    MEASURED_ON,
    log_softmax,
    measured_costs,
    subnet_logits,
)

SECONDS = 1.0  # for each subnet, about: images are left out to keep it
LEAST_IMAGES, MOST_IMAGES = 200, 2000
TRUSTED_LABELS = 1000  # from so many on, half of what is learned is accuracy on them itself


@dataclass(frozen=True, eq=False)
class Tested:
    """What M subnets did.

    Attributes:
        space: of the supernet.
        encodings: of the subnets, (M, genes).
        divergences: mean Kullback-Leibler divergence from the largest subnet on unlabelled images,
            nats, (M,).
        right: whether each labelled image was classified right, (M, L).
    """

    space: SearchSpace
    encodings: Encodings
    divergences: DoubleArray
    right: NDArray[np.bool_]

    def predictor(self, on_step: OnStep = silent) -> AccuracyPredictor:
        """Returns an accuracy predictor fitted to them."""
        accuracies = self.right.mean(axis=1)
        expected = expected_accuracies(self.divergences, accuracies, self.right.shape[1])
        count = counter(PREDICTOR, FITS, on_step)
        return fit_accuracy(self.space, self.encodings, expected, count)


def evaluate_subnets(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    unlabelled: ImageArray,
    images: ImageArray,
    labels: IndexArray,
    count: int,
    seed: int,
    on_step: OnStep = silent,
) -> Tested:
    """Tests subnets of all sizes; the largest is among them.

    Args:
        space: of the supernet.
        arrays: its averaged weights.
        preprocessing: of every subnet.
        unlabelled: images in mixed order, uint8, (M, S, S, 3); the first calibrate BatchNorm.
        images: labelled images that were not trained on, uint8, (L, S, S, 3); a few at least.
        labels: of these, (L,).
        count: of subnets.
        seed: of their sample.
        on_step: called after each subnet.
    """
    rng = np.random.default_rng
    drawn = sample(space, rng(seed), count - 1)
    encodings = distinct(space, np.concatenate([encoded(space, [space.largest()]), drawn]))
    used = _affordable(space, arrays, preprocessing, unlabelled)
    unlabelled, images, labels = unlabelled[:used], images[:used], labels[:used]
    both, calibration = np.concatenate([unlabelled, images]), unlabelled[:CALIBRATION_IMAGES]
    target: FloatArray | None = None
    divergences, right = [], []
    for subnet in counted(TESTING, decoded(space, encodings), on_step, len(both)):
        logits = subnet_logits(space, subnet, arrays, preprocessing, calibration, both)
        logs = log_softmax(logits[: len(unlabelled)])
        target = logs if target is None else target
        divergences.append(float((np.exp(target) * (target - logs)).sum(axis=1).mean()))
        right.append(logits[len(unlabelled) :].argmax(axis=1) == labels)
    order = rng(seed).permutation(len(encodings))  # folds mix all sizes
    return Tested(space, encodings[order], np.array(divergences)[order], np.array(right)[order])


def expected_accuracies(
    divergences: DoubleArray, accuracies: DoubleArray, labels: int
) -> DoubleArray:
    """Returns the accuracies on so many labels, (N,), cleared of most of their noise."""
    design = np.stack([np.ones_like(divergences), divergences, np.sqrt(divergences)], axis=1)
    line = design @ np.linalg.lstsq(design, accuracies, rcond=None)[0]
    if np.any(np.diff(line[np.argsort(divergences, kind="stable")]) > 1e-9):
        likeness = np.exp(-divergences)
        line = likeness * (accuracies.mean() / likeness.mean())
    trust = 0.5 * min(1.0, labels / TRUSTED_LABELS)
    blended: DoubleArray = np.clip(trust * accuracies + (1 - trust) * line, 0, 1)
    return blended


def _affordable(
    space: SearchSpace, arrays: Arrays, preprocessing: Preprocessing, images: ImageArray
) -> int:
    """Returns how many images each subnet can be tested on in the time there is."""
    few = images[:MEASURED_ON]
    return images_for(*measured_costs(space, space.middle(), arrays, preprocessing, few, few))


def images_for(least: float, per_image: float) -> int:
    """Returns how many images of each kind a subnet is tested on, in seconds of so many."""
    return int(np.clip((SECONDS - least) / per_image / 2, LEAST_IMAGES, MOST_IMAGES))
