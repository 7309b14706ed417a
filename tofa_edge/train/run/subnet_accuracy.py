"""Accuracy of subnets, computed as a device does: cut, calibrated, folded, run by an engine."""

from __future__ import annotations

import time

import numpy as np

from tofa_edge.architecture.arrays import FloatArray, ImageArray, IndexArray
from tofa_edge.architecture.layers import LOGITS
from tofa_edge.architecture.space import SearchSpace, Subnet
from tofa_edge.cutting.calibration import cut_network
from tofa_edge.network.network import Preprocessing
from tofa_edge.network.slicing import Arrays
from tofa_edge.selftest.calibrating import calibrating_engine
from tofa_edge.train.data.photos import resized

BATCH = 64
MEASURED_ON = 64  # images, and four times as many, what a test costs


def subnet_logits(
    space: SearchSpace,
    subnet: Subnet,
    supernet: Arrays,
    preprocessing: Preprocessing,
    calibration: ImageArray,
    images: ImageArray,
) -> FloatArray:
    """Returns a subnet's logits of images, float32, (N, classes).

    Args:
        space: of the supernet.
        subnet: which.
        supernet: its arrays by name.
        preprocessing: of every subnet.
        calibration: images for BatchNorm calibration, shuffled, uint8, (M, S, S, 3), any S.
        images: to classify, uint8, (N, S, S, 3).
    """
    engine, size = calibrating_engine(), subnet.resolution
    few = resized(calibration, size)
    network = cut_network(space, subnet, supernet, preprocessing, few, engine)
    session = engine.load(network)
    try:
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        return np.concatenate([session.run(resized(batch, size))[LOGITS] for batch in batches])
    finally:
        session.close()


def measured_costs(
    space: SearchSpace,
    subnet: Subnet,
    supernet: Arrays,
    preprocessing: Preprocessing,
    calibration: ImageArray,
    images: ImageArray,
) -> tuple[float, float]:
    """Returns the seconds that `subnet_logits` takes of few images, and of each image beyond.

    Args:
        space: of the supernet.
        subnet: which.
        supernet: its arrays by name.
        preprocessing: of every subnet.
        calibration: images for BatchNorm calibration, uint8, (M, S, S, 3), any S.
        images: some 64, repeated as need be, uint8, (N, S, S, 3).
    """
    spent = []
    for count in (MEASURED_ON, MEASURED_ON, 4 * MEASURED_ON):  # first, engines are imported
        repeated = np.resize(images, (count, *images.shape[1:]))
        begun = time.perf_counter()
        subnet_logits(space, subnet, supernet, preprocessing, calibration, repeated)
        spent.append(time.perf_counter() - begun)
    return spent[1], max(spent[2] - spent[1], 1e-4) / (3 * MEASURED_ON)


def accuracy(logits: FloatArray, labels: IndexArray) -> float:
    """Returns how often the largest of `logits`, (N, classes), is that of `labels`, (N,)."""
    return float((logits.argmax(axis=1) == labels).mean())


def log_softmax(logits: FloatArray) -> FloatArray:
    """Returns the logarithms of the probabilities of `logits`, (…, classes), of the same shape."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    logs: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logs


TEMPERATURES = np.geomspace(0.1, 10, 200)
PRIOR_DEVIATION = 0.5  # of the temperature's logarithm, before any photo


def fit_temperature(logits: FloatArray, labels: IndexArray) -> float:
    """Returns the temperature that calibrates probabilities (temperature scaling).

    It divides logits and is 0.1..10 (Guo et al., ICML 2017); the most probable one by a prior
    around 1, as few photos, all of them right, are no reason to be certain.

    Args:
        logits: of several subnets, (subnets, N, classes); one temperature serves them all.
        labels: class indices, (N,).
    """
    rows = np.arange(len(labels))
    costs = []
    for temperature in TEMPERATURES:
        cost = -log_softmax(logits / temperature)[:, rows, labels].mean()
        prior = 0.5 * (np.log(temperature) / PRIOR_DEVIATION) ** 2
        costs.append(cost + prior / max(1, len(labels)))
    return float(TEMPERATURES[int(np.argmin(costs))])
