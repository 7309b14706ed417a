"""The best subnet below a ceiling of MACs, found as a user with few labels finds it: by none.

A subnet that was distilled from the largest is as good as it agrees with it on unlabelled images,
in distribution.

How far subnets are from the largest on unlabelled images is measured for a sample of all sizes; a
predictor is fitted to it, as the one that bundles carry; evolution finds what it expects most of
below each ceiling; these are measured, too, and it learns from them for a second round. What agrees
best is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tofa_edge.architecture.arrays import DoubleArray, FloatArray, ImageArray
from tofa_edge.architecture.encodings import Encodings, decoded, distinct, encoded
from tofa_edge.architecture.sampling import sample
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.cutting.cutter import CALIBRATION_IMAGES
from tofa_edge.network.network import LITE_PREPROCESSING
from tofa_edge.network.slicing import Arrays
from tofa_edge.prediction.accuracy import AccuracyPredictor, fit_accuracy
from tofa_edge.search.evolution import maximise
from tofa_edge.train.run.subnet_accuracy import log_softmax, subnet_logits
from tofa_edge.train.supernet.supernet import Supernet

SAMPLED, ROUNDS, MEASURED = 80, 2, 6  # subnets at first; rounds; subnets a round and ceiling


def best_below(
    supernet: Supernet, images: ImageArray, ceilings: Sequence[float]
) -> dict[float, Subnet]:
    """Returns the best subnet below each ceiling, in MMACs, without looking at any label.

    Args:
        images: unlabelled, in mixed order, uint8, (N, S, S, 3).
    """
    space, rng = supernet.space, np.random.default_rng(5)
    ends = encoded(space, [space.largest(), space.middle()])
    known = distinct(space, np.concatenate([ends, sample(space, rng, SAMPLED)]))
    nearness = _nearness(supernet, known, images)
    for _ in range(ROUNDS):
        predictor = fit_accuracy(space, known, nearness)
        best = [_unmeasured(supernet, known, predictor, ceiling, rng) for ceiling in ceilings]
        new = distinct(space, np.concatenate(best))
        known = np.concatenate([known, new])
        nearness = np.concatenate([nearness, _nearness(supernet, new, images)])
    costs = _mmacs(supernet, known)
    chosen = [int(np.argmax(np.where(costs <= ceiling, nearness, -1))) for ceiling in ceilings]
    return dict(zip(ceilings, decoded(space, known[chosen]), strict=True))


def _unmeasured(
    supernet: Supernet,
    known: Encodings,
    predictor: AccuracyPredictor,
    ceiling: float,
    rng: np.random.Generator,
) -> Encodings:
    """Returns the subnets expected to be best of those not yet measured, (MEASURED, genes)."""

    def score(encodings: Encodings) -> DoubleArray:
        fits = _mmacs(supernet, encodings) <= ceiling
        return np.where(fits, predictor.expected(supernet.space, encodings), -np.inf)

    best, _ = maximise(supernet.space, score, rng)
    measured = {tuple(encoding) for encoding in known}
    return np.array([each for each in best if tuple(each) not in measured][:MEASURED])


def _mmacs(supernet: Supernet, encodings: Encodings) -> DoubleArray:
    return np.asarray(tables(supernet.space).costs(encodings).macs, np.float64) / 1e6


def _nearness(supernet: Supernet, encodings: Encodings, images: ImageArray) -> DoubleArray:
    """Returns how near subnets are to the largest, 0..1, (N,): less divergence is more."""
    subnets = decoded(supernet.space, encodings)
    ranking = rank(supernet.space, supernet.to_arrays(), subnets, images)
    return np.exp(-ranking.divergence.astype(np.float64))


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
