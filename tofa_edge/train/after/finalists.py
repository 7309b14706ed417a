"""Finalists: a few dozen subnets of all sizes, tested on many photos, that devices choose among.

The accuracy predictor proposes them, the best of each size and shape. Where labels are few,
accuracy on them is mostly noise; so each is tested on photos without labels, by the probability
that its predictions have among refined targets: initial pseudo-labels mixed with the largest
subnet's predictions. The labels, all finalists together, set level and slope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tofa_edge.architecture.arrays import DoubleArray, FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.encodings import Encodings, decoded, distinct, encoded, stage_genes
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.architecture.tables import tables
from tofa_edge.network.network import Preprocessing
from tofa_edge.network.slicing import Arrays
from tofa_edge.prediction.accuracy import AccuracyPredictor
from tofa_edge.search.evolution import best_of_cells
from tofa_edge.train.config import FINALISTS, OnStep, counter, silent
from tofa_edge.train.data.photos import resized
from tofa_edge.train.run.early_stopping import named_subnets
from tofa_edge.train.run.subnet_accuracy import (
    MEASURED_ON,
    log_softmax,
    measured_costs,
    subnet_logits,
)

MOST_TESTED = 60
PER_BAND = 2  # of about the same MACs, of different resolutions or depths
MOST_PHOTOS, LEAST_PHOTOS = 5000, 500  # fewer tell finalists apart no better than the predictor
SECONDS = 0.9  # for each finalist, about: photos are left out to keep it
CLOSE = 0.01  # below the front: may be the faster on some engine
SLOPE_DEVIATION = 0.5  # of accuracy over agreement, around 1, before any label
SLOPES = (0.5, 2.0)
TRUSTED_LABELS = 1000  # from so many on, half of what deviates from agreement is believed, at most


@dataclass(frozen=True, eq=False)
class Material:
    """What finalists are tested on.

    Attributes:
        calibration: images in mixed order that calibrate BatchNorm, uint8, (C, S, S, 3).
        images: to be compared with targets, those without labels first, uint8, (N, S, S, 3).
        pseudo_labels: initial ones, probabilities, float32, (N, classes), in whose rows no label of
            the image itself was used; elsewhere, and where there are none, not a number.
        validation: labelled images that were not trained on, uint8, (L, S, S, 3).
        labels: of these, (L,).
        temperature: that calibrates the largest subnet's probabilities.
    """

    calibration: ImageArray
    images: ImageArray
    pseudo_labels: FloatArray
    validation: ImageArray
    labels: IndexArray
    temperature: float


@dataclass(frozen=True, eq=False)
class Scores:
    """What M finalists did.

    Attributes:
        agreements: mean probability of their predictions among the targets, 0..1, (M,).
        right: whether each labelled image was classified right, (M, L).
        targets: that N images were compared with, probabilities, float32, (N, classes).
    """

    agreements: DoubleArray
    right: NDArray[np.bool_]
    targets: FloatArray

    @property
    def photos(self) -> int:
        """How many images were compared with targets."""
        return len(self.targets)

    def accuracies(self) -> DoubleArray:
        """Returns the accuracies expected of them, 0..1, (M,)."""
        return levelled(self.agreements, self.right)


def propose(
    space: SearchSpace, predictor: AccuracyPredictor, count: int, seed: int
) -> list[Subnet]:
    """Returns about a `count` of subnets from the smallest to the largest, by MACs.

    They lie evenly in the logarithm of the MACs. Those of about the same MACs are the best expected
    of different resolutions or depths. The three named subnets are among them.
    """
    table, bands = tables(space), max(1, count // PER_BAND)
    ends = encoded(space, [space.smallest(), space.largest()])
    low, high = np.log(table.costs(ends).macs)
    deepest = sum(stage.depths[-1] for stage in space.stages)
    shallowest = sum(stage.depths[0] for stage in space.stages)

    def band(genes: Encodings) -> IndexArray:
        shares = (np.log(table.costs(genes).macs) - low) / max(high - low, 1e-9)
        numbers: IndexArray = np.clip(shares * bands, 0, bands - 1).astype(np.int64)
        return numbers

    def cells(genes: Encodings) -> IndexArray:
        deep = 2 * _depths(space, genes) > shallowest + deepest
        return (band(genes) * len(space.resolutions) + genes[:, 0]) * 2 + deep

    rng = np.random.default_rng(seed)
    best, scores = best_of_cells(space, lambda g: predictor.expected(space, g), cells, rng)
    chosen = best[_first_of_each(band(best), scores, PER_BAND)]
    named = encoded(space, [*named_subnets(space).values()])
    every = distinct(space, np.concatenate([named, chosen]))
    return decoded(space, every[np.argsort(table.costs(every).macs, kind="stable")])


def _depths(space: SearchSpace, genes: Encodings) -> IndexArray:
    """Returns the sum of the depths of all stages, (N,)."""
    total = np.zeros(len(genes), np.int64)
    for place, stage in stage_genes(space):
        total += np.array(stage.depths)[genes[:, place + 1]]
    return total


def _first_of_each(groups: IndexArray, scores: DoubleArray, count: int) -> IndexArray:
    """Returns the indices of the `count` best of each group."""
    order = np.lexsort((-scores, groups))
    _, begins, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    places = np.arange(len(order)) - np.repeat(begins, sizes)
    chosen: IndexArray = order[places < count]
    return chosen


def evaluate_finalists(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    subnets: list[Subnet],
    material: Material,
    on_step: OnStep = silent,
) -> Scores:
    """Tests finalists as a device would compute them, on as many photos as there is time for.

    Images are resized once for all subnets of a resolution.

    Args:
        space: of the supernet.
        arrays: its averaged weights.
        preprocessing: of every subnet.
        subnets: of the space.
        material: to test on.
        on_step: called after each subnet.
    """
    whole = (space, arrays, preprocessing)
    used = min(_affordable(*whole, material), len(material.images))
    both = np.concatenate([material.images[:used], material.validation])
    count = counter(FINALISTS, len(subnets), on_step, len(both))
    logits = subnet_logits(space, space.largest(), *whole[1:], material.calibration, both[:used])
    targets = refined_targets(logits / material.temperature, material.pseudo_labels[:used])
    agreements = np.zeros(len(subnets))
    right = np.zeros((len(subnets), len(material.labels)), bool)
    for size in space.resolutions:
        places = [place for place, each in enumerate(subnets) if each.resolution == size]
        if not places:
            continue
        few, images = resized(material.calibration, size), resized(both, size)
        for place in places:
            logits = subnet_logits(space, subnets[place], *whole[1:], few, images)
            guesses = logits.argmax(axis=1)
            agreements[place] = targets[np.arange(used), guesses[:used]].mean()
            right[place] = guesses[used:] == material.labels
            count()
    return Scores(agreements, right, targets)


def refined_targets(logits: FloatArray, pseudo_labels: FloatArray) -> FloatArray:
    """Returns the probabilities by which predictions are judged, (N, classes).

    The mean of initial pseudo-labels and the largest subnet's probabilities, which have different
    errors; the latter alone where the former are not numbers.

    Args:
        logits: the largest subnet's, over the temperature, (N, classes).
        pseudo_labels: initial ones, probabilities or not a number, (N, classes).
    """
    own = np.exp(log_softmax(logits))
    refined: FloatArray = np.where(np.isnan(pseudo_labels), own, (own + pseudo_labels) / 2)
    return refined


def levelled(agreements: DoubleArray, right: NDArray[np.bool_]) -> DoubleArray:
    """Returns the accuracies, (M,), that agreement and labels together let expect.

    A line of agreement, its level and slope set by the labels; and as much of what a subnet's
    accuracy on the labels deviates from it as is more than the noise of so few labels.

    Args:
        agreements: with the targets, 0..1, (M,).
        right: whether each labelled image was classified right, (M, L); L may be 0.
    """
    count = right.shape[1]
    if not count:
        return agreements
    accuracies = right.mean(axis=1)
    own = right - accuracies[:, None] - right.mean(axis=0) + accuracies.mean()
    noise = float(np.mean(own**2)) / count  # what photos that are hard for all leave out
    away = agreements - agreements.mean()
    known = noise / SLOPE_DEVIATION**2 + 1e-9
    slope = (float(away @ accuracies) + known) / (float(away @ away) + known)
    line = accuracies.mean() + np.clip(slope, *SLOPES) * away
    misfit = max(0.0, float(np.mean((accuracies - line) ** 2)) - noise)
    trust = min(misfit / (misfit + noise + 1e-9), count / (count + TRUSTED_LABELS))
    expected: DoubleArray = np.clip(line + trust * (accuracies - line), 0, 1)
    return expected


def kept(macs: IndexArray, accuracies: DoubleArray) -> tuple[IndexArray, NDArray[np.bool_]]:
    """Returns the indices of the subnets to ship, by MACs, and which are on the front, (K,) both.

    On the front no other one has at most the MACs and at least the accuracy. Engines differ from
    MACs, and tests are noisy: those a little below the front stay, too.

    Args:
        macs: of M subnets, (M,).
        accuracies: theirs, 0..1, (M,).
    """
    order = np.lexsort((-accuracies, macs))
    ordered = accuracies[order]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(ordered)[:-1]])
    stays = ordered >= before - CLOSE
    return order[stays], (ordered > before)[stays]


def _affordable(
    space: SearchSpace, arrays: Arrays, preprocessing: Preprocessing, material: Material
) -> int:
    """Returns how many photos each finalist can be compared on in the time there is."""
    middle = space.middle()
    few = resized(material.images[:MEASURED_ON], middle.resolution)
    calibration = resized(material.calibration, middle.resolution)
    costs = measured_costs(space, middle, arrays, preprocessing, calibration, few)
    return photos_for(*costs, len(material.labels))


def photos_for(least: float, per_image: float, validated: int) -> int:
    """Returns how many photos a finalist is compared on beside so many `validated` ones."""
    affordable = (SECONDS - least) / per_image - validated
    return int(np.clip(affordable, LEAST_PHOTOS, MOST_PHOTOS))
