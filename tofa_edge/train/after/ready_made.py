"""What a bundle holds ready-made for its finalists, so that a device need not compute it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray
from tofa_edge.architecture.layers import LOGITS, layers
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.bundle.finalists import FEATURES_DEVIATION, FEATURES_MEAN, Finalist, array_shapes
from tofa_edge.cutting.calibration import calibrate, keeps_statistics, outputs_of
from tofa_edge.network.network import Preprocessing
from tofa_edge.network.slicing import Arrays, cut, fold
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.train.after.own_classifier import own_classifier
from tofa_edge.train.config import READY_MADE, OnStep, counted, silent
from tofa_edge.train.data.photos import resized

MOST_READY = 24
MOST_BYTES = 2_000_000  # of all of them together
MOST_FITTED = 2500  # photos that statistics and classifiers are fitted to
FIT_SECONDS = 1.6  # of a classifier to so many, with ten classes on one thread


def with_ready_made(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    finalists: Sequence[Finalist],
    chosen: Sequence[int],
    calibration: ImageArray,
    images: ImageArray,
    targets: FloatArray,
    temperature: float,
    on_step: OnStep = silent,
    own_classifiers: bool = True,
) -> list[Finalist]:
    """Returns finalists, some of them with BatchNorm and feature statistics, and a classifier.

    Args:
        space: of the supernet.
        arrays: its averaged weights.
        preprocessing: of every subnet.
        finalists: tested.
        chosen: the indices of those that get arrays.
        calibration: images that calibrate BatchNorm, uint8, (C, S, S, 3).
        images: in mixed order, for feature statistics and classifiers, uint8, (N, S, S, 3).
        targets: of these, probabilities, float32, (N, classes).
        temperature: that calibrates logits.
        on_step: called after each that gets arrays.
        own_classifiers: whether to fit a classifier for each.
    """
    made, size = list(finalists), 0
    order = sorted(chosen, key=lambda index: finalists[index].subnet.resolution)
    for index in counted(READY_MADE, order, on_step, len(images)):
        finalist = finalists[index]
        subnet = finalist.subnet
        if subnet.resolution != size:  # resized once for all subnets of a resolution
            size = subnet.resolution
            few, many = resized(calibration, size), resized(images, size)
        ready, features = _statistics(space, arrays, preprocessing, subnet, few, many)
        made[index] = replace(finalist, arrays=ready)
        if own_classifiers:
            made[index] = _with_own_classifier(made[index], arrays, features, targets, temperature)
    return made


def _with_own_classifier(
    finalist: Finalist,
    arrays: Arrays,
    features: FloatArray,
    targets: FloatArray,
    temperature: float,
) -> Finalist:
    """Returns a finalist, with a classifier of its own if that is surely better."""
    width = features.shape[1]
    weight, bias = arrays[f"{LOGITS}.weight"][:, :width], arrays[f"{LOGITS}.bias"]
    own = own_classifier(features, targets, weight, bias, temperature)
    if own is None:
        return finalist
    classifier = {f"{LOGITS}.weight": own.weight, f"{LOGITS}.bias": own.bias}
    accuracy = min(1.0, finalist.accuracy + own.gain)
    return Finalist(finalist.subnet, accuracy, {**(finalist.arrays or {}), **classifier})


def _statistics(
    space: SearchSpace,
    arrays: Arrays,
    preprocessing: Preprocessing,
    subnet: Subnet,
    calibration: ImageArray,
    images: ImageArray,
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Returns a subnet's BatchNorm and feature statistics, and its features, (N, channels).

    The images are of its resolution.
    """
    network, engine = layers(space, subnet), calibrating_engine()
    own = cut(network, arrays)
    names = array_shapes(space, subnet)["statistics"]
    if not keeps_statistics(space, subnet):
        own = calibrate(network, own, calibration, preprocessing, engine)
    folded = fold(network, own, preprocessing)
    *body, classifier = folded.layers
    kept = {name: value for name, value in folded.arrays.items() if not name.startswith(LOGITS)}
    part = replace(folded, layers=tuple(body), arrays=kept, outputs=classifier.inputs)
    features = outputs_of(part, engine, images, classifier.inputs[0]).reshape(len(images), -1)
    ready = {name: own[name] for name in names}
    ready[FEATURES_MEAN] = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    ready[FEATURES_DEVIATION] = features.std(axis=0, dtype=np.float64).astype(np.float32)
    return ready, features


def chosen_for_arrays(
    space: SearchSpace,
    finalists: Sequence[Finalist],
    on_front: Sequence[int],
    own_classifiers: bool = True,
) -> list[int]:
    """Returns which finalists get arrays: evenly among those on the front, as many as fit.

    Args:
        space: of the supernet.
        finalists: by ascending MACs.
        on_front: the indices of those on the front.
        own_classifiers: whether each may get one.
    """
    most = min(MOST_READY, len(on_front))
    while most:
        places = np.unique(np.linspace(0, len(on_front) - 1, most).round().astype(int))
        chosen = [on_front[place] for place in places]
        sizes = (_bytes(space, finalists[index].subnet, own_classifiers) for index in chosen)
        if sum(sizes) <= MOST_BYTES:
            return chosen
        most -= 1
    return []


def _bytes(space: SearchSpace, subnet: Subnet, own_classifier: bool) -> int:
    """Returns the most that a finalist's arrays take, perhaps with an own classifier."""
    groups = array_shapes(space, subnet)
    if not own_classifier:
        del groups["classifier"]
    return 4 * sum(int(np.prod(shape)) for each in groups.values() for shape in each.values())
