"""Small networks made from nothing but a seed, to try engines with."""

from __future__ import annotations

import numpy as np

from tofa_edge.backends.reference import ReferenceSession
from tofa_edge.layers import layers, supernet_shapes
from tofa_edge.network import LITE_PREPROCESSING, Network
from tofa_edge.spaces import tiny
from tofa_edge.weights import calibration_network, cut, fold


def specimen(seed: int = 0) -> Network:
    """Returns a subnet of the space `tiny` with random, calibrated weights."""
    rng, space = np.random.default_rng(seed), tiny()
    arrays = {
        name: rng.standard_normal(shape).astype(np.float32)
        for name, shape in supernet_shapes(space).items()
    }
    network = layers(space, space.middle())
    cutout = cut(network, arrays)
    size = space.middle().resolution
    images = rng.integers(0, 256, (8, size, size, 3), dtype=np.uint8)
    measuring = calibration_network(network, cutout, LITE_PREPROCESSING)
    return fold(network, {**cutout, **ReferenceSession(measuring).run(images)}, LITE_PREPROCESSING)
