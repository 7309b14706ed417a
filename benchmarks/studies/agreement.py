"""Ranks subnets where labels are too few to measure accuracy: by agreement with the largest.

Unlabelled images are plenty. A subnet that was distilled from the largest is as good as it agrees
with it, in distribution; labels, however few, then set the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.network.network import Preprocessing
from tofa_edge.network.slicing import Arrays
from tofa_edge.train.run.subnet_accuracy import accuracy, log_softmax, subnet_logits


@dataclass(frozen=True, eq=False)
class Ranking:
    """How good subnets are expected to be.

    Attributes:
        subnets: in the order given.
        divergence: mean Kullback-Leibler divergence of each from the largest subnet on unlabelled
            images, nats, (N,). Less is better.
        agreement: the share of unlabelled images that each classifies as the largest does, (N,).
        accuracy: expected, 0..1, (N,): in the order of the divergence; its level is that of the
            labels.
    """

    subnets: tuple[Subnet, ...]
    divergence: FloatArray
    agreement: FloatArray
    accuracy: FloatArray


def rank(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    subnets: Sequence[Subnet],
    unlabelled: ImageArray,
    images: ImageArray,
    labels: IndexArray,
) -> Ranking:
    """Ranks subnets by how far they are from the largest on unlabelled images.

    Args:
        unlabelled: images in mixed order, uint8, (M, S, S, 3); also for BatchNorm calibration.
        images: labelled images that were not trained on, uint8, (L, S, S, 3); may be few or none.
        labels: of these, (L,).
    """
    chosen = [space.largest(), *subnets]
    seen = unlabelled[:CALIBRATION_IMAGES]
    together = np.concatenate([unlabelled, images])
    logits = [
        subnet_logits(space, subnet, arrays, preprocessing, seen, together) for subnet in chosen
    ]
    split = len(unlabelled)
    logs = [log_softmax(found[:split]) for found in logits]
    target = logs[0]
    divergence = np.array([(np.exp(target) * (target - log)).sum(1).mean() for log in logs[1:]])
    best = target.argmax(axis=1)
    agreement = np.array([(log.argmax(axis=1) == best).mean() for log in logs[1:]])
    level = 1.0
    if len(labels):
        measured = [accuracy(found[split:], labels) for found in logits]
        level = float(np.mean(measured) / np.mean([1.0, *agreement]))
    return Ranking(
        tuple(subnets),
        divergence.astype(np.float32),
        agreement.astype(np.float32),
        np.clip(level * _smoothed(divergence, agreement), 0, 1).astype(np.float32),
    )


def _smoothed(divergence: DoubleArray, agreement: DoubleArray) -> FloatArray:
    """Returns agreement as a line of divergence: its order, without the noise of counts."""
    if len(divergence) < 2 or float(np.ptp(divergence)) == 0:
        return agreement.astype(np.float32)
    slope, intercept = np.polyfit(divergence, agreement, 1)
    line: FloatArray = (intercept + slope * divergence).astype(np.float32)
    return line
