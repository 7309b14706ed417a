"""Ranks subnets where labels are too few to measure accuracy: by agreement with the largest.

Unlabelled images are plenty. A subnet that was distilled from the largest is as good as it agrees
with it, in distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import Arrays
from tofa_edge.train.run.subnet_accuracy import log_softmax, subnet_logits


@dataclass(frozen=True, eq=False)
class Ranking:
    """How near subnets are to the largest on unlabelled images, in the order given.

    Attributes:
        divergence: mean Kullback-Leibler divergence from it, nats, (N,). Less is better.
        agreement: the share of images that each classifies as the largest does, (N,).
    """

    divergence: FloatArray
    agreement: FloatArray


def rank(
    space: SearchSpace, arrays: Arrays, subnets: Sequence[Subnet], images: ImageArray
) -> Ranking:
    """Ranks subnets by how far they are from the largest; images are also for calibration.

    Args:
        images: unlabelled, in mixed order, uint8, (M, S, S, 3).
    """
    seen = images[:CALIBRATION_IMAGES]
    target, *logs = (
        log_softmax(subnet_logits(space, subnet, arrays, LITE_PREPROCESSING, seen, images))
        for subnet in (space.largest(), *subnets)
    )
    divergence = np.array([(np.exp(target) * (target - log)).sum(1).mean() for log in logs])
    best = target.argmax(axis=1)
    agreement = np.array([(log.argmax(axis=1) == best).mean() for log in logs])
    return Ranking(divergence.astype(np.float32), agreement.astype(np.float32))
