"""Which subnet to measure next: candidates, a proxy for accuracy, a line for latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tofa_edge.cost import macs
from tofa_edge.layers import layers
from tofa_edge.space import SearchSpace, Subnet


def accuracy_proxy(space: SearchSpace, subnet: Subnet) -> float:
    """Returns a number that tends to rank subnets of one supernet as their accuracy does.

    It is the logarithm of the MACs: all subnets share their weights, so capacity is what differs
    first. It knows nothing of the task; a predictor fitted on the task ranks better.
    """
    return float(np.log(macs(layers(space, subnet))))


def candidates(space: SearchSpace, rng: np.random.Generator, count: int) -> list[Subnet]:
    """Returns different subnets, spread over the whole range of sizes.

    A uniform sample crowds around the middle; drawing each choice with a bias that differs from
    subnet to subnet (from all small to all large) reaches both ends.
    """
    sizes = np.array(space.cardinalities())
    biases = rng.uniform(0.0, 1.0, (count, 1))
    drawn = rng.beta(1 + 3 * biases, 1 + 3 * (1 - biases), (count, len(sizes)))
    vectors = np.minimum((drawn * sizes).astype(np.int64), sizes - 1)
    return list(dict.fromkeys(space.decode(vector) for vector in vectors))


def predicted_ms(
    measured: Sequence[tuple[int, float]], wanted_macs: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Returns latencies on the line latency = a + b · MACs, a and b ≥ 0, fitted to measurements.

    Args:
        measured: MACs and milliseconds of at least two networks of different size.
        wanted_macs: of the networks to predict, (N,).
    """
    sizes = np.array([size for size, _ in measured]) / 1e6
    times = np.array([time for _, time in measured])
    weights = 1 / times  # relative errors count alike for small and large networks
    design = np.stack([np.ones_like(sizes), sizes], axis=1) * weights[:, None]
    offset, slope = np.linalg.lstsq(design, times * weights, rcond=None)[0]
    if offset < 0:
        offset, slope = 0.0, float(np.mean(times / sizes))
    elif slope < 0:
        offset, slope = float(np.mean(times)), 0.0
    line: NDArray[np.float64] = offset + slope * wanted_macs / 1e6
    return line
